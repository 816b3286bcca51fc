"""The bar of the ledger: many messages through 8 workers, each handled exactly once, and no process grows of it.

publisher -> in -> echo -> good.bye -> again -> sink -> ledger         at most WINDOW messages ahead of the ledger
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from farm.wire.relay import Publish
from tests.bench.bars_witness import PATIENCE_S, Bar, Ear, Sent, Witness, exactly, mib, rss_bytes
from tests.bench.ledger import Ledger, uneven
from tests.guests import wat
from tests.system.family import Family, family

WORKERS: Final = 8
WINDOW: Final = 2000  # less than a listener may have unread: the ledger misses nothing
GROWTH_LIMIT: Final = 1.05
NAMES: Final = ("echo", "again")

MANIFEST: Final = """
[app]
name = "once"
[brokers.test]
type = "memory"
[brokers.secondary]
type = "memory"
[components.echo]
source = "echo.wasm"
triggers = [{ broker = "test", topic = "in", publish = { broker = "secondary", subject = "good.bye" } }]
[components.again]
source = "echo.wasm"
triggers = [{ broker = "secondary", topic = "good.bye", publish = { broker = "test", subject = "sink" } }]
"""


@dataclass(frozen=True)
class Once:
    """What a run found. before, after: RSS of each process, after `first` and after all messages, idle."""

    faults: list[str]
    before: dict[str, int]
    after: dict[str, int]
    messages_per_s: float


def once(folder: Path, first: int, count: int) -> Once:
    """`count` messages through a farm, in two parts."""
    ledger, sent = Ledger(), Sent("once", lambda number: b"%d" % number)
    with family(folder, MANIFEST, {"echo": wat.wasm("echo")}) as farm:
        farm.up(WORKERS)
        with Ear(farm, "sink", ledger) as ear, Witness(farm.rundir, ledger, sent) as client:
            _publish(client, range(first), ledger, sent)
            ear.wait_for_all()
            before = _sizes(farm)
            began_s = time.monotonic()
            _publish(client, range(first, count), ledger, sent)
            ear.wait_for_all()
            took_s = time.monotonic() - began_s
            after = _sizes(farm)
        faults = ledger.faults() + _counted(farm, count)
        if ledger.accepted_count != count:
            faults.append(f"{ledger.accepted_count:,} of {count:,} were accepted, though each was offered again")
        if (code := farm.down()) != 0:
            faults.append(f"farm ended with {code}")
    return Once(faults, before, after, (count - first) / took_s)


def bars(folder: Path) -> Iterator[Bar]:
    """The full size."""
    first, count = 20_000, 200_000
    found = once(folder, first, count)
    what = f"{count:,} messages, {WORKERS} workers, {found.messages_per_s:,.0f}/s through two components"
    yield exactly("each message handled exactly once", what, found.faults)
    growth = {name: found.after[name] / found.before[name] for name in found.before}
    worker = max((name for name in growth if name != "ingest"), key=lambda name: growth[name])
    for name, title in (("ingest", "ingest"), (worker, "the worker that grew most")):
        yield Bar(
            f"RSS of {title}, after {count:,} / after {first:,}",
            f"{growth[name]:.3f} ({mib(found.before[name])} -> {mib(found.after[name])})",
            f"<= {GROWTH_LIMIT}",
            growth[name] <= GROWTH_LIMIT,
        )


def _publish(client: Witness, numbers: range, ledger: Ledger, sent: Sent) -> None:
    def items() -> Iterator[Publish | None]:
        for number in numbers:
            while number - ledger.seen_count > WINDOW:
                yield None
            yield Publish("in", sent.payload(number), key=sent.key(number))

    client.publish_many(items(), PATIENCE_S)


def _counted(farm: Family, count: int) -> list[str]:
    status = farm.counters()
    quiet = dict.fromkeys(("failed", "retried", "dead_lettered", "waiting", "in_flight"), 0)
    faults: list[str] = []
    for name in NAMES:
        wanted = {"received": count, "handled": count, **quiet}
        faults += [f"{name}: {one}" for one in uneven(status["components"][name], wanted)]
    # the first broker has each message and what came out of it
    for name, published in (("test", 2 * count), ("secondary", count)):
        wanted = {"published": published, "refused": 0, "gaps": 0}
        faults += [f"{name}: {one}" for one in uneven(status["brokers"][name], wanted)]
    return faults


def _sizes(farm: Family) -> dict[str, int]:
    sizes = {"ingest": rss_bytes(farm.pids("ingest")[0])}
    return sizes | {f"worker {place}": rss_bytes(pid) for place, pid in enumerate(farm.pids("worker"))}
