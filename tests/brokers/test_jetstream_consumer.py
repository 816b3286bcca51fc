"""One trigger's consumer, on a connection that only notes what is sent over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from farm.broker import Delivery, Subscription
from farm.brokers import jetstream_consumer
from farm.brokers.jetstream_api import Stream
from farm.brokers.jetstream_consumer import SETTLE_AGAIN_S, Consumer
from farm.brokers.jetstream_pulls import DEAF_S
from farm.brokers.nats_connection import NatsConnection

STREAM = Stream("S", {"subjects": ["a.b"]}, "2026-01-01T00:00:00Z")
ANOTHER = Stream("S", {"subjects": ["a.b"]}, "2026-02-02T00:00:00Z")
GONE = b"409 Consumer Deleted"
NOBODY = b"NATS/1.0 503\r\n\r\n"


class Line:
    """A connection. heard: what listens on each inbox."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.heard: dict[str, Any] = {}
        self.pulls = 0
        self._inboxes = 0

    def new_inbox(self) -> str:
        self._inboxes += 1
        return f"_INBOX.{self._inboxes}"

    def subscribe(self, subject: str, heard: object) -> int:
        self.heard[subject] = heard
        return len(self.heard)

    def drain(self, sid: int) -> None:
        """Hear what is on its way, and no more."""

    def publish_all(self, parts: Sequence[bytes], _: int) -> None:
        self.sent += parts

    def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        """A pull."""
        self.pulls += 1


class House:
    def __init__(self) -> None:
        self.line = Line()
        self.came: list[Delivery] = []
        self.lost = 0
        self.wanted = 0
        subscription = Subscription(0, "a.b", "", "d")
        connection = cast("NatsConnection", self.line)
        self.consumer = Consumer(connection, subscription, self.came.extend, self.want, self.lose)
        self.consumer.place(STREAM)
        self.consumer.grant(100)

    def want(self) -> None:
        self.wanted += 1

    def lose(self) -> None:
        self.lost += 1

    def take(self, seq: int) -> None:
        [inbox, _] = self.line.heard.values()
        ack = b"$JS.ACK.S.d.1.%d.%d.1795800439631204679.0" % (seq, seq)
        inbox([(b"a.b", ack, b"", b"x")])
        self.consumer.turn()

    def hear_of_ack(self, seq: int, head: bytes = b"") -> None:
        [_, acks] = self.line.heard
        self.line.heard[acks]([(f"{acks[:-1]}{seq}".encode(), b"", head, b"")])

    def end_of_pull(self, status: bytes) -> None:
        [inbox, _] = self.line.heard.values()
        inbox([(b"_INBOX.1.1", b"", b"NATS/1.0 %b\r\n\r\n" % status, b"")])

    @property
    def acknowledged(self) -> list[int]:
        return self.said(b"+ACK")

    @property
    def given_back(self) -> list[int]:
        return self.said(b"-NAK")

    def said(self, word: bytes) -> list[int]:
        return [int(line.split(b".")[5]) for line in self.line.sent if line.startswith(b"PUB") and word in line]


def test_an_acknowledgement_that_nobody_took_is_repeated_once_the_consumer_is_there_again() -> None:
    """As when the consumer's leader in a cluster has stepped down and there is no other yet."""
    house = House()
    house.take(1)
    house.consumer.settle(house.came, 0.0)
    assert house.acknowledged == [1]
    house.hear_of_ack(1, NOBODY)
    assert (house.lost, house.consumer.open) == (1, 1)
    house.consumer.place(STREAM)
    assert house.acknowledged == [1, 1]
    house.hear_of_ack(1)
    assert house.consumer.open == 0


def test_what_is_not_confirmed_in_time_is_acknowledged_again() -> None:
    house = House()
    house.take(1)
    house.consumer.settle(house.came, 100.0)
    house.consumer.tick(100.0 + SETTLE_AGAIN_S / 2)
    assert house.acknowledged == [1]
    house.consumer.tick(100.0 + SETTLE_AGAIN_S)
    assert house.acknowledged == [1, 1]


def test_what_comes_while_nobody_knows_whose_it_is_waits_until_that_is_known() -> None:
    """Given back at once it would come again at once, on a pull that is still open, and again: the server counts, and
    what it has handed out too often is taken for what kills its takers.
    """
    house = House()
    house.take(1)
    house.end_of_pull(GONE)
    house.take(2)
    house.take(3)
    assert house.given_back == []
    assert [delivery.source_id[-2:] for delivery in house.came] == [":1"]
    house.consumer.place(STREAM)
    house.consumer.turn()
    assert [delivery.source_id[-2:] for delivery in house.came] == [":1", ":2", ":3"]
    house.consumer.settle(house.came, 0.0)
    assert house.acknowledged == [1, 2, 3]
    assert house.given_back == []


def test_a_pull_that_waits_says_nothing_of_its_consumer() -> None:
    house = House()
    house.end_of_pull(b"100 Idle Heartbeat")
    assert house.lost == 0


def test_pulls_are_made_anew_once_nothing_was_heard_for_long_and_no_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(jetstream_consumer.time, "monotonic", lambda: now_s)
    house = House()
    house.consumer.turn()
    now_s += DEAF_S - 1
    house.end_of_pull(b"100 Idle Heartbeat")
    house.wanted = 0
    house.consumer.tick(now_s + DEAF_S)
    assert (house.wanted, house.line.pulls) == (0, 1)
    house.consumer.tick(now_s + DEAF_S + 1)
    assert house.wanted == 1
    house.consumer.turn()
    assert house.line.pulls == 2


def test_what_came_of_another_stream_of_the_name_is_given_back_to_it() -> None:
    house = House()
    house.end_of_pull(GONE)
    house.take(2)
    house.consumer.place(ANOTHER)
    house.consumer.turn()
    assert house.given_back == [2]
    assert house.came == []


def test_what_waits_to_be_known_is_given_back_when_the_farm_ends() -> None:
    house = House()
    house.end_of_pull(GONE)
    house.take(2)
    house.consumer.quiet()
    assert house.given_back == [2]


def test_a_consumer_that_is_made_again_begins_with_what_waits_to_be_known() -> None:
    """It may be the first of all, or have come before."""
    house = House()
    house.end_of_pull(GONE)
    assert house.consumer.start == 0
    house.take(7)
    assert house.consumer.start == 7
    house.consumer.place(STREAM, 7)
    house.consumer.turn()
    house.consumer.settle(house.came, 0.0)
    assert house.consumer.start == 8
    house.end_of_pull(GONE)
    house.take(5)
    assert house.consumer.start == 5
