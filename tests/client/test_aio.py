from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from farm.client import aio
from farm.client.aio import Relay
from farm.errors import BrokerFull, FarmError, Unanswered, UnknownBroker
from farm.wire.relay import HeardMessage, Publish
from farm.wire.sockets import Sockets
from tests.client.stand_in import StandIn, eventually, rundir_in


@dataclass
class Ear:
    """Remembers what it is told."""

    payloads: list[bytes] = field(default_factory=list)
    missed: int = 0
    gaps: int = 0
    error: FarmError | None = None
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def heard(self, messages: list[HeardMessage], missed: int) -> None:
        self.payloads += [one.payload for one in messages]
        self.missed += missed
        self.told.set()

    def gap(self) -> None:
        self.gaps += 1
        self.told.set()

    def ended(self, error: FarmError) -> None:
        self.error = error
        self.told.set()

    async def wait(self) -> None:
        await asyncio.wait_for(self.told.wait(), 20)
        self.told.clear()


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[StandIn]:
    with StandIn(rundir_in(tmp_path)) as one:
        yield one


@pytest.fixture
async def relay(ingest: StandIn) -> AsyncIterator[Relay]:
    with Sockets() as sockets:
        one = Relay(sockets, ingest.rundir.relay)
        yield one
        one.close()


async def test_publishes_of_one_turn_travel_in_one_batch(relay: Relay, ingest: StandIn) -> None:
    receipts = await asyncio.gather(*(relay.publish(Publish("a", b"x")) for _ in range(100)))
    assert ingest.batches == [100]
    assert len({one.id for one in receipts}) == 100
    assert {one.broker for one in receipts} == {"test"}


async def test_a_receipt_names_the_broker_that_was_asked_for(relay: Relay) -> None:
    assert (await relay.publish(Publish("a", b"x", "secondary"))).broker == "secondary"


async def test_a_refusal_is_raised(relay: Relay, ingest: StandIn) -> None:
    ingest.refusal = ("full", "the queue is full", True)
    with pytest.raises(BrokerFull, match="the queue is full"):
        await relay.publish(Publish("a", b"x"))


async def test_silence_is_unanswered(relay: Relay, ingest: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "ANSWER_S", 0.05)
    ingest.deaf = True
    with pytest.raises(Unanswered):
        await relay.publish(Publish("a", b"x"))
    with pytest.raises(Unanswered):
        await relay.status()
    with pytest.raises(Unanswered):
        await relay.live(relay.listen("a", "test", Ear()))


async def test_a_publish_whose_caller_has_gone_disturbs_nobody(relay: Relay) -> None:
    gone = asyncio.ensure_future(relay.publish(Publish("a", b"x")))
    await asyncio.sleep(0)
    gone.cancel()
    assert (await relay.publish(Publish("a", b"y"))).id


async def test_a_listener_hears_once_it_is_live(relay: Relay) -> None:
    ear = Ear()
    await relay.live(relay.listen("a.*", "test", ear))
    await relay.publish(Publish("a.b", b"x"))
    await ear.wait()
    assert ear.payloads == [b"x"]


async def test_a_refused_listener_raises_for_all_who_wait(relay: Relay) -> None:
    number = relay.listen("a", "nope", Ear())
    found = await asyncio.gather(relay.live(number), relay.live(number), return_exceptions=True)
    assert [type(one) for one in found] == [UnknownBroker, UnknownBroker]


async def test_a_new_life_is_met_with_all_listeners(relay: Relay, ingest: StandIn) -> None:
    ear = Ear()
    await relay.live(relay.listen("a", "test", ear))
    await asyncio.to_thread(ingest.restart)
    relay.reconnect()
    assert ear.gaps == 1
    await relay.status()  # words travel in order: the listener was asked for before
    await relay.publish(Publish("a", b"x"))
    ear.told.clear()
    if not ear.payloads:
        await ear.wait()
    assert ear.payloads == [b"x"]


async def test_a_listener_that_the_new_life_refuses_is_told(relay: Relay, ingest: StandIn) -> None:
    ear = Ear()
    await relay.live(relay.listen("a", "secondary", ear))
    ingest.brokers = ("test",)
    await asyncio.to_thread(ingest.restart)
    relay.reconnect()
    while ear.error is None:
        await ear.wait()
    assert isinstance(ear.error, UnknownBroker)


async def test_unanswered_publishes_are_unknown_at_a_new_life(relay: Relay, ingest: StandIn) -> None:
    ingest.deaf = True
    waiting = asyncio.ensure_future(relay.publish(Publish("a", b"x")))
    await asyncio.to_thread(eventually, lambda: ingest.ignored > 0)
    relay.reconnect()
    with pytest.raises(Unanswered, match="whether it took the message is unknown"):
        await waiting


async def test_closing_ends_all_waiting(relay: Relay, ingest: StandIn) -> None:
    ingest.deaf = True
    waiting = [
        asyncio.ensure_future(relay.publish(Publish("a", b"x"))),
        asyncio.ensure_future(relay.status()),
        asyncio.ensure_future(relay.live(relay.listen("a", "test", Ear()))),
    ]
    await asyncio.to_thread(eventually, lambda: ingest.ignored > 0)
    relay.close()
    assert [type(one) for one in await asyncio.gather(*waiting, return_exceptions=True)] == [Unanswered] * 3
