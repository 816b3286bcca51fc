"""What farm aims at, in ratios, which hold on any machine; and by how much a run misses it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tests.bench.ratios import Ratio
from tests.bench.report import Row, Table, shown

HEADS: Final = {"aim": "ratio", "wanted": "wanted", "measured": "measured", "noise": "noise", "verdict": ""}


@dataclass(frozen=True)
class Aim:
    """A ratio by name, and how far it may go the way that is worse."""

    name: str
    limit: float


AIMS: Final = (
    Aim("codec, Python, 100 B text: codec / raw", 1.6),
    Aim("codec, Python, 10 KB text: codec / raw", 1.15),
    Aim("codec, Python, 10 KB binary: list<u8> / as text", 8.0),
    Aim("path, Python, 100 B text, draining: worker CPU / codec", 1.5),
    Aim("path, Python, 100 B text, draining: 2 workers / 1", 1.3),
    Aim("path, Python, 100 B text: 2 workers / 1", 1.3),
    # Prototypes of ingest took 3.2 to 4.5 us where the bare link's own end took 1.3: twice the larger of them.
    Aim("path, Python, 100 B text, draining: ingest CPU / link CPU", 7.0),
    Aim("path, Python, 100 B text: ingest CPU / link CPU", 7.0),
    Aim("latency, Python, one at a time: whole path / link", 2.5),
    Aim('startup: farm up --workers 8 / python -c "import wasmtime, sanic, zmq, pydantic"', 4.0),
    Aim("nats, Python guest: farm / FastStream", 2.5),
    Aim("nats, Python guest: farm / bare nats-py", 0.2),
    Aim("jetstream: farm's broker alone / bare nats-py, one inbox", 0.8),
    Aim("jetstream: farm, tiny guest, 2 workers / bare nats-py, one inbox", 0.8),
    Aim("redis, Python guest, 2 workers: farm / bare redis-py", 0.5),
)


def missed_by(aim: Aim, found: Ratio) -> float:
    """By which share the aim is missed: 0.1 is 10 % beyond it, 0 or less is within."""
    return found.value / aim.limit - 1 if found.better == "lower" else aim.limit / found.value - 1


def table(ratios: Iterable[Ratio]) -> Table | None:
    """The aims that this run says something of; None where it says nothing of any."""
    by_name = {ratio.name: ratio for ratio in ratios}
    rows: list[Row] = []
    for aim in AIMS:
        found = by_name.get(aim.name)
        if found is None:
            continue
        missed = missed_by(aim, found)
        rows.append(
            {
                "aim": aim.name,
                "wanted": f"{'<=' if found.better == 'lower' else '>='} {shown(aim.limit)}",
                "measured": found.value,
                "noise": f"{found.noise:.0%}",
                "verdict": f"missed by {missed:.0%}" if missed > 0 else "met",
            }
        )
    note = "noise: half of the pairs lie within this share of the ratio."
    return Table("aims", "aims: medians of pairs of this run", HEADS, rows, [note]) if rows else None
