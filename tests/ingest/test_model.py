"""Dispatcher and verdict against the model, and the model against dispatchers and verdicts with a fault in them."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from farm.ingest import dispatcher as module
from farm.ingest import sharing, verdict
from farm.ingest.dispatcher import Assign, Dispatcher, Lost
from farm.ingest.table import SETTLING, Hand, Lane, Record
from farm.ingest.verdict import DeadLetter, RetryAt, Verdict
from farm.invocation import Failed, Finished
from tests.ingest.model import Machine

TestModel = Machine.TestCase
TestModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


class LosesWhatADeadWorkerHeld(Dispatcher):
    def lost(self, worker: bytes, started: int, now_s: float) -> Lost:
        lost = super().lost(worker, started, now_s)
        for lane in self.lanes.values():
            if lost.requeued and lane.queue:
                record = lane.queue.popleft()
                del self._records[record.number]
                lane.size -= 1
        return lost


class CountsWhatWasOnlyAssigned(Dispatcher):
    def lost(self, worker: bytes, started: int, now_s: float) -> Lost:
        held = list(self._hands[worker].records.values())
        lost = super().lost(worker, started, now_s)
        for record in held:
            record.attempts += record is not lost.died
        return lost


class TakesStaleAnswers(Dispatcher):
    def finished(self, worker: bytes, answers: Sequence[Finished], now_s: float) -> list[Record]:
        ended = super().finished(worker, answers, now_s)
        for answer in answers:
            record = self._records.get(answer.delivery)
            if record is not None and record not in ended and record.hand is not None:
                record.hand.drop(record)
                record.state, record.answer = SETTLING, answer
                record.attempts += 1
                ended.append(record)
        return ended


class RunsOneTwice(Dispatcher):
    def assign(self, now_s: float) -> list[Assign]:
        batches = super().assign(now_s)
        if len(batches) > 1:
            batches[1].invokes.append(batches[0].invokes[0])
        return batches


class ForgetsABatchThatDidNotLeave(Dispatcher):
    def put_back(self, assign: Assign) -> None:
        pass


class TakesBackWhatRuns(Dispatcher):
    def taken_back(self, worker: bytes, started: int, revoked: int) -> int:
        return super().taken_back(worker, started - 1, revoked)


class TakesBackTwice(Dispatcher):
    def returned(self, worker: bytes, calls: Sequence[tuple[int, int]]) -> None:
        for number, _ in calls:
            record = self._records[number]
            if record.hand is not None:
                record.hand.drop(record)
            record.lane.put_first(record)


class ForgetsWhatComesBack(Dispatcher):
    def returned(self, worker: bytes, calls: Sequence[tuple[int, int]]) -> None:
        pass


class RetriesAtOnce(Dispatcher):
    def retry(self, record: Record, at_s: float) -> None:
        super().retry(record, at_s - 0.3)


class NeverWakes(Dispatcher):
    def wake(self, now_s: float) -> None:
        while self._due and self._due[0][0] <= now_s:
            record = heapq.heappop(self._due)[2]
            record.lane.backoff -= 1


class ForgetsItsTimers(Dispatcher):
    def next_wake_s(self, now_s: float) -> float | None:
        return None


class KeepsWhatIsSettled(Dispatcher):
    def settled(self, records: Any) -> None:
        super().settled(list(records)[1:])


def too_much(hand: Hand, lanes: list[Lane], hands_left: int, half: int) -> list[Record]:
    taken: list[Record] = []
    for lane in lanes:
        while lane.queue:
            record = lane.queue.popleft()
            hand.take(record, 1)
            taken.append(record)
    return taken


def in_any_company(lane: Lane, free: list[Hand], batches: list[sharing.Batch]) -> int:
    while lane.alone:
        lane.queue.append(lane.alone.popleft())
    return 0


def one_attempt_more(failed: Failed | None, record: Record, now_s: float, rng: Random) -> Verdict:
    said = verdict.judge(failed, record, now_s, rng)
    return RetryAt(now_s) if isinstance(said, DeadLetter) and said.reason == "attempts" else said


def one_attempt_less(failed: Failed | None, record: Record, now_s: float, rng: Random) -> Verdict:
    said = verdict.judge(failed, record, now_s, rng)
    less = isinstance(said, RetryAt) and record.attempts == record.trigger.spec.attempts - 1
    return DeadLetter("attempts") if less else said


def never_rejects(failed: Failed | None, record: Record, now_s: float, rng: Random) -> Verdict:
    return verdict.judge(Failed("trap", "no") if failed and failed.kind == "rejected" else failed, record, now_s, rng)


def found_by_the_model(**planted: Any) -> None:
    class Planted(Machine):
        pass

    for name, fault in planted.items():
        setattr(Planted, name, fault if isinstance(fault, type) else staticmethod(fault))
    tries = settings(
        max_examples=400,
        stateful_step_count=40,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
    )
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(Planted, settings=tries)


@pytest.mark.parametrize(
    "faulty",
    [
        LosesWhatADeadWorkerHeld,
        CountsWhatWasOnlyAssigned,
        TakesStaleAnswers,
        RunsOneTwice,
        ForgetsABatchThatDidNotLeave,
        TakesBackWhatRuns,
        TakesBackTwice,
        ForgetsWhatComesBack,
        RetriesAtOnce,
        NeverWakes,
        ForgetsItsTimers,
        KeepsWhatIsSettled,
    ],
)
def test_the_model_finds_a_dispatcher_that(faulty: type[Dispatcher]) -> None:
    found_by_the_model(dispatcher_class=faulty)


@pytest.mark.parametrize("faulty", [one_attempt_more, one_attempt_less, never_rejects])
def test_the_model_finds_a_verdict_with(faulty: Any) -> None:
    found_by_the_model(judge=faulty)


@pytest.mark.parametrize(("name", "fault"), [("_fill", too_much), ("_give_alone", in_any_company)])
def test_the_model_finds_sharing_with(name: str, fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, name, fault)
    found_by_the_model()


def test_the_model_finds_a_component_that_runs_more_often_at_once_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    def any_hand(hand: Hand, lane: Lane, half: int | None) -> bool:
        return True

    monkeypatch.setattr(sharing, "_may_hold", any_hand)
    found_by_the_model()


def test_the_dispatcher_shares_by_the_rules_that_are_tried_here() -> None:
    assert module.share is sharing.share
