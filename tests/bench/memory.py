"""What a farm keeps in memory: PSS of each role, without a guest and with one, and what a further worker adds.

PSS counts a page that n processes share as one n-th of it in each: the sum over a family is what it really takes. Other
programs that map the same libraries make it smaller; what no file backs (private and copied pages) they do not touch,
so the gate looks at that alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench import farms, machine
from tests.bench.guests import Guest
from tests.bench.ratios import ratio
from tests.bench.report import Effort, Report, Row, Say, Table

FEW: Final = 1
MANY: Final = 8
GUESTS: Final[dict[str, list[Guest]]] = {"no guest": [], "Python": ["Python"]}
STILL: Final = 0.01  # looks that differ by less: nothing is being made any more
LOOK_S: Final = 0.25
STILL_LOOKS: Final = 3
PATIENCE_S: Final = 20.0
MIB: Final = 1 << 20
HEADS: Final = {
    "guest": "guest",
    "workers": "workers",
    "supervisor": "supervisor MiB",
    "ingest": "ingest MiB",
    "worker": "a worker MiB",
    "sum": "family MiB",
    "anonymous": "anonymous MiB",
    "further": "a further worker MiB",
    "further_anonymous": "anonymous MiB",
}


@dataclass(frozen=True)
class Memory:
    """PSS in MiB: the mean of each role, the whole family's, and what of that no file backs."""

    roles: Row
    whole: float
    anonymous: float


def measure(_: Effort, say: Say) -> Report:
    """The whole section."""
    report = Report()
    rows: list[Row] = []
    for name, guests in GUESTS.items():
        found: dict[int, Memory] = {}
        for workers in (FEW, MANY):
            say(f"memory: {name}, {workers} workers")
            one = found[workers] = settled(guests, workers)
            rows.append({"guest": name, "workers": workers, **one.roles, "sum": one.whole, "anonymous": one.anonymous})
        few, many = found[FEW], found[MANY]
        rows[-1]["further"] = (many.whole - few.whole) / (MANY - FEW)
        further = rows[-1]["further_anonymous"] = (many.anonymous - few.anonymous) / (MANY - FEW)
        ratio_name = f"memory, {name}, anonymous: a further worker / a farm of 1"
        report.ratios.append(ratio(ratio_name, "lower", [further], [few.anonymous]))
    note = (
        "PSS: shared pages divided by how many share them. An idle farm; with a guest, each worker holds an instance."
    )
    report.tables.append(Table("memory", "memory: PSS", HEADS, rows, [note]))
    return report


def settled(guests: Sequence[Guest], workers: int) -> Memory:
    """A farm that idles and has made what it makes while idle."""
    with farms.farm(guests) as farm:
        farm.up(workers)
        pids = farms.pids(farm)
        end_s = time.monotonic() + PATIENCE_S
        looks = [_look(pids)]
        while not _still([look.whole for look in looks[-STILL_LOOKS:]]) and time.monotonic() < end_s:
            time.sleep(LOOK_S)
            looks.append(_look(pids))
        farm.down()
    return looks[-1]


def _still(sums: list[float]) -> bool:
    return len(sums) == STILL_LOOKS and max(sums) - min(sums) < STILL * max(sums)


def _look(pids: dict[str, list[int]]) -> Memory:
    found = {role: [machine.pss_bytes(pid) for pid in some] for role, some in pids.items() if some}
    roles: Row = {role: sum(whole for whole, _ in some) / len(some) / MIB for role, some in found.items()}
    whole, anonymous = (sum(one[part] for some in found.values() for one in some) / MIB for part in (0, 1))
    return Memory(roles, whole, anonymous)
