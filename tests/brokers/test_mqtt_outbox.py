"""What is published, with a connection that only notes it and a clock that only a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from farm.broker import Published, Refused
from farm.brokers.mqtt_link import Link
from farm.brokers.mqtt_outbox import CONFIRM_S, LEFT_S, UNSENT_LIMIT_BYTES, WAITING_LIMIT, WINDOW_BYTES, Outbox
from farm.brokers.mqtt_packets import Ack
from farm.errors import BrokerFull, BrokerUnavailable, InputError, InvalidSubject, NotPermitted
from farm.message import Message


class Line:
    """A connection, and what was published over it: number and payload."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.unsent_bytes = 0
        self.dropped = ""

    def drop(self, why: str) -> None:
        self.dropped = why

    def send(self, packet: bytes) -> None:
        number, _, payload = packet.partition(b" ")
        self.sent.append((int(number), payload))


def pack(message: Message, number: int) -> bytes:
    return b"%d %b" % (number, message.payload)


def messages(count: int, payload: bytes = b"") -> list[Message]:
    return [Message(f"id-{n}", "a.b", payload or b"%d" % n) for n in range(count)]


class Office:
    def __init__(self, window: int = 100) -> None:
        self.now_s = 0.0
        self.outbox = Outbox("shop", lambda: self.now_s, lambda _: Published(2, 1))
        self.line = Line()
        self.answers: list[Sequence[Published | Refused]] = []
        self.outbox.connected(cast("Link", self.line), window)

    def publish(self, *published: Message) -> None:
        self.outbox.publish(published, self.answers.append, pack)

    def ack(self, *places: int, reason: int = 0) -> None:
        self.outbox.acked([Ack(self.line.sent[place][0], reason) for place in places])


def test_a_publish_is_answered_in_order_once_the_last_is_confirmed() -> None:
    office = Office()
    office.publish(*messages(3))
    office.ack(2)
    office.ack(0)
    assert office.answers == []
    office.outbox.acked([Ack(office.line.sent[1][0], 0x10)])
    assert office.answers == [[Published(2, 1), Published(2, 1, receivers=0), Published(2, 1)]]


def test_no_more_is_in_flight_than_the_server_takes() -> None:
    office = Office(window=2)
    office.publish(*messages(5))
    assert [payload for _, payload in office.line.sent] == [b"0", b"1"]
    office.ack(0)
    assert len(office.line.sent) == 3
    office.ack(1, 2)
    office.ack(3, 4)
    assert len(office.answers) == 1


def test_large_messages_are_in_flight_by_their_size() -> None:
    office = Office()
    office.publish(*messages(3, bytes(WINDOW_BYTES // 2 + 1)))
    assert len(office.line.sent) == 1
    office.ack(0)
    assert len(office.line.sent) == 2


def test_what_is_not_confirmed_in_time_is_unknown_and_its_number_is_not_given_again() -> None:
    office = Office(window=2)
    office.publish(*messages(3))
    office.now_s = 3.9
    office.outbox.look()
    assert office.answers == []
    office.ack(0)
    office.now_s = 4.0  # answered within 5 s: it is looked at every half second
    office.outbox.look()
    [answers] = office.answers
    assert isinstance(answers[0], Published)
    assert all(isinstance(answer, BrokerUnavailable) and "no confirmation" in str(answer) for answer in answers[1:])
    office.ack(1, 2)
    assert len(office.answers) == 1
    office.publish(*messages(1))
    assert office.line.sent[-1][0] not in {number for number, _ in office.line.sent[:-1]}


def test_a_connection_on_which_a_word_never_comes_is_left() -> None:
    """Each number that stays in use is one less that the server takes: in the end nothing could be published."""
    office = Office(window=2)
    office.publish(*messages(2))
    office.ack(1)
    office.now_s = CONFIRM_S + LEFT_S
    office.outbox.look()
    assert office.line.dropped == ""
    office.now_s += 1
    office.outbox.look()
    assert office.line.dropped == "it confirms nothing"


def test_what_was_on_its_way_when_the_connection_ended_is_unknown() -> None:
    office = Office(window=1)
    office.publish(*messages(2))
    office.outbox.disconnected("gone")
    [answers] = office.answers
    assert all(isinstance(answer, BrokerUnavailable) and "gone" in str(answer) for answer in answers)
    office.publish(*messages(2))
    assert len(office.answers[1]) == 2
    office.outbox.connected(cast("Link", office.line), 10)
    office.publish(*messages(1))
    office.ack(-1)
    assert office.answers[2] == [Published(2, 1)]


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (0x80, BrokerUnavailable),
        (0x83, BrokerUnavailable),
        (0x87, NotPermitted),
        (0x90, InvalidSubject),
        (0x97, BrokerFull),
        (0x99, InputError),
    ],
)
def test_a_refusal_says_whether_it_is_worth_another_try(reason: int, error: type[Exception]) -> None:
    office = Office()
    office.publish(*messages(1))
    office.outbox.acked([Ack(office.line.sent[0][0], reason, "says\nthe server")])
    [[answer]] = office.answers
    assert type(answer) is error
    assert "says\\nthe server" in str(answer)


def test_beyond_its_bounds_it_takes_no_more() -> None:
    office = Office(window=1)
    office.publish(*messages(WAITING_LIMIT + 1))
    office.publish(*messages(1))
    office.publish(*messages(1))
    assert [type(answers[0]) for answers in office.answers] == [BrokerFull]


def test_what_nobody_confirms_is_published_once_it_is_written() -> None:
    office = Office()
    office.outbox.write(messages(2), office.answers.append, pack)
    assert office.answers == [[Published(2, 1)] * 2]
    assert office.line.sent == [(0, b"0"), (0, b"1")]
    office.line.unsent_bytes = UNSENT_LIMIT_BYTES + 1
    office.outbox.write(messages(1), office.answers.append, pack)
    assert isinstance(office.answers[1][0], BrokerFull)


async def test_it_is_empty_when_everything_is_confirmed() -> None:
    office = Office()
    await office.outbox.emptied()
    office.publish(*messages(1))
    waiting = asyncio.create_task(office.outbox.emptied())
    await asyncio.sleep(0)
    assert not waiting.done()
    office.ack(0)
    await waiting
