"""Settlement: outputs published and confirmed, then the source settled, then the record goes. In that order, always.

    answered -> placed -> published -> confirmed -> source settled -> record gone
                   |           |
                   v           +-> refused: again later, the same output with the same id; no attempt counts
                the call failed
An output that its broker refuses because it is full or away waits here, and with it its source: its trigger's records
are bounded, so its component is fed no further (that is the backpressure). The wait is bounded too. Components that
feed each other in a circle could otherwise stand still for ever, each queue full of what waits for room in the next; a
broker of ours therefore keeps room for outputs that clients cannot use (`farm.brokers.memory`), which only a circle
that makes more messages than it takes can fill. Such a circle ends in dead letters, reason "full".

A broker that offers `commit` takes the outputs and the settling of a source of its own in one step, if all outputs go
to it: there is no moment at which they are published and the source is not settled.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from farm.broker import Broker, Commit, Delivery, Published, Refused
from farm.errors import BrokerError, BrokerFull
from farm.ingest.outputs import Placed, loops, place
from farm.ingest.table import Record
from farm.ingest.verdict import Reason
from farm.invocation import Failed
from farm.message import Message

AGAIN_S: Final = 0.05
AGAIN_LIMIT_S: Final = 1.0
FULL_LIMIT_S: Final = 30.0
UNAVAILABLE_LIMIT_S: Final = 600.0

Fail = Callable[[Record, Failed, Reason | None], None]


class _Waiting:
    """An output or a commit that was refused: since when, when it is tried again, how long it waits after that."""

    __slots__ = ("broker", "due_s", "record", "since_s", "wait_s", "what")

    def __init__(self, broker: Broker, what: Message | Commit, record: Record, now_s: float) -> None:
        self.broker = broker
        self.what = what
        self.record = record
        self.since_s = now_s
        self.wait_s = AGAIN_S
        self.due_s = now_s

    def __lt__(self, other: _Waiting) -> bool:
        return self.due_s < other.due_s


class Settlement:
    """What becomes of good answers."""

    def __init__(
        self,
        brokers: Mapping[str, Broker],
        clock: Callable[[], float],
        fail: Fail,
        settled: Callable[[list[Record]], None],
        wanted: Callable[[], None],
    ) -> None:
        """
        Args:
          fail: hears of a call that has failed after all, with the dead letter's reason where another attempt is no
            use.
          settled: hears of records that are done with, once their source is settled.
          wanted: called when a broker has answered, which may be between turns: ask for one.
        """
        self._brokers = brokers
        self._clock = clock
        self._fail = fail
        self._settled = settled
        self._wanted = wanted
        self._waiting: list[_Waiting] = []
        self._commits = any(broker.commits for broker in brokers.values())

    @property
    def waiting(self) -> int:
        """Outputs and commits that wait for their broker to take them."""
        return len(self._waiting)

    def settle(self, records: Sequence[Record]) -> None:
        """Publish what these answered, and settle each once all of its outputs are confirmed."""
        done: list[Record] = []
        batches: dict[Broker, tuple[list[Message], list[Record]]] = {}
        commits: dict[Broker, tuple[list[Commit], list[Record]]] = {}
        brokers = self._brokers
        for record in records:
            assert record.answer is not None
            if not record.answer.outputs:
                done.append(record)
                continue
            placed = place(record, brokers)
            if isinstance(placed, Failed):
                self._fail(record, placed, "loop" if loops(record) else None)
                continue
            if self._commits and (own := self._commits_with(record, placed)):
                batch = commits.get(own)
                if batch is None:
                    batch = commits[own] = ([], [])
                record.unconfirmed = 1
                batch[0].append(Commit(record.delivery, [message for _, message in placed]))
                batch[1].append(record)
                continue
            record.unconfirmed = len(placed)
            for broker, message in placed:
                part = batches.get(broker)
                if part is None:
                    part = batches[broker] = ([], [])
                part[0].append(message)
                part[1].append(record)
        self.close(done)
        for broker, (messages, owners) in batches.items():
            self._publish(broker, messages, owners)
        for broker, (found, owners) in commits.items():
            self._commit(broker, found, owners)

    def close(self, records: list[Record]) -> None:
        """Settle the sources of these and say that they are done with: nothing of theirs is open any more."""
        if not records:
            return
        sources: dict[str, list[Delivery]] = {}
        for record in records:
            name = record.trigger.spec.broker
            if name in sources:
                sources[name].append(record.delivery)
            else:
                sources[name] = [record.delivery]
        for name, deliveries in sources.items():
            self._brokers[name].settle(deliveries)
        self._settled(records)

    def wake(self, now_s: float) -> None:
        """Try those again whose time has come."""
        due: dict[Broker, list[_Waiting]] = {}
        while self._waiting and self._waiting[0].due_s <= now_s:
            one = heapq.heappop(self._waiting)
            due.setdefault(one.broker, []).append(one)
        for broker, waited in due.items():
            # Another output of a record may have been given up: long ago, or by the broker before this one.
            ones = [one for one in waited if one.record.unconfirmed > 0]
            outputs = [(one, one.what) for one in ones if not isinstance(one.what, Commit)]
            commits = [(one, one.what) for one in ones if isinstance(one.what, Commit)]
            if outputs:
                owners = [one.record for one, _ in outputs]
                self._publish(broker, [what for _, what in outputs], owners, [one for one, _ in outputs])
            if commits:
                owners = [one.record for one, _ in commits]
                self._commit(broker, [what for _, what in commits], owners, [one for one, _ in commits])

    def next_wake_s(self) -> float | None:
        """When `wake` will have something to do; None: never."""
        return self._waiting[0].due_s if self._waiting else None

    def _publish(
        self, broker: Broker, messages: list[Message], owners: list[Record], again: Sequence[_Waiting] = ()
    ) -> None:
        """Publish outputs, each for the record at its place; `again`: what they were refused as before."""

        def done(answers: Sequence[Published | Refused]) -> None:
            closing: list[Record] = []
            before = again or [None] * len(messages)
            for message, record, answer, one in zip(messages, owners, answers, before, strict=True):
                if isinstance(answer, Published):
                    record.unconfirmed -= 1
                    if not record.unconfirmed:
                        closing.append(record)
                else:
                    self._refused(one or _Waiting(broker, message, record, self._clock()), answer)
            self.close(closing)
            self._wanted()

        broker.publish(messages, done, checked=True)

    def _commits_with(self, record: Record, placed: Placed) -> Broker | None:
        """The broker that can take all of a record in one step, if there is one."""
        broker = self._brokers[record.trigger.spec.broker]
        if not broker.commits:
            return None
        for to, _ in placed:
            if to is not broker:
                return None
        return broker

    def _commit(
        self, broker: Broker, commits: list[Commit], owners: list[Record], again: Sequence[_Waiting] = ()
    ) -> None:
        """As `_publish`, for outputs and their source in one step: the source needs no settling afterwards."""

        def done(answers: Sequence[Refused | None]) -> None:
            closed: list[Record] = []
            before = again or [None] * len(commits)
            for commit, record, answer, one in zip(commits, owners, answers, before, strict=True):
                if answer is None:
                    record.unconfirmed = 0
                    closed.append(record)
                else:
                    self._refused(one or _Waiting(broker, commit, record, self._clock()), answer)
            if closed:
                self._settled(closed)
            self._wanted()

        broker.commit(commits, done)

    def _refused(self, one: _Waiting, error: Refused) -> None:
        """Wait for a broker that may take it later; otherwise the call has failed."""
        record = one.record
        if record.unconfirmed < 0:
            return  # another output of it was given up already
        now_s = self._clock()
        waited_s = now_s - one.since_s
        full = isinstance(error, BrokerFull)
        if isinstance(error, BrokerError) and waited_s < (FULL_LIMIT_S if full else UNAVAILABLE_LIMIT_S):
            one.due_s = now_s + one.wait_s
            one.wait_s = min(AGAIN_LIMIT_S, one.wait_s * 2)
            heapq.heappush(self._waiting, one)
            return
        record.unconfirmed = -1
        text = f"broker {one.broker.name!r} refused an output: {error}"
        if isinstance(error, BrokerError):
            text += f" (tried for {waited_s:.0f} s)"
        self._fail(record, Failed("output", text), "full" if full else None)
