from __future__ import annotations

import os
from pathlib import Path

import pytest

from farm.broker import Broker, Delivery
from farm.errors import BrokerUnavailable
from farm.ingest.circuit import Circuit
from farm.ingest.dead_letters import LetterFile
from farm.ingest.dispatcher import Dispatcher
from farm.ingest.intake import Intake
from farm.ingest.table import Trigger
from farm.invocation import Failed, Finished, Output
from farm.message import Message
from farm.spec import TriggerSpec
from farm.wire.lifeline import Gone
from tests.ingest.farmhouse import component
from tests.ingest.pieces import Clock, KeepingBroker, ScriptedBroker

COMPONENT = component("c", TriggerSpec("in", "t", attempts=2, backoff_s=(1.0,)))


class Desk:
    """A circuit without links: the test is the worker."""

    def __init__(self, folder: Path, broker: ScriptedBroker | None = None) -> None:
        self.clock = Clock()
        self.broker = broker or ScriptedBroker("in")
        brokers: dict[str, Broker] = {"in": self.broker}
        self.dispatcher = Dispatcher([COMPONENT])
        self.trigger = Trigger(0, "c", COMPONENT.triggers[0])
        self.intake = Intake([self.trigger], brokers, self.dispatcher, lambda: None)
        self.circuit = Circuit(self.dispatcher, self.intake, brokers, LetterFile(folder / "letters"), self.clock)
        self.intake.open()
        self.lane = self.dispatcher.lanes["c"]
        self.dispatcher.joined(b"w")
        self.count = 0

    def offer(self, count: int = 1) -> None:
        messages = [Message(f"m{self.count + n}", "t", b"") for n in range(count)]
        self.count += count
        self.broker.on_deliveries[0]([Delivery(0, message) for message in messages])
        self.intake.take()

    def run(self, failed: Failed | None = None, *outputs: Output) -> int:
        """Answer all that may run now."""
        ran = 0
        while batches := self.dispatcher.assign(self.clock()):
            for batch in batches:
                answers = [Finished(one.delivery, one.attempt, 10, list(outputs), failed) for one in batch.invokes]
                self.circuit.finished(batch.worker, answers)
                ran += len(answers)
        return ran

    def pass_(self, seconds: float) -> None:
        self.circuit.wake(self.clock.pass_(seconds))

    def kill(self) -> None:
        """The worker dies of its first call, and another one comes."""
        [batch] = self.dispatcher.assign(self.clock())
        self.circuit.lost(Gone(b"w", batch.invokes[0].seq, True, False, "signal 11"))
        self.dispatcher.joined(b"w")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


REJECTED = Failed("rejected", "no")


def no_room(fd: int, data: bytes) -> int:
    raise OSError(28, "No space left on device")


def test_a_good_answer_settles_its_source(desk: Desk) -> None:
    desk.offer()
    desk.run()
    assert [delivery.message.id for delivery in desk.broker.settled] == ["m0"]
    assert (desk.lane.handled, desk.lane.failed, len(desk.dispatcher), desk.trigger.held) == (1, 0, 0, 0)


def test_a_failure_waits_for_its_time_and_then_ends_as_a_dead_letter(desk: Desk) -> None:
    desk.offer()
    desk.run(Failed("trap", "unreachable"))
    assert (desk.lane.waiting, desk.broker.settled) == (1, [])
    desk.pass_(1.3)
    desk.run(Failed("trap", "unreachable"))
    assert (desk.lane.failed, desk.lane.retried, desk.lane.dead_lettered, desk.lane.handled) == (2, 1, 1, 0)
    assert len(desk.broker.settled) == 1


def test_while_farm_stops_a_message_that_its_broker_keeps_is_given_back_to_it(desk: Desk) -> None:
    desk.circuit.stopping = True
    desk.offer(2)
    desk.run(Failed("trap", "unreachable"))
    assert [delivery.message.id for delivery in desk.broker.released] == ["m0", "m1"]
    assert (desk.lane.failed, desk.lane.dead_lettered, desk.broker.settled) == (2, 0, [])
    assert len(desk.dispatcher) == desk.trigger.held == 0


def test_while_farm_stops_one_that_nobody_keeps_is_a_dead_letter(desk: Desk) -> None:
    desk.circuit.stopping = desk.broker.volatile = True
    desk.offer()
    desk.run(Failed("trap", "unreachable"))
    assert (desk.lane.dead_lettered, desk.broker.released) == (1, [])
    assert len(desk.broker.settled) == 1


def test_while_farm_stops_an_attempt_that_was_the_last_is_a_dead_letter(desk: Desk) -> None:
    desk.circuit.stopping = True
    desk.offer()
    desk.run(REJECTED)
    assert (desk.lane.dead_lettered, desk.broker.released) == (1, [])


def test_a_death_names_its_cause(desk: Desk) -> None:
    desk.offer()
    desk.kill()
    assert desk.circuit.last_errors["c"].text == "the worker died (signal 11) in the middle of the call"


def test_a_source_is_settled_only_once_its_dead_letter_is_stored(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.offer()
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", no_room)
        desk.run(REJECTED)
        assert desk.broker.settled == []
        assert len(desk.dispatcher) == 1
    desk.pass_(1)
    assert len(desk.broker.settled) == 1
    assert len(desk.dispatcher) == desk.trigger.held == 0


def test_a_trigger_with_too_many_letters_that_cannot_be_stored_takes_nothing_more(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in (65, 130):  # a second time it is as it was the first time
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", no_room)
            desk.offer(64)
            desk.run(REJECTED)
            assert not desk.trigger.pauses
            desk.offer(1)
            desk.run(REJECTED)
            assert desk.trigger.pauses == {"dead letters cannot be stored"}
        desk.pass_(2)
        assert not desk.trigger.pauses
        assert desk.lane.dead_lettered == count


def test_an_output_that_was_refused_is_published_again_when_its_time_has_come(desk: Desk) -> None:
    desk.broker.refusal = BrokerUnavailable("away")
    desk.offer()
    desk.run(None, Output(b"x", "o"))
    assert desk.circuit.next_wake_s(desk.clock()) == desk.clock() + 0.05
    desk.broker.refusal = None
    desk.pass_(0.05)
    assert (len(desk.broker.took), len(desk.broker.settled), len(desk.dispatcher)) == (1, 1, 0)


def test_a_letter_that_its_broker_did_not_take_is_stored_again_when_its_time_has_come(tmp_path: Path) -> None:
    broker = KeepingBroker("in")
    broker.store_refusals = [BrokerUnavailable("away")]
    desk = Desk(tmp_path, broker)
    desk.offer()
    desk.run(REJECTED)
    assert desk.circuit.next_wake_s(desk.clock()) == desk.clock() + 1
    assert broker.settled == []
    desk.pass_(1)
    assert (len(broker.stored), len(broker.settled), len(desk.dispatcher)) == (1, 1, 0)


def test_a_component_that_is_set_aside_takes_nothing_more_until_it_is_tried_again(desk: Desk) -> None:
    desk.offer(5)
    for _ in range(5):
        desk.kill()
        desk.pass_(1.3)
    assert desk.trigger.pauses == {"set aside"}
    assert desk.run() == 0
    assert desk.circuit.next_wake_s(desk.clock()) is not None
    desk.pass_(31)
    assert not desk.trigger.pauses
    assert desk.run() > 0
    assert desk.lane.quarantine.standing(desk.clock()) == "free"


def test_the_log_says_how_many_failures_it_left_out(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    desk.offer(100)
    desk.run(REJECTED)
    desk.clock.pass_(1)
    desk.offer(1)
    desk.run(REJECTED)
    said = "".join(capfd.readouterr())
    assert said.count("call failed") == 21
    assert "more calls failed" in said
    assert "calls=80" in said


def test_payloads_are_not_in_the_log(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    desk.broker.on_deliveries[0]([Delivery(0, Message("m", "t", b"secret-payload"))])
    desk.intake.take()
    desk.run(REJECTED)
    said = "".join(capfd.readouterr())
    assert "call failed" in said
    assert "message_id=" in said
    assert "subject=" in said
    assert "secret-payload" not in said


def test_what_its_server_hands_out_too_often_becomes_a_dead_letter_without_a_call(tmp_path: Path) -> None:
    broker = KeepingBroker("in")
    brokers: dict[str, Broker] = {"in": broker}
    dispatcher = Dispatcher([COMPONENT])
    intake = Intake([Trigger(0, "c", COMPONENT.triggers[0])], brokers, dispatcher, lambda: None)
    Circuit(dispatcher, intake, brokers, LetterFile(tmp_path / "letters"), Clock())
    intake.open()
    broker.on_deliveries[0]([Delivery(0, Message("m", "t", b"x"), None, 21)])
    intake.take()
    [letter] = broker.stored
    assert dict(letter.headers)["farm-reason"] == "redelivered"
    assert (len(dispatcher), len(broker.settled), dispatcher.lanes["c"].dead_lettered) == (0, 1, 1)
    assert (tmp_path / "letters").read_text() == ""
