"""The bar of the neighbour: a component that waits for seconds beside one that is quick.

    slow    2 messages/s, each call waits 2 s (WASI)        4 of 8 workers are in such a call at any time
    fast    200 messages/s, each call takes 1 ms
Open loop: a message is sent at its fixed time, whatever became of those before, and its latency counts from that time,
not from when the client got round to it. So a pause of farm's (or of the client's) is in the figures of every message
that it hit: no coordinated omission. How late the sender itself was tells how busy the machine was with others. Alone
and beside alternate in one run, since a machine's speed drifts.
Source: Gil Tene, How NOT to Measure Latency.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from farm.client.aio import Relay
from farm.errors import FarmError
from farm.wire.relay import HeardMessage, Publish
from farm.wire.sockets import Sockets
from tests.bench.bars_witness import Bar, exactly
from tests.bench.ledger import Ledger
from tests.guests import wat
from tests.system.family import Family, family

WORKERS: Final = 8
FAST_PER_S: Final = 200
SLOW_PER_S: Final = 2
SLOW_MS: Final = 2000
RATIO_LIMIT: Final = 2.0
LATE_S: Final = 5.0  # after the last one is sent, until it counts as lost

MANIFEST: Final = """
[app]
name = "fair"
[brokers.test]
type = "memory"
[components.fast]
source = "fast.wasm"
triggers = [{ broker = "test", topic = "fast", publish = { subject = "fast-out" } }]
[components.slow]
source = "slow.wasm"
triggers = [{ broker = "test", topic = "slow", publish = { subject = "slow-out" } }]
"""


@dataclass(frozen=True)
class Plan:
    """pairs: of one stretch alone and one beside; seconds: of each."""

    pairs: int = 5
    seconds: float = 15.0


@dataclass
class Fair:
    """What a run found: latencies in seconds, sorted, of each stretch. late: how late each fast one was sent."""

    alone: list[list[float]] = field(default_factory=list[list[float]])
    beside: list[list[float]] = field(default_factory=list[list[float]])
    late: list[float] = field(default_factory=list[float])
    faults: list[str] = field(default_factory=list[str])


def fair(folder: Path, plan: Plan) -> Fair:
    """All stretches, in one farm."""
    guests = {"fast": wat.wasm("slow"), "slow": wat.wasm("sleep")}
    with family(folder, MANIFEST, guests) as farm:
        farm.up(WORKERS)
        found = asyncio.run(_alternate(farm, plan))
        components = farm.counters()["components"]
        for name, component in components.items():
            if component["failed"] or component["handled"] != component["received"]:
                found.faults.append(f"{name}: {component}")
        farm.down()
    return found


def bars(folder: Path) -> Iterator[Bar]:
    """The full size."""
    plan = Plan()
    found = fair(folder, plan)
    count = sum(len(stretch) for stretch in (*found.alone, *found.beside))
    yield exactly("a slow neighbour: every message of both handled once", f"{count:,} fast ones", found.faults)
    alone, beside = ([percentile(stretch, 99) for stretch in side] for side in (found.alone, found.beside))
    ratio = statistics.median(b / a for a, b in zip(alone, beside, strict=True))
    yield Bar(
        "p99 of 1 ms calls beside 2 s ones, to p99 alone",
        f"{ratio:.2f} (median of {plan.pairs} pairs; "
        f"p99 {ms(statistics.median(beside))} to {ms(statistics.median(alone))}; "
        f"p50 {ms(_median(found.beside))} to {ms(_median(found.alone))}; "
        f"the sender itself was late by {ms(percentile(found.late, 99))} at p99)",
        f"<= {RATIO_LIMIT:g}",
        ratio <= RATIO_LIMIT,
    )


def percentile(latencies: list[float], percent: int) -> float:
    """Of sorted ones: the smallest that at least so many percent do not exceed."""
    return latencies[max(0, -(-len(latencies) * percent // 100) - 1)]


def ms(seconds: float) -> str:
    """For a person."""
    return f"{seconds * 1000:.1f} ms"


def _median(stretches: list[list[float]]) -> float:
    return statistics.median(percentile(stretch, 50) for stretch in stretches)


class _Ears:
    """Notes when each of the fast ones came out."""

    def __init__(self, ledger: Ledger) -> None:
        self._loop = asyncio.get_running_loop()
        self._ledger = ledger
        self.relay: Relay | None = None
        self.listener = 0
        self.at_s: dict[int, float] = {}
        self._more = asyncio.Event()

    async def have(self, count: int) -> None:
        """Wait until so many have come out."""
        while len(self.at_s) < count:
            self._more.clear()
            await self._more.wait()

    def heard(self, messages: list[HeardMessage], missed: int) -> None:
        now_s = self._loop.time()
        self._ledger.missed += missed
        for message in messages:
            self._ledger.see(message.id, message.payload)
            self.at_s[int(message.payload.split()[1])] = now_s
        self._more.set()
        assert self.relay is not None
        self.relay.consumed(self.listener, len(messages))

    def gap(self) -> None:
        self._ledger.missed += 1

    def ended(self, error: FarmError) -> None:
        raise error


class _Driver:
    """Sends at fixed times, over one connection."""

    def __init__(self, relay: Relay, ledger: Ledger, ears: _Ears) -> None:
        self._relay = relay
        self._ledger = ledger
        self._ears = ears
        self._loop = asyncio.get_running_loop()
        self._next = 0
        self.late: list[float] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def stretch(self, plan: Plan, beside: bool) -> list[float]:
        """Latencies of the fast ones of one stretch, sorted."""
        slow = asyncio.ensure_future(self._drive_slow(plan.seconds)) if beside else None
        if slow is not None:
            await asyncio.sleep(SLOW_MS / 1000)  # until as many are in their calls as ever will be
        first, began_s = self._next, self._loop.time() + 0.05
        count = int(plan.seconds * FAST_PER_S)
        for place in range(count):
            await self._until(began_s + place / FAST_PER_S)
            self.late.append(self._loop.time() - began_s - place / FAST_PER_S)
            self._send("fast", b"1 %d" % (first + place))
        self._next += count
        if slow is not None:
            await slow
        with suppress(TimeoutError):  # the ledger says what is missing
            await asyncio.wait_for(self._ears.have(self._next), LATE_S)
        at_s = self._ears.at_s
        return sorted(
            at_s[first + place] - (began_s + place / FAST_PER_S) for place in range(count) if first + place in at_s
        )

    async def _drive_slow(self, seconds: float) -> None:
        began_s = self._loop.time()
        for place in range(int((seconds + SLOW_MS / 1000) * SLOW_PER_S)):
            await self._until(began_s + place / SLOW_PER_S)
            self._send("slow", b"%d" % SLOW_MS)

    async def _until(self, at_s: float) -> None:
        if (left_s := at_s - self._loop.time()) > 0:
            await asyncio.sleep(left_s)

    def _send(self, subject: str, payload: bytes) -> None:
        sending = self._loop.create_task(self._publish(subject, payload))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _publish(self, subject: str, payload: bytes) -> None:
        receipt = await self._relay.publish(Publish(subject, payload))
        if subject == "fast":
            self._ledger.accept(receipt.id, payload)


async def _alternate(farm: Family, plan: Plan) -> Fair:
    found, ledger = Fair(), Ledger()
    with Sockets() as sockets:
        relay = Relay(sockets, farm.rundir.relay)
        ears = _Ears(ledger)
        ears.relay, ears.listener = relay, relay.listen("fast-out", "test", ears)
        await relay.live(ears.listener)
        driver = _Driver(relay, ledger, ears)
        await driver.stretch(Plan(seconds=1.0), beside=False)  # what is warmed up once is warm for both
        for _ in range(plan.pairs):
            found.alone.append(await driver.stretch(plan, beside=False))
            found.beside.append(await driver.stretch(plan, beside=True))
            await asyncio.to_thread(farm.wait_settled)  # the next stretch is alone
        found.faults += ledger.faults()
        found.late = sorted(driver.late)
        relay.close()
    return found
