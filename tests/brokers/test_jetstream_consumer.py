"""One trigger's consumer, on a connection that only notes what is sent over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from farm.broker import Delivery, Subscription
from farm.brokers.jetstream_api import Stream
from farm.brokers.jetstream_consumer import SETTLE_AGAIN_S, Consumer
from farm.brokers.nats_connection import NatsConnection

STREAM = Stream("S", {"subjects": ["a.b"]}, "2026-01-01T00:00:00Z")
NOBODY = b"NATS/1.0 503\r\n\r\n"


class Line:
    """A connection. heard: what listens on each inbox."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.heard: dict[str, Any] = {}
        self._inboxes = 0

    def new_inbox(self) -> str:
        self._inboxes += 1
        return f"_INBOX.{self._inboxes}"

    def subscribe(self, subject: str, heard: object) -> int:
        self.heard[subject] = heard
        return len(self.heard)

    def publish_all(self, parts: Sequence[bytes], _: int) -> None:
        self.sent += parts

    def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        """A pull."""


class House:
    def __init__(self) -> None:
        self.line = Line()
        self.came: list[Delivery] = []
        self.lost = 0
        subscription = Subscription(0, "a.b", "", "d")
        connection = cast("NatsConnection", self.line)
        self.consumer = Consumer(connection, subscription, self.came.extend, lambda: None, self.lose)
        self.consumer.place(STREAM)
        self.consumer.grant(100)

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

    @property
    def acknowledged(self) -> list[int]:
        return [int(line.split(b".")[5]) for line in self.line.sent if line.startswith(b"PUB") and b"+ACK" in line]


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
