"""What a farm keeps in memory: PSS of each role, without a guest and with one, and what a further worker adds.

PSS counts a page that n processes share as one n-th of it in each: the sum over a family is what it really takes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from tests.bench import farms, machine
from tests.bench.guests import Guest
from tests.bench.ratios import ratio
from tests.bench.report import Effort, Report, Row, Say, Table

WORKERS: Final = (1, 8)
GUESTS: Final[dict[str, list[Guest]]] = {"no guest": [], "Python": ["Python"]}
STILL: Final = 0.01  # two looks that differ by less: nothing is being made any more
LOOK_S: Final = 0.3
PATIENCE_S: Final = 20.0
MIB: Final = 1 << 20
HEADS: Final = {
    "guest": "guest",
    "workers": "workers",
    "supervisor": "supervisor MiB",
    "ingest": "ingest MiB",
    "worker": "a worker MiB",
    "sum": "family MiB",
    "further": "a further worker MiB",
}


def measure(_: Effort, say: Say) -> Report:
    """The whole section."""
    report = Report()
    rows: list[Row] = []
    for name, guests in GUESTS.items():
        sums: dict[int, float] = {}
        for workers in WORKERS:
            say(f"memory: guest {name}, {workers} workers")
            found = settled(guests, workers)
            sums[workers] = sum(sum(values) for values in found.values())
            means: Row = {role: sum(values) / len(values) for role, values in found.items() if values}
            rows.append({"guest": name, "workers": workers, **means, "sum": sums[workers]})
        few, many = WORKERS
        further = rows[-1]["further"] = (sums[many] - sums[few]) / (many - few)
        report.ratios.append(ratio(f"memory, {name}: a further worker / a farm of 1", "lower", [further], [sums[few]]))
    note = (
        "PSS: shared pages divided by how many share them. An idle farm; with a guest, each worker holds an instance."
    )
    report.tables.append(Table("memory", "memory: PSS", HEADS, rows, [note]))
    return report


def settled(guests: Sequence[Guest], workers: int) -> dict[str, list[float]]:
    """PSS in MiB of every process of a farm that idles, by role."""
    with farms.farm(guests) as farm:
        farm.up(workers)
        pids = farms.pids(farm)
        end_s = time.monotonic() + PATIENCE_S
        before, found = 0.0, _look(pids)
        while abs(_sum(found) - before) > STILL * _sum(found) and time.monotonic() < end_s:
            time.sleep(LOOK_S)
            before, found = _sum(found), _look(pids)
        farm.down()
    return found


def _look(pids: dict[str, list[int]]) -> dict[str, list[float]]:
    return {role: [machine.pss_bytes(pid) / MIB for pid in some] for role, some in pids.items()}


def _sum(found: dict[str, list[float]]) -> float:
    return sum(sum(values) for values in found.values())
