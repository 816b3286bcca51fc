"""The message of the SDK, as a handler and its plain unit tests meet it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from farm.sdk import Message


def test_json_takes_every_field_that_a_message_has() -> None:
    fields: dict[str, Any] = {"broker": "other", "headers": {"content-type": "application/json"}, "reply_to": "c"}
    assert Message.of_json(1, "a.b", **fields) == Message("1", "a.b", **fields)


def test_text_and_bytes_are_two_views_of_one_payload() -> None:
    assert Message("é").payload == b"\xc3\xa9"
    assert Message(b"\xc3\xa9").text == "é"
    assert Message(bytearray(b"a")).payload == Message(memoryview(b"a")).payload == b"a"
    assert Message().payload == b""


def test_bytes_that_are_no_text_say_so_only_when_asked_for_text() -> None:
    message = Message(b"\xff")
    assert message.payload == b"\xff"
    with pytest.raises(UnicodeDecodeError):
        _ = message.text


def test_json_goes_both_ways() -> None:
    message = Message.of_json({"name": "é", "n": [1, 2.5, None]}, "a.b", broker="other")
    assert message.text == '{"name":"é","n":[1,2.5,null]}'
    assert message.json() == {"name": "é", "n": [1, 2.5, None]}
    assert (message.subject, message.broker) == ("a.b", "other")


@pytest.mark.parametrize("value", [float("nan"), object(), {1: set[int]()}])
def test_what_json_has_no_form_for_is_an_error(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        Message.of_json(value)


def test_a_payload_that_is_no_json_says_where() -> None:
    with pytest.raises(json.JSONDecodeError):
        Message("{").json()


def test_what_is_left_out_is_empty_and_a_first_attempt() -> None:
    message = Message("Ada")
    assert (message.subject, message.broker, message.headers, message.reply_to) == ("", "", (), None)
    assert (message.id, message.attempt) == ("", 1)


def test_headers_may_be_a_mapping_or_pairs_and_keep_their_order() -> None:
    assert Message(headers={"b": "1", "a": "2"}).headers == (("b", "1"), ("a", "2"))
    assert Message(headers=[("a", "1"), ("a", "2")]).headers == (("a", "1"), ("a", "2"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"payload": 5}, "payload must be bytes or str, not int (for JSON: Message.of_json)"),
        ({"payload": None}, "payload must be bytes or str, not NoneType (for JSON: Message.of_json)"),
        ({"subject": b"a"}, "subject must be str, not bytes"),
        ({"broker": 1}, "broker must be str, not int"),
        ({"reply_to": 1}, "reply_to must be str, not int"),
        ({"headers": {"a": 1}}, "header a must be str, not int"),
        ({"headers": {1: "a"}}, "header name must be str, not int"),
        ({"headers": ["abc"]}, "headers must be a mapping, or pairs of name and value"),
        ({"headers": [5]}, "headers must be a mapping, or pairs of name and value"),
    ],
)
def test_a_field_of_another_type_is_refused_where_it_is_written(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError) as caught:
        Message(**fields)
    assert str(caught.value) == said


@pytest.mark.parametrize("field", ["payload", "subject", "broker", "reply_to"])
def test_half_a_surrogate_pair_is_refused_where_it_is_written(field: str) -> None:
    fields: dict[str, Any] = {field: "a\udc00"}
    with pytest.raises(ValueError, match=rf"{field} has half a surrogate pair at 1: UTF-8 cannot express it"):
        Message(**fields)


@pytest.mark.parametrize("field", ["subject", "broker", "reply_to"])
def test_a_name_that_is_empty_is_refused(field: str) -> None:
    fields: dict[str, Any] = {field: ""}
    with pytest.raises(ValueError, match=rf"{field} is empty"):
        Message(**fields)


def test_messages_are_equal_in_all_that_is_sent() -> None:
    assert Message("a", "s") == Message(b"a", "s")
    assert hash(Message("a", "s")) == hash(Message(b"a", "s"))
    assert Message("a", "s") != Message("a", "t")
    assert Message("a", headers={"x": "1"}) != Message("a")
    assert Message("a") != "a"


@pytest.mark.parametrize("field", ["payload", "text", "subject", "broker", "headers", "reply_to", "id", "attempt"])
def test_a_message_cannot_be_changed(field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Message("a"), field, "b")


def test_a_message_takes_no_further_attributes() -> None:
    with pytest.raises(AttributeError):
        setattr(Message("a"), "note", "b")  # noqa: B010 - a type checker refuses it, as it should


def test_a_message_shows_the_start_of_its_payload() -> None:
    assert repr(Message("Ada", "hello.world")) == "Message('Ada', 'hello.world')"
    assert repr(Message("a" * 100)) == f"Message({'a' * 60!r}...)"
