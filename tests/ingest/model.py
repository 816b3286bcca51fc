"""A model of dispatcher and verdict: what must hold whatever happens, told without their code.

The machine plays everybody else: brokers offer, workers come, answer in any order, answer twice, answer what they do
not hold, die in the middle; time passes. It keeps its own short book of every message and compares.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from farm.broker import Delivery
from farm.ingest import verdict
from farm.ingest.dispatcher import Assign, Dispatcher
from farm.ingest.table import Record, Trigger
from farm.ingest.verdict import Ack, DeadLetter, RetryAt
from farm.invocation import Failed, FailureKind, Finished, Invoke
from farm.message import Message
from farm.spec import PublishSpec, TriggerSpec
from tests.ingest.farmhouse import component

ALL = 1000
STEPS_S = (0.5, 2.0)
COMPONENTS = (
    component("quick", TriggerSpec("b", "quick", attempts=2, backoff_s=STEPS_S)),
    component("slow", TriggerSpec("b", "slow", PublishSpec("b", "x"), attempts=5, backoff_s=STEPS_S), concurrency=1),
)
TOOK_US = {"quick": (1, 300), "slow": (1000, 3_000_000)}

KINDS: tuple[FailureKind | None, ...] = (None, "trap", "retry", "rejected", "guest_error")
OUTCOMES = st.lists(st.sampled_from(KINDS), min_size=1, max_size=4)


@dataclass
class Entry:
    """The model's book of one message."""

    trigger: Trigger
    message: Message
    attempts: int = 0
    died: int = 0
    holder: bytes | None = None
    number: int = 0
    due_s: float = 0.0
    end: str = ""


@dataclass
class Seat:
    """A worker as it sees itself: what it was sent and has not answered, in order."""

    hand: list[Invoke] = field(default_factory=list[Invoke])
    sole: bool = False


class Machine(RuleBasedStateMachine):
    dispatcher_class: ClassVar[type[Dispatcher]] = Dispatcher
    judge = staticmethod(verdict.judge)

    said: Bundle[tuple[bytes, Finished]] = Bundle("said")

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 41_000.0  # far from any real clock
        self.rng = Random(7)
        self.dispatcher = self.dispatcher_class(COMPONENTS)
        self.triggers = [Trigger(n, spec.name, spec.triggers[0]) for n, spec in enumerate(COMPONENTS)]
        self.book: dict[str, Entry] = {}
        self.numbers: dict[int, Entry] = {}
        self.seats: dict[bytes, Seat] = {}
        self.worker_count = 0

    @property
    def busy(self) -> list[bytes]:
        """Workers with something in hand."""
        return [worker for worker, seat in self.seats.items() if seat.hand]

    # who else there is

    @initialize()
    def first_worker(self) -> None:
        self.join()

    @precondition(lambda self: len(self.seats) < 5)
    @rule()
    def join(self) -> None:
        self.worker_count += 1
        worker = b"worker-%09d" % self.worker_count
        self.seats[worker] = Seat()
        self.dispatcher.joined(worker)

    @rule(which=st.integers(0, 1), count=st.one_of(st.integers(1, 4), st.integers(60, 200)))
    def offer(self, which: int, count: int) -> None:
        trigger = self.triggers[which]
        messages = [Message(f"m{len(self.book) + n}", "s", b"") for n in range(count)]
        self.book |= {message.id: Entry(trigger, message) for message in messages}
        self.dispatcher.offered(trigger, [Delivery(which, message) for message in messages])
        self.assign(ALL)

    def assign(self, arrive: int) -> None:
        """Hand out; only the first `arrive` batches leave."""
        for place, assign in enumerate(self.dispatcher.assign(self.now_s)):
            if place < arrive:
                self.receive(assign)
            else:
                self.dispatcher.put_back(assign)

    @rule(arrive=st.integers(0, 1))
    def assign_and_put_back(self, arrive: int) -> None:
        self.assign(arrive)

    @precondition(lambda self: self.busy)
    @rule(target=said, which=st.integers(0, 4), count=st.integers(1, 70), kinds=OUTCOMES, pace=st.floats(0, 1))
    def answer(
        self, which: int, count: int, kinds: list[FailureKind | None], pace: float
    ) -> MultipleResults[tuple[bytes, Finished]]:
        worker = self.busy[which % len(self.busy)]
        seat = self.seats[worker]
        answers = [finished_of(invoke, kinds[n % len(kinds)], pace) for n, invoke in enumerate(seat.hand[:count])]
        del seat.hand[:count]
        seat.sole = seat.sole and bool(seat.hand)
        self.hear(worker, answers)
        self.assign(ALL)
        return multiple(*((worker, answer) for answer in answers[:3]))

    @rule(one=said, another=st.booleans())
    def answer_again(self, one: tuple[bytes, Finished], another: bool) -> None:
        """Late, twice, or by one that does not hold it: nothing happens, but that it is counted."""
        entry = self.numbers[one[1].delivery]
        others = [worker for worker in self.seats if worker != entry.holder]
        worker = others[0] if another and others else one[0]
        stale = self.dispatcher.stale
        assert self.dispatcher.finished(worker, [one[1]], self.now_s) == []
        assert self.dispatcher.stale == stale + 1

    @precondition(lambda self: self.busy)
    @rule(which=st.integers(0, 4), running=st.integers(0, 8), late=st.integers(0, 3))
    def take_back(self, which: int, running: int, late: int) -> None:
        """A worker is in a long call: what it has not started moves. `late` of them it has seen revoked before ingest
        looked: their numbers stand in the slot, they are not run, and come back.
        """
        self.now_s += 1.0
        self.dispatcher.wake(self.now_s)
        suspects = dict(self.dispatcher.suspects(self.now_s))
        if not suspects:
            return
        worker = list(suspects)[which % len(suspects)]
        for other in suspects.keys() - {worker}:
            self.dispatcher.cleared(other, self.now_s)
        seat = self.seats[worker]
        sent = len(seat.hand)
        self.assign(ALL)
        assert len(seat.hand) == sent, "more work behind a call that holds up what is behind it"
        running = min(running, len(seat.hand) - 1)
        seen = min(running + late, len(seat.hand) - 1)
        refused, moved = seat.hand[running + 1 : seen + 1], seat.hand[seen + 1 :]
        del seat.hand[running + 1 :]
        count = self.dispatcher.taken_back(worker, (refused or seat.hand)[-1].seq, suspects[worker])
        assert count == len(moved)
        self.dispatcher.returned(worker, [(invoke.delivery, invoke.seq) for invoke in (*refused, *moved)])
        for invoke in (*refused, *moved):
            self.numbers[invoke.delivery].holder = None
        self.assign(ALL)

    @precondition(lambda self: self.busy)
    @rule(target=said, which=st.integers(0, 4), reached=st.integers(-1, 8))
    def die(self, which: int, reached: int) -> MultipleResults[tuple[bytes, Finished]]:
        """At any point: the answers of what it had run are lost, or come too late; one call was started, the rest was
        not.
        """
        worker = self.busy[which % len(self.busy)]
        seat = self.seats.pop(worker)
        running = min(reached, len(seat.hand) - 1)
        started = seat.hand[running].seq if running >= 0 else 0
        lost = self.dispatcher.lost(worker, started, self.now_s)
        for invoke in seat.hand:
            self.numbers[invoke.delivery].holder = None
        late = multiple(*((worker, Finished(i.delivery, i.attempt, 100)) for i in seat.hand[:3]))
        if running < 0:
            assert lost.died is None
            return late
        assert lost.died is not None
        entry = self.entry_of(lost.died)
        assert entry is self.numbers[seat.hand[running].delivery]
        entry.attempts += 1
        entry.died += 1
        self.conclude(lost.died, Failed("died", "signal 9"))
        return late

    @rule(seconds=st.sampled_from([0.01, 0.7, 3.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.dispatcher.wake(self.now_s)
        self.assign(ALL)

    @rule(which=st.integers(0, 1))
    def release(self, which: int) -> None:
        """A drain: what no worker holds goes back to its broker."""
        for record in self.dispatcher.release({which}):
            entry = self.entry_of(record)
            assert record.trigger.number == which
            assert entry.holder is None
            assert not entry.end
            entry.end = "released"

    # what must hold

    def receive(self, assign: Assign) -> None:
        seat = self.seats[assign.worker]
        assert len(assign.invokes) <= 64
        for invoke in assign.invokes:
            entry = self.book[invoke.id]
            assert entry.holder is None, "two live attempts of one message"
            assert not entry.end, "a message that is done with runs again"
            assert invoke.attempt == entry.attempts + 1 <= entry.trigger.spec.attempts
            assert self.now_s >= entry.due_s, "a retry before its time"
            assert not seat.hand or seat.hand[-1].seq < invoke.seq, "sequence numbers rise"
            assert not seat.sole, "company for what must run alone"
            if entry.died:
                assert not seat.hand
                seat.sole = True
            entry.holder, entry.number = assign.worker, invoke.delivery
            self.numbers[invoke.delivery] = entry
            seat.hand.append(invoke)
        assert len(seat.hand) <= 128
        holders = [one for one in self.seats.values() if any(i.component == "slow" for i in one.hand)]
        assert len(holders) <= 1, "more calls at once than the component's concurrency"

    def hear(self, worker: bytes, answers: list[Finished]) -> None:
        ended = self.dispatcher.finished(worker, answers, self.now_s)
        assert [record.number for record in ended] == [answer.delivery for answer in answers]
        for record, answer in zip(ended, answers, strict=True):
            entry = self.entry_of(record)
            assert entry.holder == worker
            entry.holder = None
            entry.attempts += 1
            self.conclude(record, answer.failed)

    def conclude(self, record: Record, failed: Failed | None) -> None:
        entry = self.entry_of(record)
        assert (record.attempts, record.died) == (entry.attempts, entry.died)
        policy = entry.trigger.spec
        said = self.judge(failed, record, self.now_s, self.rng)
        if isinstance(said, RetryAt):
            assert failed is not None
            assert failed.kind != "rejected"
            assert entry.attempts < policy.attempts
            assert entry.died < 3
            asked = failed.after_ms is not None
            step_s = (failed.after_ms or 0) / 1000 if asked else policy.backoff_s[min(entry.attempts, 2) - 1]
            assert abs(said.at_s - self.now_s - step_s) <= (1e-6 if asked else 0.2 * step_s + 1e-6)
            entry.due_s = said.at_s
            self.dispatcher.retry(record, said.at_s)
            return
        if isinstance(said, DeadLetter):
            assert failed is not None
            used_up = entry.attempts == policy.attempts or entry.died == 3
            assert used_up or failed.kind == "rejected", "a dead letter before its attempts"
        else:
            assert isinstance(said, Ack)
            assert failed is None
        assert not entry.end
        entry.end = type(said).__name__
        self.dispatcher.settled([record])

    def entry_of(self, record: Record) -> Entry:
        return self.book[record.delivery.message.id]

    @invariant()
    def everything_is_in_one_place(self) -> None:
        self.dispatcher.check()
        left = sum(not entry.end for entry in self.book.values())
        assert len(self.dispatcher) == left, "a message was lost, or is there twice"
        held = sum(len(seat.hand) for seat in self.seats.values())
        lanes = self.dispatcher.lanes.values()
        assert sum(lane.assigned for lane in lanes) == held
        assert sum(lane.waiting for lane in lanes) == left - held

    def teardown(self) -> None:
        """With one good worker and time, everything ends."""
        self.join()
        for other, seat in self.seats.items():
            if seat.hand:
                answers = [Finished(invoke.delivery, invoke.attempt, 100) for invoke in seat.hand]
                seat.hand.clear()
                seat.sole = False
                self.hear(other, answers)
        for _ in range(len(self.book) + 100):
            if not len(self.dispatcher):
                break
            self.assign(ALL)
            busy = [(one, seat) for one, seat in self.seats.items() if seat.hand]
            for one, seat in busy:
                answers = [Finished(invoke.delivery, invoke.attempt, 100) for invoke in seat.hand]
                seat.hand.clear()
                seat.sole = False
                self.hear(one, answers)
            due_s = self.dispatcher.next_wake_s(self.now_s)
            if not busy:
                assert due_s is not None, "something waits that nothing will wake"
                self.now_s = max(self.now_s, due_s)
                self.dispatcher.wake(self.now_s)
        assert len(self.dispatcher) == 0, "not everything ended"
        assert all(entry.end for entry in self.book.values())


def finished_of(invoke: Invoke, kind: FailureKind | None, pace: float) -> Finished:
    least_us, most_us = TOOK_US[invoke.component]
    took_us = int(least_us + pace * (most_us - least_us))
    if kind is None:
        return Finished(invoke.delivery, invoke.attempt, took_us)
    after_ms = 1500 if kind == "retry" and pace > 0.5 else None
    return Finished(invoke.delivery, invoke.attempt, took_us, [], Failed(kind, "no", after_ms=after_ms))
