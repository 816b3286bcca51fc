"""The conformance suite finds what it is for: brokers with one fault each, and the test that must notice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from farm.broker import Broker, Delivery, Home, OnDeliveries, OnMessages, PublishDone, Published, Subscription
from farm.brokers.memory import MemoryBroker
from farm.message import Message
from farm.spec import MemorySpec
from farm.testing import rig as rigs
from farm.testing.rig import Ends, Rig, home_of
from farm.testing.suite import BrokerSuite


class Faulty(MemoryBroker):
    """A broker without a fault yet."""


class IgnoresGrants(Faulty):
    def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
        super().deliver(subscription, on_deliveries)
        self.grant(subscription.trigger, 1000)


class ForgetsGrants(Faulty):
    def grant(self, trigger: int, count: int) -> None:
        self._queues[trigger].granted = 0
        super().grant(trigger, count)


class DeliversTwice(Faulty):
    def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
        super().deliver(subscription, lambda deliveries: on_deliveries([*deliveries, *deliveries]))


class KnowsNoGroups(Faulty):
    def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
        super().deliver(replace(subscription, group=""), on_deliveries)


class LosesHeaders(Faulty):
    def _publish(self, messages: Sequence[Message], done: PublishDone) -> None:
        super()._publish([Message(one.id, one.subject, one.payload) for one in messages], done)


class ChangesPayloads(Faulty):
    def _publish(self, messages: Sequence[Message], done: PublishDone) -> None:
        changed = [Message(one.id, one.subject, one.payload.decode(errors="replace").encode()) for one in messages]
        super()._publish(changed, done)


class TurnsTheOrder(Faulty):
    def _publish(self, messages: Sequence[Message], done: PublishDone) -> None:
        super()._publish(messages[::-1], done)


class AnswersTwice(Faulty):
    def _publish(self, messages: Sequence[Message], done: PublishDone) -> None:
        super()._publish(messages, done)
        done([Published(0, 0)] * len(messages))


class ChecksNothing(Faulty):
    def check(self, subject: str, payload_bytes: int, *, reply: bool = False) -> None: ...


class LosesReleased(Faulty):
    def release(self, deliveries: Sequence[Delivery]) -> None:
        self.settle(deliveries)


class HearsOnAfterwards(Faulty):
    def listen(self, pattern: str, on_messages: OnMessages) -> Callable[[], None]:
        super().listen(pattern, on_messages)
        return lambda: None


class LeavesACoroutine(Faulty):
    async def start(self) -> None:
        await super().start()
        self.left = asyncio.create_task(asyncio.sleep(60))


class NeverUp(Faulty):
    async def start(self) -> None:
        self._became("down", "no")


class FaultyRig(Rig):
    def __init__(self, kind: type[Faulty]) -> None:
        self.kind = kind

    def spec(self) -> MemorySpec:
        return MemorySpec("under-test", wildcards="nats")

    def make(self, home: Home) -> Broker:
        return self.kind(self.spec(), home)


async def run(name: str, kind: type[Faulty], folder: Path) -> None:
    """One test of the suite on one broker."""
    rig, test = FaultyRig(kind), getattr(BrokerSuite(), name)
    asks = test.__code__.co_varnames[1 : test.__code__.co_argcount]
    broker = rig.make(home_of(folder))
    given = {"rig": rig, "broker": broker, "tmp_path": folder}
    try:
        if "ends" in asks:
            given["ends"] = await Ends(broker).start()
        await test(**{name: given[name] for name in asks})
    finally:
        await broker.close()


FAULTS = [
    (IgnoresGrants, "test_nothing_comes_before_it_is_granted"),
    (IgnoresGrants, "test_never_more_comes_than_was_granted"),
    (ForgetsGrants, "test_grants_that_were_not_used_remain"),
    (DeliversTwice, "test_every_trigger_that_matches_gets_every_message_once"),
    (DeliversTwice, "test_what_is_settled_does_not_come_again"),
    (KnowsNoGroups, "test_one_of_a_queue_gets_each_message"),
    (LosesHeaders, "test_a_message_arrives_as_it_was_published"),
    (ChangesPayloads, "test_a_message_arrives_as_it_was_published"),
    (TurnsTheOrder, "test_many_messages_arrive_in_their_order"),
    (AnswersTwice, "test_many_messages_arrive_in_their_order"),
    (ChecksNothing, "test_a_wrong_message_is_refused_and_its_neighbours_are_not"),
    (ChecksNothing, "test_the_largest_payload_passes_and_a_larger_one_is_refused"),
    (LosesReleased, "test_what_was_released_comes_again"),
    (HearsOnAfterwards, "test_a_listener_that_has_ended_hears_nothing"),
    (LeavesACoroutine, "test_it_is_down_once_closed_and_nothing_of_it_is_left"),
    (NeverUp, "test_it_is_up_once_started"),
]


@pytest.mark.parametrize(("kind", "name"), FAULTS, ids=[kind.__name__ for kind, _ in FAULTS])
async def test_a_fault_is_noticed(
    kind: type[Faulty], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rigs, "WITHIN_S", 0.3)
    with pytest.raises(AssertionError):
        await run(name, kind, tmp_path)


@pytest.mark.parametrize("name", sorted({name for _, name in FAULTS}))
async def test_the_same_tests_pass_without_a_fault(name: str, tmp_path: Path) -> None:
    await run(name, Faulty, tmp_path)
