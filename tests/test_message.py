"""Messages: their ids and their headers."""

from __future__ import annotations

import re

from farm.message import Message, keyed_id, new_id, output_id, passed


def test_a_new_id_is_a_uuid_of_version_7_and_never_the_same() -> None:
    ids = [new_id() for _ in range(1000)]
    shape = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(shape.fullmatch(one) for one in ids)
    assert len(set(ids)) == 1000


def test_new_ids_sort_by_the_millisecond_of_their_making() -> None:
    stamps = [new_id()[:13] for _ in range(1000)]
    assert stamps == sorted(stamps)


def test_the_same_key_of_the_same_caller_is_the_same_id_and_of_another_caller_is_not() -> None:
    assert keyed_id("uid 1", "order-7") == keyed_id("uid 1", "order-7")
    assert keyed_id("uid 1", "order-7") != keyed_id("uid 2", "order-7")
    assert keyed_id("ab", "c") != keyed_id("a", "bc")


def test_an_output_has_the_same_id_at_every_attempt() -> None:
    assert output_id("p", "hello", 0) == "p:hello:0"


def test_only_headers_that_belong_to_the_sender_pass() -> None:
    given = (
        ("Content-Type", "a"),
        ("X-Mine", "b"),
        ("ce-id", "c"),
        ("Nats-Msg-Id", "d"),
        ("Farm-Id", "e"),
        ("host", "f"),
    )
    assert passed(given) == (("content-type", "a"), ("x-mine", "b"), ("ce-id", "c"))


def test_a_message_counts_its_payload_its_subject_and_its_headers() -> None:
    assert Message("id", "ab", b"xyz", (("k", "vv"),)).size_bytes == 8
