"""The work link alone: ROUTER and DEALER between two processes, hand-driven on both sides as ingest and a worker are.

    this process   uvloop, `Pump`: sends batches of 100 B, as many as IN_FLIGHT allows
    its child      waits in poll(): answers every message of a batch with its body, in one batch
No component runs and nothing is kept of a message: what is left of farm is the packing and the waiting.
    python -m tests.bench.link ADDRESS      the child
"""

from __future__ import annotations

import asyncio
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import uvloop

from farm.invocation import Finished, Invoke, Output
from farm.wire import work
from farm.wire.sockets import RECEIVE_LIMIT, Dealer, Pump, Router, Sockets
from tests.bench import machine
from tests.bench.guests import ROOT
from tests.bench.ratios import quantile, ratio
from tests.bench.report import Effort, Report, Row, Say, Table

BOOT: Final = 1
WORKER: Final = b"worker"
IN_FLIGHT: Final = 256  # messages, and two batches at least
BATCHES: Final = (1, 8, 32, 128)
BODY: Final = b"x" * 100
PATIENCE_S: Final = 30.0
TRIPS: Final = 200
HEADS: Final = {"batch": "batch", "per_s": "messages/s", "router_us": "router CPU us", "dealer_us": "dealer CPU us"}
TRIP_HEADS: Final = {"what": "one at a time", "p50_us": "p50 us", "p99_us": "p99 us"}


@dataclass(frozen=True)
class Blast:
    """How fast it went. CPU is that of a whole process, ZeroMQ's thread included, per message."""

    per_s: float
    router_us: float
    dealer_us: float


class Link:
    """The binding end and its loop, and a child at the other end."""

    def __init__(self, router: Router, loop: asyncio.AbstractEventLoop) -> None:
        self._router = router
        self._loop = loop
        self._hear: Callable[[work.Results], None] = lambda _: None
        self._ended: asyncio.Future[None] = loop.create_future()
        self.child = 0
        self._pump = Pump(router, loop, self._ready)

    def close(self) -> None:
        """Stop watching."""
        self._pump.close()

    def join(self) -> None:
        """Wait for the child."""
        self._run(lambda _: self._ended.set_result(None), lambda: None)

    def trips(self, count: int) -> list[float]:
        """That many round trips of one message, one after the other, in microseconds."""
        taken: list[float] = []
        began_s = 0.0

        def send() -> None:
            nonlocal began_s
            began_s = time.perf_counter()
            self._send([_invoke()])

        def hear(_: work.Results) -> None:
            taken.append((time.perf_counter() - began_s) * 1e6)
            if len(taken) < count:
                send()
            else:
                self._ended.set_result(None)

        self._run(hear, send)
        return taken

    def blast(self, batch: int, seconds: float) -> Blast:
        """Send batches for so long, and hear the answers to all."""
        sent = heard = 0
        messages = [_invoke()] * batch
        dealer_ns, router_ns, began_s = self._dealer_ns(), time.process_time_ns(), time.perf_counter()
        limit = max(IN_FLIGHT, 2 * batch)

        def send() -> None:
            nonlocal sent
            while sent - heard + batch <= limit:
                self._send(messages)
                sent += batch

        def hear(word: work.Results) -> None:
            nonlocal heard
            heard += len(word.finished)
            if time.perf_counter() - began_s < seconds:
                send()
            elif heard == sent:
                self._ended.set_result(None)

        self._run(hear, send)
        took_s = time.perf_counter() - began_s
        router_ns, dealer_ns = time.process_time_ns() - router_ns, self._dealer_ns() - dealer_ns
        return Blast(heard / took_s, router_ns / heard / 1e3, dealer_ns / heard / 1e3)

    def _dealer_ns(self) -> int:
        """The child's CPU time; an empty batch asks for it."""
        found = 0

        def hear(word: work.Results) -> None:
            nonlocal found
            found = word.finished[0].took_us
            self._ended.set_result(None)

        self._run(hear, lambda: self._send([]))
        return found

    def _run(self, hear: Callable[[work.Results], None], begin: Callable[[], None]) -> None:
        self._hear, self._ended = hear, self._loop.create_future()
        self._loop.call_soon(begin)
        self._loop.run_until_complete(asyncio.wait_for(self._ended, PATIENCE_S))

    def _send(self, messages: list[Invoke]) -> None:
        assert self._router.send(WORKER, work.invokes(BOOT, messages)) == "sent"
        self._pump.touched()

    def _ready(self) -> bool:
        arrived = self._router.receive()
        for _, frames in arrived:
            word = work.from_worker(frames)
            self._hear(word if isinstance(word, work.Results) else work.Results(BOOT, []))
        return len(arrived) == RECEIVE_LIMIT


@contextmanager
def link() -> Iterator[Link]:
    """A link with a child at its other end."""
    with tempfile.TemporaryDirectory(prefix="farm-") as folder, Sockets() as sockets:
        address = f"ipc://{folder}/link.sock"
        router = sockets.router(address)
        loop = uvloop.new_event_loop()
        child = subprocess.Popen([sys.executable, "-m", __name__, address], cwd=ROOT)
        found = Link(router, loop)
        found.child = child.pid
        try:
            found.join()
            yield found
        finally:
            child.kill()
            child.wait()
            found.close()
            router.close()
            loop.close()


def measure(effort: Effort, say: Say) -> Report:
    """The whole section."""
    with link() as found:
        say("link: batches")
        rounds, busy = machine.quiet_rounds(
            lambda _: {batch: found.blast(batch, effort.window_s) for batch in BATCHES},
            effort.pairs,
            effort.rounds,
            [found.child],
        )
        blasts = {batch: [one[batch] for one in rounds] for batch in BATCHES}
        say("link: round trips")
        trips = [trip for _ in range(effort.pairs) for trip in found.trips(TRIPS * 5)[TRIPS:]]
    rows: list[Row] = [
        {"batch": batch, **{key: quantile([getattr(one, key) for one in some], 0.5) for key in list(HEADS)[1:]}}
        for batch, some in blasts.items()
    ]
    trip: Row = {"what": "bare link", "p50_us": quantile(trips, 0.5), "p99_us": quantile(trips, 0.99)}
    fast, slow = ([blast.per_s for blast in blasts[batch]] for batch in (32, 1))
    report = Report(
        [
            Table("link", "link: the work link alone, 100 B, packed batches", HEADS, rows),
            Table("link_trips", "link: round trip", TRIP_HEADS, [trip]),
        ],
        [ratio("link, messages/s: batches of 32 / of 1", "higher", fast, slow)],
    )
    report.disturbed(0, busy)
    return report


def _invoke() -> Invoke:
    return Invoke(1, 1, 1, "guest", "test", "0199f0c8-6d5e-7000-8000-0123456789ab", "in", BODY)


def _answer(dealer: Dealer, word: work.Invokes) -> None:
    if word.invokes:
        finished = [Finished(one.delivery, one.attempt, 0, [Output(one.payload)]) for one in word.invokes]
    else:
        finished = [Finished(0, 0, time.process_time_ns())]
    dealer.send(work.results(word.boot, finished))


def serve(address: str) -> None:
    """The child: answer for ever."""
    with Sockets() as sockets:
        dealer = sockets.dealer(address, WORKER)
        dealer.send(work.join(BOOT))
        ready = select.poll()
        ready.register(dealer.fd, select.POLLIN)
        while True:
            arrived = dealer.receive()
            for frames in arrived:
                _answer(dealer, work.from_ingest(frames))
            if not arrived and not dealer.readable():
                ready.poll(1000)


if __name__ == "__main__":
    serve(sys.argv[1])
