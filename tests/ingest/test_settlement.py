from __future__ import annotations

from typing import Any

import pytest

from farm.broker import Broker, Refused
from farm.errors import BrokerFull, BrokerUnavailable, InputError
from farm.ingest.settlement import Settlement
from farm.ingest.table import Record
from farm.ingest.verdict import Reason
from farm.invocation import Failed, Output
from farm.spec import PublishSpec
from tests.ingest.pieces import Clock, KeepingBroker, ScriptedBroker, record_of, trigger_of


class Desk:
    """A settlement with two brokers, and what it said. log: what they and it did, in that order.

    publish: the broker that outputs go to.
    """

    def __init__(self, source: ScriptedBroker | None = None, publish: str = "out") -> None:
        self.clock = Clock()
        self.publish = PublishSpec(publish, "o")
        self.source = source or ScriptedBroker("in")
        self.target = ScriptedBroker("out")
        self.log: list[str] = []
        self.source.log = self.target.log = self.log
        brokers: dict[str, Broker] = {"in": self.source, "out": self.target}
        self.failed: list[tuple[Record, Failed, Reason | None]] = []
        self.gone: list[Record] = []
        self.turns_wanted = 0
        self.settlement = Settlement(brokers, self.clock, self._fail, self._go, self._want)

    def _fail(self, *said: Any) -> None:
        self.failed.append(said)

    def _go(self, records: list[Record]) -> None:
        self.gone += records
        self.log += [f"gone {record.delivery.message.id}" for record in records]

    def _want(self) -> None:
        self.turns_wanted += 1

    def settle(self, *outputs: Output) -> Record:
        record = record_of(outputs, trigger=trigger_of(publish=self.publish))
        self.settlement.settle([record])
        return record

    def wake(self, seconds: float) -> None:
        self.settlement.wake(self.clock.pass_(seconds))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_outputs_are_confirmed_before_the_source_is_settled(desk: Desk) -> None:
    desk.target.later = True
    record = desk.settle(Output(b"1"), Output(b"2"))
    assert desk.source.settled == desk.gone == []
    desk.target.confirm()
    assert desk.log == ["publish id:c:0", "publish id:c:1", "settle id", "gone id"]
    assert desk.gone == [record]


def test_of_answers_that_come_together_every_source_is_settled(desk: Desk) -> None:
    records = [record_of(outputs, trigger=trigger_of(publish=desk.publish)) for outputs in ([], [], [Output(b"1")])]
    desk.settlement.settle(records)
    assert desk.source.settled == [record.delivery for record in records]
    assert desk.gone == records


@pytest.mark.parametrize("refusal", [None, BrokerUnavailable("away"), InputError("no")])
def test_what_a_broker_answers_between_turns_asks_for_one(desk: Desk, refusal: Refused | None) -> None:
    desk.target.later = True
    desk.settle(Output(b"1"))
    assert desk.turns_wanted == 0
    desk.target.refusal = refusal
    desk.target.confirm()
    assert desk.turns_wanted == 1


def test_without_outputs_the_source_is_settled_at_once(desk: Desk) -> None:
    record = desk.settle()
    assert (desk.source.settled, desk.gone) == ([record.delivery], [record])


def test_outputs_on_two_brokers_are_both_waited_for(desk: Desk) -> None:
    desk.source.later = True
    desk.settle(Output(b"1"), Output(b"2", broker="in"))
    assert desk.gone == []
    desk.source.confirm()
    assert len(desk.gone) == 1


def test_what_a_full_broker_refused_is_published_later_under_the_same_id(desk: Desk) -> None:
    desk.target.refusal = BrokerFull("full")
    record = desk.settle(Output(b"1"))
    assert desk.settlement.next_wake_s() == desk.clock() + 0.05
    desk.wake(0.05)
    assert desk.gone == desk.failed == []
    desk.target.refusal = None
    desk.wake(1.0)
    assert [message.id for message in desk.target.took] == ["id:c:0"]
    assert (desk.gone, record.attempts) == ([record], 1)
    assert desk.settlement.next_wake_s() is None


def test_only_the_refused_output_is_published_again(desk: Desk) -> None:
    desk.target.refusal = BrokerFull("full")
    desk.settle(Output(b"1", broker="in"), Output(b"2"))
    desk.target.refusal = None
    desk.wake(0.05)
    assert desk.log == ["publish id:c:0", "publish id:c:1", "settle id", "gone id"]


def test_waits_grow_to_a_second(desk: Desk) -> None:
    desk.target.refusal = BrokerFull("full")
    desk.settle(Output(b"1"))
    waits: list[float] = []
    for _ in range(7):
        due_s = desk.settlement.next_wake_s()
        assert due_s is not None
        waits.append(round(due_s - desk.clock(), 3))
        desk.wake(due_s - desk.clock())
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


@pytest.mark.parametrize(
    ("refusal", "patience_s", "reason"), [(BrokerFull("full"), 30, "full"), (BrokerUnavailable("away"), 600, None)]
)
def test_patience_with_a_broker_ends(desk: Desk, refusal: BrokerFull, patience_s: float, reason: Reason | None) -> None:
    desk.target.refusal = refusal
    record = desk.settle(Output(b"1"))
    desk.wake(patience_s - 1)
    assert desk.failed == []
    desk.wake(2)
    [(failed_record, failed, said)] = desk.failed
    assert (failed_record, failed.kind, said) == (record, "output", reason)
    assert f"broker 'out' refused an output: {refusal} (tried for" in failed.text
    assert desk.gone == desk.source.settled == []


def test_an_output_that_is_refused_for_good_fails_the_call(desk: Desk) -> None:
    desk.target.refusal = InputError("no stream covers it")
    record = desk.settle(Output(b"1"))
    assert desk.failed == [(record, Failed("output", "broker 'out' refused an output: no stream covers it"), None)]


def test_a_call_whose_output_was_given_up_fails_once_and_publishes_nothing_more(desk: Desk) -> None:
    desk.target.refusal = BrokerFull("full")
    desk.settle(Output(b"1"), Output(b"2"))
    desk.wake(31)
    desk.target.refusal = None
    desk.wake(5)
    assert len(desk.failed) == 1
    assert desk.target.took == desk.gone == []


def test_what_still_waits_of_a_call_that_was_given_up_is_not_published(desk: Desk) -> None:
    desk.target.refusal = desk.source.refusal = BrokerFull("full")
    desk.source.later = True
    desk.settle(Output(b"1"), Output(b"2", broker="in"))
    desk.clock.pass_(30.5)
    desk.source.confirm()  # refused only now: it waits on when the other one is given up
    desk.wake(0.0)
    assert len(desk.failed) == 1
    desk.target.refusal = desk.source.refusal = None
    desk.source.later = False
    desk.wake(5)
    assert desk.source.took == desk.target.took == desk.gone == []


def test_an_output_whose_turn_comes_right_after_its_call_was_given_up_is_not_published(desk: Desk) -> None:
    desk.target.refusal = desk.source.refusal = BrokerFull("full")
    desk.settle(Output(b"1"), Output(b"2", broker="in"))
    desk.source.refusal = None
    desk.wake(30.5)
    assert len(desk.failed) == 1
    assert desk.source.took == []


def test_a_misplaced_output_publishes_nothing(desk: Desk) -> None:
    desk.settle(Output(b"1"), Output(b"2", broker="nope"))
    assert len(desk.failed) == 1
    assert desk.target.took == []


def test_a_loop_ends_as_one(desk: Desk) -> None:
    record = record_of([Output(b"")], trigger=trigger_of(publish=PublishSpec("out", "o")), hops=16)
    desk.settlement.settle([record])
    assert [reason for _, _, reason in desk.failed] == ["loop"]


def keeping() -> tuple[Desk, KeepingBroker]:
    """A desk whose source commits, and that broker; outputs go to it too."""
    broker = KeepingBroker("in")
    return Desk(broker, publish="in"), broker


def test_outputs_to_the_sources_own_broker_are_committed_with_it_where_it_can() -> None:
    desk, broker = keeping()
    record = desk.settle(Output(b"1"), Output(b"2"))
    [commit] = broker.committed
    assert commit.delivery is record.delivery
    assert [message.payload for message in commit.outputs] == [b"1", b"2"]
    assert (broker.took, broker.settled, desk.gone) == ([], [], [record])
    assert broker.counters.published == 2
    assert desk.turns_wanted == 1


def test_outputs_that_go_elsewhere_too_are_published_and_then_the_source_is_settled() -> None:
    desk, broker = keeping()
    record = desk.settle(Output(b"1"), Output(b"2", broker="out"))
    assert broker.committed == []
    assert [message.payload for message in broker.took + desk.target.took] == [b"1", b"2"]
    assert (broker.settled, desk.gone) == ([record.delivery], [record])


def test_a_commit_that_may_be_tried_again_is() -> None:
    desk, broker = keeping()
    broker.refusal = BrokerUnavailable("away")
    record = desk.settle(Output(b"1"))
    assert desk.gone == desk.failed == []
    desk.settlement.wake(desk.clock.pass_(0.05))
    broker.refusal = None
    desk.settlement.wake(desk.clock.pass_(1.0))
    assert (len(broker.committed), desk.gone, desk.settlement.next_wake_s()) == (1, [record], None)


def test_a_commit_that_is_refused_for_good_fails_the_call() -> None:
    desk, broker = keeping()
    broker.refusal = InputError("no stream covers it")
    desk.settle(Output(b"1"))
    [(_, failed, _)] = desk.failed
    assert (failed.kind, "no stream covers it" in failed.text, desk.gone) == ("output", True, [])
