from __future__ import annotations

from collections.abc import Sequence

import pytest

from farm.broker import Broker, Delivery, OnDeliveries, Published, Refused, Subscription
from farm.brokers.memory import MemoryBroker
from farm.ingest.dispatcher import Dispatcher
from farm.ingest.intake import Intake
from farm.ingest.table import Record, Trigger
from farm.message import Message
from farm.spec import MemorySpec, QueueSpec, TriggerSpec
from tests.ingest.farmhouse import component
from tests.ingest.pieces import KeepingBroker, ScriptedBroker


class Gate:
    """An intake over one scripted broker."""

    def __init__(self, trigger_count: int) -> None:
        self.broker = ScriptedBroker("in")
        brokers: dict[str, Broker] = {"in": self.broker}
        self.dispatcher = Dispatcher([component("c")])
        self.triggers = [Trigger(n, "c", TriggerSpec("in", f"t{n}")) for n in range(trigger_count)]
        self.wanted = 0
        self.intake = Intake(self.triggers, brokers, self.dispatcher, self._want)
        self.intake.open()

    def _want(self) -> None:
        self.wanted += 1

    def granted(self) -> int:
        """What was granted since this was asked last."""
        count = sum(count for _, count in self.broker.grants)
        self.broker.grants.clear()
        return count

    def arrive(self, count: int, payload: bytes = b"", trigger: int = 0) -> None:
        self.broker.on_deliveries[trigger]([Delivery(trigger, Message(f"{n}", "t", payload)) for n in range(count)])

    def close(self, count: int) -> None:
        """So many are done with."""
        released = self.dispatcher.release({0})
        self.intake.closed(released[:count])
        self.intake.grant()


@pytest.mark.parametrize(("triggers", "each"), [(1, 1024), (8, 1024), (16, 512), (9000, 1)])
def test_every_trigger_may_hold_its_part_of_what_the_farm_may_hold(triggers: int, each: int) -> None:
    gate = Gate(triggers)
    assert {count for _, count in gate.broker.grants} == {each}
    assert len(gate.broker.grants) == triggers


def test_what_arrives_is_noted_and_offered_in_the_next_turn() -> None:
    gate = Gate(1)
    gate.arrive(3)
    assert (gate.wanted, len(gate.dispatcher)) == (1, 0)
    assert gate.intake.take()
    assert len(gate.dispatcher) == 3
    assert not gate.intake.take()


def test_nothing_that_is_handed_over_is_nothing() -> None:
    gate = Gate(1)
    gate.arrive(0)
    assert gate.wanted == 0
    assert not gate.intake.take()


def test_what_is_done_with_makes_room_for_as_much() -> None:
    gate = Gate(1)
    gate.granted()
    gate.arrive(1000)
    gate.intake.take()
    gate.intake.grant()
    assert gate.granted() == 0
    gate.close(100)
    assert gate.granted() == 100


def test_a_trigger_that_holds_its_part_is_granted_no_more_than_that() -> None:
    gate = Gate(9000)
    gate.granted()
    gate.arrive(1)
    gate.intake.take()
    gate.intake.resume([gate.triggers[0]], "whatever it was")
    gate.intake.grant()
    assert gate.granted() == 0
    gate.close(1)
    assert gate.granted() == 1


def test_a_trigger_that_may_go_on_asks_for_the_turn_in_which_it_does() -> None:
    gate = Gate(1)
    gate.intake.pause(gate.triggers, "set aside")
    assert gate.wanted == 0
    gate.intake.resume(gate.triggers, "set aside")
    assert gate.wanted == 1


def test_heavy_messages_are_granted_by_their_weight() -> None:
    gate = Gate(1)
    assert gate.granted() == 1024
    gate.arrive(63, bytes(1 << 20))
    gate.intake.take()
    trigger = gate.triggers[0]
    trigger.granted = 0  # the broker took the rest back
    gate.close(0)
    assert gate.granted() == 0, "63 MiB are held, and nothing was given back"
    gate.intake.resume([trigger], "nothing")
    gate.intake.grant()
    assert gate.granted() == 1, "64 MiB may be held"


class Hall:
    """An intake over a memory broker, in which clients publish."""

    def __init__(self, trigger_count: int = 1) -> None:
        self.broker = MemoryBroker(MemorySpec("in"))
        self.dispatcher = Dispatcher([component("c")])
        self.triggers = [Trigger(n, "c", TriggerSpec("in", "t")) for n in range(trigger_count)]
        self.intake = Intake(self.triggers, {"in": self.broker}, self.dispatcher, lambda: None)
        self.intake.open()

    def publish(self, count: int, payload: bytes) -> int:
        """How many of so many were accepted."""
        answers: list[Published | Refused] = []
        self.broker.publish([Message(f"{n}", "t", payload) for n in range(count)], answers.extend)
        self.turn()
        return sum(isinstance(answer, Published) for answer in answers)

    def turn(self) -> None:
        self.intake.grant()
        self.intake.take()

    def close_all(self) -> int:
        """Everything that is held is done with; how many these were."""
        released = self.dispatcher.release({trigger.number for trigger in self.triggers})
        self.intake.closed(released)
        self.turn()
        return len(released)


@pytest.mark.parametrize("size_bytes", [100, 50_000, 65_500, 100_000, 1 << 20])
def test_of_a_broker_that_weighs_neither_bound_is_ever_passed_by_more_than_a_message(size_bytes: int) -> None:
    hall = Hall()
    (trigger,) = hall.triggers
    accepted, closed = 0, 0
    for _ in range(6):
        accepted += hall.publish(2000, bytes(size_bytes))
        assert trigger.held <= 1024
        assert trigger.held_bytes <= (64 << 20) + size_bytes
        closed += hall.close_all()
    while count := hall.close_all():
        closed += count
    assert closed == accepted
    assert (trigger.held, trigger.held_bytes, trigger.granted) == (0, 0, 1024), "every grant is there again"


def test_light_and_heavy_messages_in_turn_keep_the_bound_too() -> None:
    hall = Hall()
    (trigger,) = hall.triggers
    for turn in range(40):
        hall.publish(50, bytes(1 << 20) if turn % 8 == 0 else b"x")
        assert trigger.held_bytes <= 65 << 20
        if turn % 16 == 15:
            hall.close_all()


def test_a_message_that_is_heavier_than_its_triggers_part_is_still_let_in() -> None:
    hall = Hall(trigger_count=600)
    for _ in range(3):
        assert hall.publish(1, bytes(1 << 20)) == 1
        assert hall.close_all() == 600


def test_a_message_heavier_than_all_that_may_be_held_is_still_let_in() -> None:
    gate = Gate(1)
    trigger = gate.triggers[0]
    trigger.granted, trigger.estimate_bytes = 0, 1 << 40
    gate.granted()
    gate.intake.resume([trigger], "nothing")
    gate.intake.grant()
    assert gate.granted() == 1


def test_lighter_messages_are_believed_in_little_by_little() -> None:
    gate = Gate(1)
    gate.arrive(1, bytes(1 << 20))
    gate.intake.take()
    trigger = gate.triggers[0]
    assert trigger.estimate_bytes == 1 << 20
    seen: list[int] = []
    for _ in range(60):
        gate.arrive(1, b"x")
        gate.intake.take()
        seen.append(trigger.estimate_bytes)
    assert seen == sorted(seen, reverse=True)
    assert (seen[0] > 900_000, seen[-1]) == (True, 1024)


def held(trigger: Trigger) -> Sequence[int]:
    return (trigger.held, trigger.held_bytes)


def test_held_bytes_come_down_to_nothing() -> None:
    gate = Gate(1)
    gate.arrive(5, b"12345678")
    gate.intake.take()
    assert held(gate.triggers[0]) == (5, 40)
    gate.close(5)
    assert held(gate.triggers[0]) == (0, 0)


def test_a_paused_trigger_is_granted_nothing_until_every_reason_is_lifted() -> None:
    gate = Gate(1)
    gate.granted()
    gate.arrive(10)
    gate.intake.take()
    gate.intake.pause(gate.triggers, "one")
    gate.intake.pause(gate.triggers, "two")
    gate.close(10)
    assert gate.granted() == 0
    gate.intake.resume(gate.triggers, "one")
    gate.intake.grant()
    assert gate.granted() == 0
    gate.intake.resume(gate.triggers, "two")
    gate.intake.grant()
    assert gate.granted() == 10


def test_what_its_server_hands_out_again_and_again_is_not_run() -> None:
    broker = KeepingBroker("in")
    trigger = Trigger(0, "c", TriggerSpec("in", "t"))
    dispatcher = Dispatcher([component("c")])
    intake = Intake([trigger], {"in": broker}, dispatcher, lambda: None)
    worn_out: list[Record] = []
    intake.on_worn_out = worn_out.extend
    intake.open()
    broker.on_deliveries[0]([Delivery(0, Message(f"{n}", "t", b""), None, n) for n in (1, 20, 21, 99)])
    intake.take()
    assert [record.delivery.message.id for record in worn_out] == ["21", "99"]
    assert (len(dispatcher), dispatcher.lanes["c"].waiting, dispatcher.lanes["c"].received) == (4, 2, 4)
    dispatcher.settled(worn_out)
    intake.closed(worn_out)
    assert (len(dispatcher), trigger.held) == (2, 2)


def test_a_queues_group_and_the_name_of_what_is_kept_reach_the_broker() -> None:
    class Noting(ScriptedBroker):
        def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
            subscriptions.append(subscription)

    subscriptions: list[Subscription] = []
    queue = Trigger(0, "c", TriggerSpec("in", queue=QueueSpec("a.*", "g")), "g-1")
    Intake([queue], {"in": Noting("in")}, Dispatcher([component("c")]), lambda: None).open()
    assert [(one.topic, one.group, one.durable) for one in subscriptions] == [("a.*", "g", "g-1")]
