"""Messages: their ids and their headers."""

from __future__ import annotations

import re

import pytest

from farm.message import Ids, Message, header_fault, keyed_id, new_id, output_id, passed


def test_a_new_id_is_a_uuid_of_version_7_and_never_the_same() -> None:
    ids = [new_id(), *(Ids().new() for _ in range(10))]
    one = Ids()
    ids += [one.new() for _ in range(2000)]
    shape = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(shape.fullmatch(one) for one in ids)
    assert len(set(ids)) == len(ids)


def test_new_ids_sort_by_the_millisecond_of_their_making() -> None:
    one = Ids()
    stamps = [one.new()[:13] for _ in range(1000)]
    assert stamps == sorted(stamps)


def test_the_same_key_of_the_same_caller_is_the_same_id_and_of_another_caller_is_not() -> None:
    assert keyed_id("uid 1", "order-7") == keyed_id("uid 1", "order-7")
    assert keyed_id("uid 1", "order-7") != keyed_id("uid 2", "order-7")
    assert keyed_id("ab", "c") != keyed_id("a", "bc")
    assert keyed_id("uid 1", "order#7") != keyed_id("uid 1", "order#8")
    assert keyed_id("uid 1", "order#7") != keyed_id("uid 2", "order#7")
    assert keyed_id("uid 1", "order#7").endswith("-7")


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
    assert Message("id", "ab", b"xyz", (("k", "vv"),), "reply").size_bytes == 13


@pytest.mark.parametrize("value", ["", "a b\tc", "caf\xe9 \u2603", "v" * 8188, "\xe9" * 4094])
def test_what_a_header_may_say(value: str) -> None:
    assert header_fault((("x-a1", value),)) == ""


@pytest.mark.parametrize("value", ["\r", "a\nb", "\0", "\x1b[2J", "\x7f", "\x85", "\ud800"])
def test_a_value_with_a_control_character_or_half_a_pair_is_at_fault(value: str) -> None:
    fault = header_fault((("x-b", "good"), ("x-a", value)))
    assert "value of header 'x-a'" in fault
    assert fault.isprintable()


@pytest.mark.parametrize("name", ["", "x-a\n", "x-\0", "x-a b", "x-a:", "x-\xe9", "x-" + "(" * 9000])
def test_a_name_that_is_no_token_is_at_fault(name: str) -> None:
    fault = header_fault(((name, "v"),))
    assert "no token" in fault
    assert fault.isprintable()
    assert len(fault) < 200


def test_headers_are_measured_in_bytes_as_they_travel() -> None:
    assert header_fault((("x-a1", "\xe9" * 4095),)) == "headers of 8194 bytes exceed the limit of 8192 bytes"
    assert header_fault((("x-a1", "v" * 8189),)) == "headers of 8193 bytes exceed the limit of 8192 bytes"


def test_headers_are_counted() -> None:
    assert header_fault(tuple((f"x-{n}", "") for n in range(32))) == ""
    assert header_fault(tuple((f"x-{n}", "") for n in range(33))) == "33 headers exceed the limit of 32"
