"""A farm under full load, and how fast it works off what waits. Two windows from one run:

    load    clients publish, and keep messages waiting nearly up to the broker's bound: the farm sets the pace
    drain   they have stopped, and the queue is still full: clients and relay rest
CPU is that of whole processes, ZeroMQ's threads included, per message handled.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from farm.brokers.memory import QUEUE_LIMIT, QUEUE_LIMIT_BYTES
from farm.client.session import Answer, News, Settled
from farm.wire.relay import BATCH_COUNT_LIMIT, Accepted, Publish
from farm.wire.sockets import Sockets
from tests.bench import caller, farms, machine
from tests.bench.caller import Caller
from tests.bench.guests import Guest
from tests.system.family import Family

CLIENTS: Final = 4  # a batch of large bodies holds few: one client would wait for answers more than it publishes
ROOM: Final = 0.9  # of the broker's bounds
LEFT: Final = 0.1  # of what fits: a drain is measured until no more is left
FILL_S: Final = 0.5  # at most, before a window begins
LOOK_S: Final = 0.01  # between two looks at how much waits
PATIENCE_S: Final = 60.0


@dataclass(frozen=True)
class Window:
    """One window. waiting: the fewest messages that were seen in the queue."""

    per_s: float
    ingest_us: float
    worker_us: float
    client_us: float
    waiting: int


@dataclass(frozen=True)
class _Sample:
    """Counters and clocks at one moment."""

    at_s: float
    handled: int
    waiting: int
    in_flight: int
    ingest_ns: int
    workers_ns: int
    client_ns: int


class Flood:
    """Loads one component of a running farm."""

    def __init__(self, farm: Family, guest: Guest) -> None:
        self._name = guest.lower()
        self._subject = farms.subject_of(guest)
        self._rundir = farm.rundir
        self._pids = farms.pids(farm)

    def windows(self, payloads: Sequence[bytes], window_s: float) -> tuple[Window, Window | None]:
        """Load and drain, once each; returns when all that was published is handled.

        No drain: large bodies are worked off as fast as they can be published, so that nothing waits.
        """
        with Sockets() as sockets:
            callers = [Caller(sockets, self._rundir) for _ in range(CLIENTS)]
            try:
                run = _Run(callers, [Publish(self._subject, payload) for payload in payloads], self._sample)
                return run.load(window_s), run.drain()
            finally:
                for one in callers:
                    one.close()

    def _sample(self, answer: Answer) -> _Sample:
        found: dict[str, Any] = json.loads(answer.status)["components"][self._name]
        ingest_ns, workers_ns = (machine.cpu_ns(self._pids[role]) for role in ("ingest", "worker"))
        clocks = (ingest_ns, workers_ns, time.process_time_ns())
        return _Sample(time.perf_counter(), found["handled"], found["waiting"], found["in_flight"], *clocks)


class _Run:
    """One run. Nothing waits for a status: it is asked all the time, and its answer comes among the others."""

    def __init__(self, callers: list[Caller], items: list[Publish], sample: Callable[[Answer], _Sample]) -> None:
        self._callers, self._items, self._sample = callers, items, sample
        self._limit = int(min(ROOM * QUEUE_LIMIT, ROOM * QUEUE_LIMIT_BYTES / len(items[0].payload)))
        self._published = 0
        self._asked_s = 0.0
        self._asks = False
        self._settled = 0
        self.refused = 0
        self._last: _Sample = self._next_sample(publishing=False)
        self._before = self._last.handled

    def load(self, window_s: float) -> Window:
        """Fill the queue, and measure while it is kept filled."""
        first = self._until(self._half_full, FILL_S)
        end_s, least = first.at_s + window_s, first.waiting
        while (last := self._next_sample(publishing=True)).at_s < end_s:
            least = min(least, last.waiting)
        return _window(first, last, least)

    def drain(self) -> Window | None:
        """Measure how the full queue is worked off, and wait until everything is; None: it could not be filled."""
        first = self._until(self._half_full, FILL_S)
        while (last := self._next_sample(publishing=False)).waiting > LEFT * self._limit:
            continue
        end = last
        while self._published > self._settled or end.waiting or end.in_flight:
            end = self._next_sample(publishing=False)
            assert end.at_s < last.at_s + PATIENCE_S, "what was published is not handled"
        assert not self.refused, f"{self.refused} messages were refused"
        return _window(first, last, last.waiting) if self._half_full(first) else None

    def _half_full(self, sample: _Sample) -> bool:
        return sample.waiting >= self._limit // 2

    def _until(self, done: Callable[[_Sample], bool], limit_s: float) -> _Sample:
        end_s = time.perf_counter() + limit_s
        while not done(sample := self._next_sample(publishing=True)) and sample.at_s < end_s:
            continue
        return sample

    def _next_sample(self, publishing: bool) -> _Sample:
        """Go on until the next status is there."""
        end_s = time.perf_counter() + PATIENCE_S
        while time.perf_counter() < end_s:
            if not self._asks and time.perf_counter() - self._asked_s >= LOOK_S:
                self._callers[0].session.ask()
                self._asks, self._asked_s = True, time.perf_counter()
            if publishing:
                self._publish()
            moved = False
            for one in self._callers:
                moved |= one.flush()
                news = one.hear()
                moved |= bool(news)
                if answer := self._note(news):
                    self._asks = False
                    self._last = self._sample(answer)
                    return self._last
            if not moved:
                caller.wait(self._callers, LOOK_S / 2)
        raise AssertionError("the farm gives no answer")

    def _publish(self) -> None:
        """As much as there is room for, of what the clients can still pack."""
        room = self._limit - (self._published - (self._last.handled - self._before))
        for one in self._callers:
            count = min(room, BATCH_COUNT_LIMIT - one.session.waiting_count)
            for _ in range(count):
                one.session.publish(self._items[self._published % len(self._items)])
                self._published += 1
            room -= max(0, count)

    def _note(self, news: Iterable[News]) -> Answer | None:
        found: Answer | None = None
        for one in news:
            if isinstance(one, Settled):
                self._settled += 1
                self.refused += not isinstance(one.outcome, Accepted)
            elif isinstance(one, Answer):
                found = one
        return found


def _window(first: _Sample, last: _Sample, waiting: int) -> Window:
    count = last.handled - first.handled
    assert count > 0, "nothing was handled in this window"
    return Window(
        count / (last.at_s - first.at_s),
        (last.ingest_ns - first.ingest_ns) / count / 1e3,
        (last.workers_ns - first.workers_ns) / count / 1e3,
        (last.client_ns - first.client_ns) / count / 1e3,
        waiting,
    )
