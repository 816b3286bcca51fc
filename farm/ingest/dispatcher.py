"""The dispatcher: the in-flight table, and who runs what when. Pure: no I/O, the clock is passed in.

    offered -> [lane] -> assigned -> [hand] -> finished -> settling -> settled
                 ^                      |          |
                 +---- lost, put back --+          +-> retry: back into the lane when it is due
Events come in as calls; what is to be done goes out as values: the batches to send, the records that ended. A record
is in one place at a time, and gone only when it is settled or released: nothing is lost here. An answer counts when
the worker that gives it holds the record and the attempt is the open one; anything else is stale, counted and dropped.
Source: credit and low-water marks after ZeroMQ Guide, chapter 7 (credit-based flow control).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from farm.broker import Delivery
from farm.ingest.sharing import share
from farm.ingest.table import ASSIGNED, BACKOFF, CREDIT_US, SETTLING, WAITING, Hand, Lane, Record, Trigger
from farm.invocation import Finished, Invoke
from farm.spec import ComponentSpec

SLOW_S: Final = 0.02  # a call that takes longer does not keep what is behind it


@dataclass(frozen=True, slots=True)
class Assign:
    """Send this batch to this worker. When that fails: `put_back`."""

    worker: bytes
    invokes: list[Invoke]


@dataclass(frozen=True, slots=True)
class Lost:
    """What a dead worker held. died: the record whose call took it along, now settling; requeued: how many others run
    again; set_aside: this was one death too many of its component.
    """

    died: Record | None
    requeued: int
    set_aside: bool = False


class Dispatcher:
    """The in-flight table of one ingest."""

    def __init__(self, components: Iterable[ComponentSpec]) -> None:
        self.lanes = {spec.name: Lane(index, spec) for index, spec in enumerate(components)}
        self.stale = 0
        self.take_backs = 0  # times that something was taken back from a worker in a long call
        self.taken_back_count = 0  # messages
        self._ring = list(self.lanes.values())
        self._records: dict[int, Record] = {}
        self._hands: dict[bytes, Hand] = {}
        self._due: list[tuple[float, int, Record]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def workers(self) -> int:
        """How many may be given work."""
        return sum(hand.open for hand in self._hands.values())

    def offered(self, trigger: Trigger, deliveries: Sequence[Delivery]) -> None:
        """Deliveries of one trigger have arrived."""
        lane = self.lanes[trigger.component]
        records, queue, number = self._records, lane.queue, self._number
        for delivery in deliveries:
            number += 1
            record = Record(number, lane, trigger, delivery)
            records[number] = record
            queue.append(record)
        self._number = number
        lane.size += len(deliveries)
        lane.received += len(deliveries)

    def not_to_run(self, trigger: Trigger, deliveries: Sequence[Delivery]) -> list[Record]:
        """Deliveries that nobody may run have arrived: their records, settling."""
        lane = self.lanes[trigger.component]
        records = [Record(self._number + n, lane, trigger, one) for n, one in enumerate(deliveries, start=1)]
        for record in records:
            record.state = SETTLING
            self._records[record.number] = record
        self._number += len(records)
        lane.size += len(records)
        lane.received += len(records)
        return records

    def joined(self, worker: bytes) -> bool:
        """A worker is there, with nothing in its hand. False: it was there already, and is the one it was."""
        if worker in self._hands:
            return False
        self._hands[worker] = Hand(worker, len(self._ring))
        return True

    def suspend(self, worker: bytes) -> None:
        """Give this worker nothing more; what it holds stays its own until it is `lost`."""
        if hand := self._hands.get(worker):
            hand.open = False

    def assign(self, now_s: float) -> list[Assign]:
        """Give out what may run now: oldest first within a component, components in turn."""
        waiting = [lane for lane in self._ring if lane.queue or lane.alone]
        if not waiting or not self._hands:
            return []
        batches = share(waiting, list(self._hands.values()), now_s)
        if len(waiting) > 1 and batches:
            self._ring.append(self._ring.pop(0))
        for hand, records in batches:
            if len(hand.records) == len(records):
                hand.touched_s = now_s
        return [Assign(hand.worker, [_invoke(record) for record in records]) for hand, records in batches]

    def put_back(self, assign: Assign) -> None:
        """A batch did not leave: its records wait again, in their order, and no attempt counts."""
        for invoke in reversed(assign.invokes):
            record = self._records[invoke.delivery]
            assert record.hand is not None
            record.hand.drop(record)
            record.lane.put_first(record)

    def finished(self, worker: bytes, answers: Sequence[Finished], now_s: float) -> list[Record]:
        """A worker's calls ended: their records, settling, each with its answer. Credit is given back."""
        hand = self._hands.get(worker)
        if hand is None:
            self.stale += len(answers)
            return []
        hand.touched_s = now_s
        hand.stuck = False
        ended: list[Record] = []
        records = hand.records
        for answer in answers:
            record = records.get(answer.delivery)
            if record is None or record.attempts + 1 != answer.attempt:
                self.stale += 1
                continue
            hand.drop(record)
            record.state = SETTLING
            record.attempts += 1
            record.answer = answer
            lane = record.lane
            lane.learn(answer.took_us)
            if lane.quarantine.suspect:
                lane.quarantine.answered(now_s, ok=answer.failed is None)
            ended.append(record)
        return ended

    def lost(self, worker: bytes, started: int, now_s: float) -> Lost:
        """A worker is dead and reaped. Everything else it held runs again and counts no attempt.

        Args:
          started: the sequence number that stood in its slot: the call that ran, or whose answer had not left. If
            ingest has no answer to it, it counts an attempt: it may be what killed the worker.
        """
        hand = self._hands.pop(worker, None)
        if hand is None:
            return Lost(None, 0)
        died: Record | None = None
        held = list(hand.records.values())
        for record in reversed(held):
            hand.drop(record)
            if record.seq == started:
                died = record
            else:
                record.lane.put_first(record)
        if died is None:
            return Lost(None, len(held))
        died.state = SETTLING
        died.attempts += 1
        died.died += 1
        return Lost(died, len(held) - 1, died.lane.quarantine.died(now_s))

    def suspects(self, now_s: float) -> list[tuple[bytes, int]]:
        """Workers not heard of for SLOW_S that hold more than what they run, while another has nothing to do: each with
        the number to revoke. They are given nothing more until they are heard of, or `cleared` of being in a long call.
        """
        if not self._idle_hand():
            return []
        found = [hand for hand in self._holding() if now_s - hand.touched_s >= SLOW_S]
        for hand in found:
            hand.stuck = True
        return [(hand.worker, hand.seq) for hand in found]

    def cleared(self, worker: bytes, now_s: float) -> None:
        """A suspect is in no long call: look again after another SLOW_S."""
        if hand := self._hands.get(worker):
            hand.stuck = False
            hand.touched_s = now_s

    def taken_back(self, worker: bytes, started: int, revoked: int) -> int:
        """A worker is in a long call: what it had not started runs elsewhere, and no attempt counts.

        Args:
          started: the number in its slot, read 1 ms after `revoked` was written there: nothing between them can start.
        Returns: how many were taken back.
        """
        hand = self._hands.get(worker)
        if hand is None:
            return 0
        back = [record for record in hand.records.values() if started < record.seq <= revoked]
        for record in reversed(back):
            hand.drop(record)
            record.lane.put_first(record)
        self.take_backs += bool(back)
        self.taken_back_count += len(back)
        return len(back)

    def returned(self, worker: bytes, calls: Sequence[tuple[int, int]]) -> None:
        """A worker did not run these, (delivery, seq), because they were revoked. Most were taken back already."""
        hand = self._hands.get(worker)
        if hand is None:
            return
        hand.stuck = False
        for number, seq in reversed(calls):
            record = hand.records.get(number)
            if record is not None and record.seq == seq:
                hand.drop(record)
                record.lane.put_first(record)

    def _holding(self) -> list[Hand]:
        return [hand for hand in self._hands.values() if len(hand.records) > 1 and not hand.stuck]

    def _idle_hand(self) -> bool:
        return any(hand.open and not hand.records for hand in self._hands.values())

    def retry(self, record: Record, at_s: float) -> None:
        """Run it again, not before `at_s`."""
        assert record.state == SETTLING, record.state
        record.state = BACKOFF
        record.answer = None
        record.due_s = at_s
        record.lane.backoff += 1
        heapq.heappush(self._due, (at_s, record.number, record))

    def wake(self, now_s: float) -> None:
        """Let those wait for a worker whose next attempt is due."""
        due = self._due
        while due and due[0][0] <= now_s:
            record = heapq.heappop(due)[2]
            record.lane.backoff -= 1
            record.lane.put(record)

    def settled(self, records: Iterable[Record]) -> None:
        """They are done with: outputs and source, dead letter and source, or given back. Now the record goes."""
        table = self._records
        for record in records:
            assert record.state == SETTLING, record.state
            del table[record.number]
            record.lane.size -= 1

    def release(self, triggers: set[int]) -> list[Record]:
        """Give up what no worker holds of these triggers; the records, gone from the table."""
        given = [
            record
            for record in self._records.values()
            if record.trigger.number in triggers and record.state in (WAITING, BACKOFF)
        ]
        gone = {record.number for record in given}
        for lane in self._ring:
            lane.queue = _without(lane.queue, gone)
            lane.alone = _without(lane.alone, gone)
        self._due = [entry for entry in self._due if entry[1] not in gone]
        heapq.heapify(self._due)
        for record in given:
            del self._records[record.number]
            record.lane.size -= 1
            record.lane.backoff -= record.state == BACKOFF
        return given

    def hurry(self) -> None:
        """Make every retry due now."""
        self.wake(float("inf"))

    def next_wake_s(self, now_s: float) -> float | None:
        """When `wake` or `assign` will have something to do that no event tells of; None: never."""
        times = [self._due[0][0]] if self._due else []
        for lane in self._ring:
            left_s = lane.quarantine.left_s(now_s) if lane.queue or lane.alone else None
            if left_s:
                times.append(now_s + left_s)
        if self._idle_hand():
            times += [hand.touched_s + SLOW_S for hand in self._holding()]
        return min(times, default=None)

    def check(self) -> None:
        """Assert what must hold between any two events."""
        seen: dict[int, int] = {}
        for lane in self._ring:
            for record in (*lane.queue, *lane.alone):
                assert record.state == WAITING
                assert record.hand is None
                seen[record.number] = seen.get(record.number, 0) + 1
            mine = [record for record in self._records.values() if record.lane is lane]
            assert lane.size == len(mine)
            assert lane.backoff == sum(record.state == BACKOFF for record in mine)
            assert lane.assigned == sum(record.state == ASSIGNED for record in mine)
            assert lane.holders == sum(hand.held[lane.index] > 0 for hand in self._hands.values())
        for _, number, record in self._due:
            assert record.state == BACKOFF
            seen[number] = seen.get(number, 0) + 1
        for hand in self._hands.values():
            _check_hand(hand)
            for number in hand.records:
                seen[number] = seen.get(number, 0) + 1
        for number, record in self._records.items():
            assert seen.pop(number, 0) == (record.state != SETTLING), "a record is in one place"
        assert not seen, "a record in a queue is in the table"


def _check_hand(hand: Hand) -> None:
    records = list(hand.records.values())
    assert all(record.hand is hand and record.state == ASSIGNED for record in records)
    assert hand.load_us == sum(record.cost_us for record in records) <= CREDIT_US
    assert sum(hand.held) == len(records)
    seqs = [record.seq for record in records]
    assert seqs == sorted(set(seqs))
    assert not seqs or seqs[-1] <= hand.seq
    assert not hand.sole or len(records) == 1


def _invoke(record: Record) -> Invoke:
    message = record.delivery.message
    return Invoke(
        record.seq,
        record.number,
        record.attempts + 1,
        record.lane.name,
        record.trigger.spec.broker,
        message.id,
        message.subject,
        message.payload,
        message.headers,
        message.reply_to,
    )


def _without(queue: deque[Record], gone: set[int]) -> deque[Record]:
    return deque(record for record in queue if record.number not in gone)
