"""How long a message takes: published - component - heard by a subscriber.

at rest     one at a time through `farm.client.blocking`, in turn with round trips of the bare link
half load   an open loop: messages leave at times drawn beforehand (Poisson), at half of the rate that the farm was
            measured to take, whatever became of those before. A latency counts from the time that was drawn, so
            that a message which had to wait for its sender is no excuse (no coordinated omission).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from farm.client.blocking import Farm, Missed, Subscription
from farm.client.session import Heard, Live, News, Settled
from farm.wire.relay import Accepted, Publish
from farm.wire.sockets import Sockets
from tests.bench import caller, farms, machine
from tests.bench.caller import Caller
from tests.bench.flood import Flood
from tests.bench.guests import Guest
from tests.bench.link import Link, link
from tests.bench.ratios import quantile, ratio
from tests.bench.report import Effort, Report, Row, Say, Table
from tests.system.family import Family

GUESTS: Final[tuple[Guest, ...]] = ("tiny", "Python")
BODY_BYTES: Final = 100
BLOCK: Final = 25  # round trips of one kind before the other has its turn
BLOCKS: Final = 6  # of each kind make a round
SHARE: Final = 0.5
CREDIT: Final = 1 << 16
PATIENCE_S: Final = 30.0
REST_HEADS: Final = {
    "guest": "guest",
    "p50_us": "p50 us",
    "p99_us": "p99 us",
    "link_us": "link p50 us",
    "ratio": "ratio",
}
LOAD_HEADS: Final = {
    "guest": "guest",
    "per_s": "messages/s",
    "p50_us": "p50 us",
    "p99_us": "p99 us",
    "p999_us": "p99.9 us",
    "late_us": "sender late p99 us",
    "refused": "refused",
    "unheard": "unheard",
}

Trips = tuple[list[float], list[float]]  # a block through the whole path, and one of the bare link, in microseconds


def measure(effort: Effort, say: Say) -> Report:
    """The whole section."""
    report = Report()
    rest: list[Row] = []
    load: list[Row] = []
    with ExitStack() as stack:
        say("latency: starting a farm")
        farm = stack.enter_context(farms.farm(GUESTS))
        farm.up(1)
        bare = stack.enter_context(link())
        for guest in GUESTS:
            say(f"latency: {guest}, one at a time")
            rest.append(_at_rest(farm, guest, bare, effort, report))
            if effort.load_s:
                say(f"latency: {guest}, half load")
                load.append(_at_half_load(farm, guest, effort))
        farm.down()
    report.tables.append(Table("latency_rest", "latency: one at a time, 100 B", REST_HEADS, rest))
    if load:
        report.tables.append(
            Table(
                "latency_load",
                "latency: half load, open loop, 100 B, 1 worker",
                LOAD_HEADS,
                load,
                ["Counted from the time a message was due; sender late: how long after that it left its session."],
            )
        )
    return report


def _at_rest(farm: Family, guest: Guest, bare: Link, effort: Effort, report: Report) -> Row:
    ours = [*(pid for some in farms.pids(farm).values() for pid in some), bare.child]
    with farm.connect() as client, client.subscribe(farms.answers_of(guest)) as heard:

        def in_turn(_: int) -> list[Trips]:
            return [(_trips(client, heard, guest), bare.trips(BLOCK)) for _ in range(BLOCKS)]

        in_turn(0)
        groups, busy = machine.quiet_rounds(in_turn, effort.pairs, effort.rounds, ours)
    pairs = [pair for group in groups for pair in group]
    over, under = ([quantile(block, 0.5) for block in blocks] for blocks in zip(*pairs, strict=True))
    made = ratio(f"latency, {guest}, one at a time: whole path / link", "lower", over, under)
    report.ratios.append(made)
    report.disturbed(len(report.ratios) - 1, busy)
    every, links = ([trip for block in blocks for trip in block] for blocks in zip(*pairs, strict=True))
    return {
        "guest": guest,
        "p50_us": quantile(every, 0.5),
        "p99_us": quantile(every, 0.99),
        "link_us": quantile(links, 0.5),
        "ratio": made.value,
    }


def _trips(client: Farm, heard: Subscription, guest: Guest) -> list[float]:
    """One block of round trips, in microseconds."""
    subject, payload = farms.subject_of(guest), b"x" * BODY_BYTES
    taken: list[float] = []
    for _ in range(BLOCK):
        began_s = time.perf_counter()
        client.publish(subject, payload)
        word = heard.next(PATIENCE_S)
        taken.append((time.perf_counter() - began_s) * 1e6)
        assert word is not None
        assert not isinstance(word, Missed)
    return taken


def _at_half_load(farm: Family, guest: Guest, effort: Effort) -> Row:
    most = max(Flood(farm, guest).windows([b"x" * BODY_BYTES], effort.window_s)[0].per_s for _ in range(2))
    with Sockets() as sockets:
        loop = OpenLoop(Caller(sockets, farm.rundir), guest, drawn(SHARE * most, effort.load_s))
        loop.run()
    taken = loop.taken_us
    return {
        "guest": guest,
        "per_s": SHARE * most,
        "p50_us": quantile(taken, 0.5),
        "p99_us": quantile(taken, 0.99),
        "p999_us": quantile(taken, 0.999),
        "late_us": quantile(loop.late_us, 0.99),
        "refused": loop.refused,
        "unheard": loop.count - loop.refused - len(taken),
    }


def drawn(per_s: float, seconds: float) -> list[float]:
    """The times of a Poisson process, in seconds from its begin: the same at each run."""
    source = random.Random(1)
    times: list[float] = []
    at_s = source.expovariate(per_s)
    while at_s < seconds:
        times.append(at_s)
        at_s += source.expovariate(per_s)
    return times


class OpenLoop:
    """Publishes at given times and hears the answers, in one thread."""

    def __init__(self, client: Caller, guest: Guest, due_s: list[float]) -> None:
        self._client = client
        self._subject = farms.subject_of(guest)
        self._due_s = due_s
        self.count = len(due_s)
        self.taken_us: list[float] = []
        self.late_us: list[float] = []
        self._listener = client.session.listen(farms.answers_of(guest), CREDIT)
        self._live = False
        self.refused = 0
        self._sent = 0

    def run(self) -> None:
        """Until every answer is heard, or patience ends."""
        self._turn_until(lambda: self._live, 0.0)
        begin_s = time.perf_counter() + 0.01
        self._turn_until(lambda: len(self.taken_us) + self.refused == self.count, begin_s)
        self._client.close()

    def _turn_until(self, done: Callable[[], bool], begin_s: float) -> None:
        end_s = time.perf_counter() + PATIENCE_S
        while not done() and time.perf_counter() < end_s:
            if begin_s:
                self._publish_due(begin_s)
            self._client.flush()
            for news in self._client.hear():
                self._note(news, begin_s)
            self._client.flush()
            due_s = begin_s + self._due_s[self._sent] if begin_s and self._sent < self.count else end_s
            caller.wait([self._client], min(due_s - time.perf_counter(), 0.1))

    def _publish_due(self, begin_s: float) -> None:
        now_s = time.perf_counter()
        while self._sent < self.count and begin_s + self._due_s[self._sent] <= now_s:
            self.late_us.append((now_s - begin_s - self._due_s[self._sent]) * 1e6)
            body = f"{self._sent:010}".encode().ljust(BODY_BYTES, b"x")
            self._client.session.publish(Publish(self._subject, body))
            self._sent += 1

    def _note(self, news: News, begin_s: float) -> None:
        match news:
            case Live():
                self._live = True
            case Settled(_, outcome):
                self.refused += not isinstance(outcome, Accepted)
            case Heard(_, messages):
                now_s = time.perf_counter() - begin_s
                self.taken_us += [(now_s - self._due_s[int(one.payload[:10])]) * 1e6 for one in messages]
                self._client.session.consumed(self._listener, len(messages))
            case _:
                pass
