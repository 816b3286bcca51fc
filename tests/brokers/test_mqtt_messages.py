"""What is kept for an answer."""

from __future__ import annotations

import pytest

from farm.brokers.mqtt_messages import ASKED_LIMIT, CORRELATION_LIMIT_BYTES, Raw
from farm.brokers.mqtt_packets import Arrival, Frames, publish, read_publish, write_extras
from farm.message import Message


def question(topic: str, correlation: bytes = b"data") -> Arrival:
    extras = write_extras([], response_topic=topic.encode(), correlation=correlation)
    [(first, body, _)] = Frames(1 << 24).cut(publish(b"a/b", b"?", 1, extras))
    return read_publish(first, body, five=True)


def answer_to(message: Message, form: Raw) -> Arrival:
    """What the answer to it is on the wire."""
    assert message.reply_to is not None
    answer = Message("answer", message.reply_to, b"!", cause=message.id)
    [(first, body, _)] = Frames(1 << 24).cut(form.pack(answer, 1))
    return read_publish(first, body, five=True)


def test_an_answer_has_the_topic_and_the_data_of_its_question() -> None:
    form = Raw(five=True)
    answer = answer_to(form.read(question("answers/v1.2")), form)
    assert (answer.topic, answer.extras.correlation) == ("answers/v1.2", b"data")


def test_data_that_is_too_long_is_not_given_back() -> None:
    form = Raw(five=True)
    answer = answer_to(form.read(question("answers/v1.2", bytes(CORRELATION_LIMIT_BYTES + 1))), form)
    assert (answer.topic, answer.extras.correlation) == ("answers/v1.2", b"")


@pytest.mark.parametrize("topic", ["a" * 60_000, "a/+", "$share/x/y"])
def test_nothing_is_kept_for_an_answer_that_cannot_go_there(topic: str) -> None:
    form = Raw(five=True)
    assert form.read(question(topic)).reply_to == topic.replace("/", ".")
    assert not vars(form)["_asked"]


def test_what_is_kept_is_bounded_and_the_oldest_goes() -> None:
    form = Raw(five=True)
    messages = [form.read(question("answers/x")) for _ in range(ASKED_LIMIT + 1)]
    found = [answer_to(message, form).extras.correlation for message in (messages[0], messages[1], messages[-1])]
    assert found == [b"", b"data", b"data"]
