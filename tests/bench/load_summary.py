"""The two tables at the end of `make load`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.bench.load_figures import shown_ms
from tests.bench.load_result import Hearing, Ledger, Result

RESULT: Final = ("phase", "requests", "good/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "errors")
LEDGER: Final = ("phase", "accepted", "perhaps", "came in", "handled", "dead", "waiting", "ledger")


def result_lines(results: Mapping[str, Result]) -> list[str]:
    """What each phase found."""
    rows: list[tuple[str, ...]] = [RESULT]
    for phase, result in results.items():
        latency = result.latency
        times = (shown_ms(one) for one in (latency.p50_ms, latency.p99_ms, latency.p999_ms, latency.max_ms))
        errors = ", ".join(f"{kind} {count:,}" for kind, count in sorted(result.errors.items())) or "none"
        rows.append((phase, f"{result.requests:,}", f"{result.rate:,.0f}", *times, errors))
    return _aligned(rows)


def ledger_lines(ledgers: Mapping[str, Ledger]) -> list[str]:
    """What went in, and where it is."""
    rows: list[tuple[str, ...]] = [LEDGER]
    for phase, one in ledgers.items():
        verdict = "DOES NOT HOLD" if one.faults() else "holds"
        figures = (one.accepted, one.unknown, one.taken, one.handled, one.dead, one.waiting)
        rows.append((phase, *(f"{figure:,}" for figure in figures), verdict))
    lines = _aligned(rows)
    for phase, one in ledgers.items():
        if one.result.hearing is not None:
            lines.append(f"{phase}: {_heard(one.result.hearing)}")
        lines += [f"{phase}: {fault}" for fault in one.faults()]
    return lines


def _heard(hearing: Hearing) -> str:
    whole = hearing.listeners * hearing.expected
    closed = ", ".join(f"{count} with {code}" for code, count in hearing.closed.items())
    return (
        f"{hearing.listeners} listeners x {hearing.expected:,} accepted = {whole:,}; heard {hearing.heard:,}, "
        f"twice {hearing.twice:,}, missing {hearing.missing:,}" + (f"; connections closed: {closed}" if closed else "")
    )


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as they need be; the first and the last to the left."""
    last = len(rows[0]) - 1
    widths = [max(len(row[n]) for row in rows) for n in range(last)]
    lines: list[str] = []
    for row in rows:
        cells = [row[n].ljust(width) if n == 0 else row[n].rjust(width) for n, width in enumerate(widths)]
        lines.append("  ".join([*cells, row[last]]))
    return lines
