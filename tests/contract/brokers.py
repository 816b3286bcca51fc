"""What the broker suite needs of each broker that it tries: a rig, by the broker's type."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from farm.broker import Broker, Delivery, Published, Refused, Subscription
from farm.brokers.memory import MemoryBroker
from farm.message import Message
from farm.spec import MemorySpec

WITHIN_S: Final = 20.0


@dataclass(frozen=True)
class Rig:
    """One broker under test: how it is made, and what its kind promises.

    started: a broker that is up, on an empty server of its own. redelivers: what was released comes again. whole: a
    message keeps its headers, its cause and its hops.
    """

    started: Callable[[], AbstractAsyncContextManager[Broker]]
    redelivers: bool
    whole: bool


@asynccontextmanager
async def started_memory() -> AsyncIterator[Broker]:
    broker = MemoryBroker(MemorySpec("under-test", wildcards="nats"))
    assert broker.state == "connecting"
    await broker.start()
    yield broker
    await broker.close()


RIGS: Final = {"memory": Rig(started_memory, redelivers=True, whole=True)}


async def eventually(look: Callable[[], bool], what: str) -> None:
    """Wait until `look` is true; fails, naming what was waited for."""
    end_s = time.monotonic() + WITHIN_S
    while not look():
        assert time.monotonic() < end_s, f"not within {WITHIN_S:g} s: {what}"
        await asyncio.sleep(0.002)


class Ends:
    """The ends of one broker that ingest would hold: what came for triggers and listeners, and the answers to
    publishes.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.deliveries: dict[int, list[Delivery]] = {}
        self.answers: list[Published | Refused] = []

    def trigger(self, number: int, topic: str) -> list[Delivery]:
        """Subscribe a trigger; what will come for it."""
        came: list[Delivery] = []
        self.deliveries[number] = came
        self.broker.deliver(Subscription(number, topic), came.extend)
        return came

    def listener(self, pattern: str) -> tuple[list[Message], Callable[[], None]]:
        """Subscribe a listener; what it will hear, and the way to end it."""
        heard: list[Message] = []
        return heard, self.broker.listen(pattern, heard.extend)

    async def publish(self, *messages: Message) -> list[Published | Refused]:
        """Publish at once; the answers, which come in one call."""
        calls: list[list[Published | Refused]] = []
        self.broker.publish(messages, lambda answers: calls.append(list(answers)))
        await eventually(lambda: bool(calls), "the answer to a publish")
        assert len(calls) == 1
        assert len(calls[0]) == len(messages)
        return calls[0]


def numbered(count: int, subject: str = "a.b") -> list[Message]:
    """So many messages that can be told apart."""
    return [Message(f"id-{n}", subject, f"{n}".encode()) for n in range(count)]


def payloads(deliveries: list[Delivery]) -> list[bytes]:
    """What came, in its order."""
    return [delivery.message.payload for delivery in deliveries]
