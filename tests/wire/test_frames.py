"""Frames that no honest peer sends, on every link that has frames."""

from __future__ import annotations

import os

import msgspec
import pytest

from farm.errors import WireError
from farm.wire import admin, lifeline, relay, work

DEEP = b"\x91" * 100_000 + b"\xc0"  # arrays in arrays, where newer words may have fields more


def word(tag: str, *fields: object) -> bytes:
    """An array of this tag and these fields, and of one more: DEEP."""
    head = bytes([0x90 + len(fields) + 2])
    return head + b"".join(map(msgspec.msgpack.encode, (tag, *fields))) + DEEP


def test_a_frame_that_is_nested_too_deep_to_be_read_is_a_wire_error() -> None:
    with pytest.raises(WireError, match="a frame that does not parse"):
        work.from_worker([word("join", 1)])
    with pytest.raises(WireError, match="a frame that does not parse"):
        relay.from_client([word("unlisten", 1)])


def test_a_word_on_the_lifeline_that_is_nested_too_deep_is_one() -> None:
    parent, child = lifeline.pair()
    os.write(child.fileno(), b"\x83\xa4type\xa5state\xa4text\xa0\xa4more" + DEEP)
    with pytest.raises(WireError, match="a word on the lifeline that does not parse"):
        parent.receive()


def test_a_question_that_is_nested_too_deep_is_one() -> None:
    with pytest.raises(WireError, match="a question to the admin socket that does not parse"):
        admin.question(b'{"ask": "status", "more": ' + b"[" * 100_000)
