"""The circuit of a message inside ingest: what ended becomes a verdict, and the verdict is carried out.

    dispatcher.finished, .lost -> verdict -> settlement -> dispatcher.settled, intake.closed
                                     |  +--> dispatcher.retry; broker.release while farm stops
                                     +-----> dead letters -> settlement.close
Everything here happens within one turn of the loop; nothing waits. What a broker answers later asks for a turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final

from farm import log
from farm.broker import Broker
from farm.ingest.broker_letters import BrokerLetters
from farm.ingest.dead_letters import DeadLetters, Letter, LetterFile, letter_of
from farm.ingest.dispatcher import Dispatcher
from farm.ingest.intake import Intake
from farm.ingest.settlement import Settlement
from farm.ingest.table import Lane, Record, Trigger
from farm.ingest.verdict import DeadLetter, GiveBack, Reason, RetryAt, Verdict, at_the_end, judge
from farm.invocation import Failed, Finished
from farm.wire.lifeline import Gone

LETTERS_LIMIT: Final = 64  # of one trigger that cannot be stored: above it, the trigger takes nothing more
LETTERS_FAULT: Final = "dead letters cannot be stored"
ASIDE: Final = "set aside"
LOG_LINES_S: Final = 20  # failures of one component that are logged within a second; the rest is counted


@dataclass(frozen=True)
class LastError:
    """The newest failure of a component, as `farm status` shows it. at: ISO 8601, UTC."""

    kind: str
    text: str
    message_id: str
    at: str


class _Flood:
    """How much of a component's failures was logged in this second."""

    __slots__ = ("left_out", "lines", "second")

    def __init__(self) -> None:
        self.second = 0
        self.lines = 0
        self.left_out = 0


class Circuit:
    """What happens to a message after a worker's word about it."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        intake: Intake,
        brokers: Mapping[str, Broker],
        letters: LetterFile,
        clock: Callable[[], float],
    ) -> None:
        self.settlement = Settlement(brokers, clock, self.fail, self._settled, intake.wanted)
        self.letters = DeadLetters(letters, self._stored)
        self.broker_letters = BrokerLetters(brokers, clock, self._stored, intake.wanted)
        intake.on_worn_out = self._worn_out
        self.last_errors: dict[str, LastError] = {}
        self.stopping = False
        self._brokers = brokers
        self._dispatcher = dispatcher
        self._intake = intake
        self._clock = clock
        self._rng = Random()
        self._floods = {name: _Flood() for name in dispatcher.lanes}
        self._aside: dict[str, Lane] = {}
        self._stuck: set[Trigger] = set()

    def finished(self, worker: bytes, answers: Sequence[Finished]) -> None:
        """A worker's calls ended."""
        good: list[Record] = []
        for record in self._dispatcher.finished(worker, answers, self._clock()):
            assert record.answer is not None
            failed = record.answer.failed
            if failed is None:
                good.append(record)
            else:
                self.fail(record, failed)
        if good:
            self.settlement.settle(good)

    def lost(self, gone: Gone) -> None:
        """A worker is dead and reaped."""
        lost = self._dispatcher.lost(gone.worker, gone.started, self._clock())
        if lost.died is None:
            return
        if gone.late and gone.running:
            failed = Failed("timeout", "the call outlived its deadline and its worker was killed")
        else:
            when = "in the middle of the call" if gone.running else "before the answer had left"
            failed = Failed("died", f"the worker died ({gone.why}) {when}")
        if lost.set_aside:
            self._set_aside(lost.died.lane)
        self.fail(lost.died, failed)

    def fail(self, record: Record, failed: Failed, reason: Reason | None = None) -> None:
        """An attempt has failed; `reason`: another one is no use, because of this."""
        now_s = self._clock()
        lane = record.lane
        lane.failed += 1
        at = datetime.now(UTC)
        message_id = record.delivery.message.id
        self.last_errors[lane.name] = LastError(
            failed.kind, failed.text, message_id, at.isoformat(timespec="milliseconds")
        )
        verdict = DeadLetter(reason) if reason else judge(failed, record, now_s, self._rng)
        if self.stopping:
            verdict = at_the_end(verdict, kept=not self._broker_of(record).volatile)
        self._log_failure(record, failed, verdict)
        if isinstance(verdict, RetryAt):
            lane.retried += 1
            self._dispatcher.retry(record, verdict.at_s)
        elif isinstance(verdict, DeadLetter):
            self._write(record, letter_of(record, verdict.reason, failed, at))
        elif isinstance(verdict, GiveBack):
            self._broker_of(record).release([record.delivery])
            self._gone([record])

    def _worn_out(self, records: list[Record]) -> None:
        for record in records:
            count = record.delivery.deliveries
            log.get().error(
                "handed out too often",
                component=record.lane.name,
                message_id=record.delivery.message.id,
                times=count,
            )
            failed = Failed("died", f"its server has handed it out {count} times")
            self._write(record, letter_of(record, "redelivered", failed, datetime.now(UTC)))

    def _write(self, record: Record, letter: Letter) -> None:
        if self.broker_letters.takes(record):
            self.broker_letters.add(record, letter)
        else:
            self.letters.add([(record, letter)], self._clock())
        self._mind_letters()

    def wake(self, now_s: float) -> None:
        """Do what its time has come for."""
        self._dispatcher.wake(now_s)
        self.settlement.wake(now_s)
        self.letters.wake(now_s)
        self.broker_letters.wake(now_s)
        self._mind_letters()
        for lane in [lane for lane in self._aside.values() if lane.quarantine.standing(now_s) != "aside"]:
            del self._aside[lane.name]
            self._intake.resume(self._triggers_of(lane), ASIDE)
            log.get().info("component is tried again", component=lane.name)

    def next_wake_s(self, now_s: float) -> float | None:
        """When `wake` will have something to do; None: never."""
        times = [self._dispatcher.next_wake_s(now_s), self.settlement.next_wake_s(), self.letters.next_wake_s()]
        times.append(self.broker_letters.next_wake_s())
        times += [now_s + (lane.quarantine.left_s(now_s) or 0.0) for lane in self._aside.values()]
        return min((time_s for time_s in times if time_s is not None), default=None)

    def _settled(self, records: list[Record]) -> None:
        for record in records:
            if record.answer is not None:
                record.lane.handled += 1
        self._gone(records)

    def _stored(self, records: list[Record]) -> None:
        for record in records:
            record.lane.dead_lettered += 1
            record.answer = None
        self.settlement.close(records)

    def _gone(self, records: list[Record]) -> None:
        self._dispatcher.settled(records)
        self._intake.closed(records)

    def _broker_of(self, record: Record) -> Broker:
        return self._brokers[record.trigger.spec.broker]

    def _set_aside(self, lane: Lane) -> None:
        self._aside[lane.name] = lane
        self._intake.pause(self._triggers_of(lane), ASIDE)
        log.get().error(
            "component set aside: its calls keep killing workers",
            component=lane.name,
            seconds=lane.quarantine.left_s(self._clock()),
        )

    def _triggers_of(self, lane: Lane) -> list[Trigger]:
        return [trigger for trigger in self._intake.triggers if trigger.component == lane.name]

    def _mind_letters(self) -> None:
        """Pause triggers with too many letters that cannot be stored, and let them go on once there is room."""
        waiting = [*self.letters.waiting, *self.broker_letters.waiting]
        if not waiting and not self._stuck:
            return
        counts: dict[Trigger, int] = {}
        for record in waiting:
            counts[record.trigger] = counts.get(record.trigger, 0) + 1
        for trigger in self._intake.triggers:
            stuck = counts.get(trigger, 0) > LETTERS_LIMIT
            if stuck and trigger not in self._stuck:
                self._stuck.add(trigger)
                self._intake.pause([trigger], LETTERS_FAULT)
                log.get().error(
                    LETTERS_FAULT, component=trigger.component, why=self.letters.fault or self.broker_letters.fault
                )
            elif not stuck and trigger in self._stuck:
                self._stuck.discard(trigger)
                self._intake.resume([trigger], LETTERS_FAULT)

    def _log_failure(self, record: Record, failed: Failed, verdict: Verdict) -> None:
        flood = self._floods[record.lane.name]
        second = int(self._clock())
        if second != flood.second:
            if flood.left_out:
                log.get().warning("more calls failed", component=record.lane.name, calls=flood.left_out)
            flood.second, flood.lines, flood.left_out = second, 0, 0
        if flood.lines >= LOG_LINES_S:
            flood.left_out += 1
            return
        flood.lines += 1
        log.get().warning(
            "call failed",
            component=record.lane.name,
            message_id=record.delivery.message.id,
            subject=record.delivery.message.subject,
            attempt=record.attempts,
            kind=failed.kind,
            text=failed.text,
            next=_next(verdict),
        )


def _next(verdict: Verdict) -> str:
    """What a person is told of it."""
    if isinstance(verdict, DeadLetter):
        return f"dead letter ({verdict.reason})"
    return "given back" if isinstance(verdict, GiveBack) else "retry"
