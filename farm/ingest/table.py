"""The pieces of the in-flight table: what ingest remembers of each delivery, component and worker.

Trigger   a subscription bound to a component          Lane   what waits for one component, and what a call costs
Record    one delivery, until its source is settled    Hand   what one worker holds

WAITING -> ASSIGNED -> SETTLING -> gone         outputs confirmed, source settled; or its dead letter stored
   ^          |            |
   |          v            v
   +------ (worker lost) BACKOFF                 the next attempt is due at `due_s`
"""

from __future__ import annotations

from collections import deque
from typing import Final

from farm.broker import Delivery
from farm.ingest.quarantine import Quarantine
from farm.invocation import Finished
from farm.spec import ComponentSpec, TriggerSpec

WAITING: Final = 0  # for a worker, in its component's lane
ASSIGNED: Final = 1  # in a worker's hand
BACKOFF: Final = 2  # for its next attempt to be due
SETTLING: Final = 3  # answered: its outputs, its dead letter or its source are being dealt with

# Credit is time: about 5 ms of expected work in a hand, between 2 and 128 calls.
CREDIT_US: Final = 5120
COST_MIN_US: Final = CREDIT_US // 128
COST_MAX_US: Final = CREDIT_US // 2
# A worker that has this much left gets nothing: refilled one for one, batches would shrink to 1 and stay there.
MARK_US: Final = CREDIT_US // 2
WEIGHT: Final = 0.125  # of the newest call in a component's moving average
ESTIMATE_BYTES: Final = 64 << 10


class Trigger:
    """A subscription bound to a component, and what intake counts for it.

    number: its place in ingest's table; durable: what the server may call what it keeps for this trigger; name: in the
    ids of its outputs, the component's, and from that one's second trigger on which it is; granted: deliveries its
    broker may still hand over; held, held_bytes: its records and their payloads; estimate_bytes: what one more message
    is reckoned to weigh; pauses: why it takes nothing now.
    """

    __slots__ = (
        "component",
        "durable",
        "estimate_bytes",
        "granted",
        "held",
        "held_bytes",
        "name",
        "number",
        "pauses",
        "spec",
    )

    def __init__(self, number: int, component: str, spec: TriggerSpec, durable: str = "", place: int = 0) -> None:
        """
        Args:
          place: among the triggers of the component, from 0.
        """
        self.number = number
        self.component = component
        self.spec = spec
        self.durable = durable
        self.name = f"{component}.{place}" if place else component
        self.granted = 0
        self.held = 0
        self.held_bytes = 0
        self.estimate_bytes = ESTIMATE_BYTES
        self.pauses: set[str] = set()


class Record:
    """One delivery in the in-flight table.

    attempts: those that ended and count; died: how many of them took their worker along; seq, cost_us: of its
    assignment to `hand`; answer: the worker's, while SETTLING; unconfirmed: outputs whose broker has not answered yet,
    less than 0 once one was given up.
    """

    __slots__ = (
        "answer",
        "attempts",
        "cost_us",
        "delivery",
        "died",
        "due_s",
        "hand",
        "lane",
        "number",
        "seq",
        "state",
        "trigger",
        "unconfirmed",
    )

    def __init__(self, number: int, lane: Lane, trigger: Trigger, delivery: Delivery) -> None:
        self.number = number
        self.lane = lane
        self.trigger = trigger
        self.delivery = delivery
        self.state = WAITING
        self.attempts = 0
        self.died = 0
        self.seq = 0
        self.cost_us = 0
        self.due_s = 0.0
        self.unconfirmed = 0
        self.hand: Hand | None = None
        self.answer: Finished | None = None


class Lane:
    """What waits for one component, what a call of it costs, and its counters.

    alone: records whose call took a worker along; each runs with nothing else in that worker's hand. size: all records
    of the component; backoff: those of them that wait for a retry; assigned: those in a hand; holders: how many hands
    have some. cost_us: what one call is reckoned to take, within the bounds of credit; a component not measured yet
    costs half of it. Counters are those of `farm status`: attempts, but received and dead_lettered are messages.
    """

    __slots__ = (
        "alone",
        "assigned",
        "average_us",
        "backoff",
        "cost_us",
        "dead_lettered",
        "failed",
        "handled",
        "holders",
        "index",
        "limit",
        "name",
        "quarantine",
        "queue",
        "received",
        "retried",
        "size",
    )

    def __init__(self, index: int, spec: ComponentSpec) -> None:
        self.index = index
        self.name = spec.name
        self.limit = spec.concurrency
        self.queue: deque[Record] = deque()
        self.alone: deque[Record] = deque()
        self.quarantine = Quarantine()
        self.average_us = -1.0
        self.cost_us = COST_MAX_US
        self.size = self.backoff = self.assigned = self.holders = 0
        self.received = self.handled = self.failed = self.retried = self.dead_lettered = 0

    @property
    def waiting(self) -> int:
        """Records not given to a worker, retries included."""
        return len(self.queue) + len(self.alone) + self.backoff

    def learn(self, took_us: int) -> None:
        """A call took this long."""
        average = self.average_us
        average = float(took_us) if average < 0 else average + WEIGHT * (took_us - average)
        self.average_us = average
        cost = int(average)
        self.cost_us = COST_MIN_US if cost < COST_MIN_US else COST_MAX_US if cost > COST_MAX_US else cost

    def put(self, record: Record) -> None:
        """Let a record wait for a worker, after those that wait already."""
        record.state = WAITING
        (self.alone if record.died else self.queue).append(record)

    def put_first(self, record: Record) -> None:
        """Let a record wait for a worker, before those that wait already."""
        record.state = WAITING
        (self.alone if record.died else self.queue).appendleft(record)


class Hand:
    """What one worker holds.

    records: by number, in the order of their sequence numbers; load_us: their cost; held: how many of each lane, by its
    index; seq: the number given last; sole: it holds a record that must run alone; open: it may be given work;
    touched_s: when it was last heard of, or given work with nothing in it; stuck: it may be in a long call, and is
    given nothing until it is heard of.
    """

    __slots__ = ("held", "load_us", "open", "records", "seq", "sole", "stuck", "touched_s", "worker")

    def __init__(self, worker: bytes, lane_count: int) -> None:
        self.worker = worker
        self.records: dict[int, Record] = {}
        self.load_us = 0
        self.held = [0] * lane_count
        self.seq = 0
        self.sole = False
        self.open = True
        self.stuck = False
        self.touched_s = 0.0

    def take(self, record: Record, cost_us: int) -> None:
        """Let the worker hold a record, under the next sequence number."""
        self.seq += 1
        record.state = ASSIGNED
        record.hand = self
        record.seq = self.seq
        record.cost_us = cost_us
        self.records[record.number] = record
        self.load_us += cost_us
        lane = record.lane
        lane.assigned += 1
        if not self.held[lane.index]:
            lane.holders += 1
        self.held[lane.index] += 1

    def drop(self, record: Record) -> None:
        """The worker holds it no longer."""
        record.hand = None
        del self.records[record.number]
        self.load_us -= record.cost_us
        lane = record.lane
        lane.assigned -= 1
        self.held[lane.index] -= 1
        if not self.held[lane.index]:
            lane.holders -= 1
        if not self.records:
            self.sole = False
