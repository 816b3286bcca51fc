"""Compare ratios with those that are kept: what got worse, what is missing, what got better. Pure.

Worse by more than LIMIT in every look is worse; one look alone may be noise. Where others took more than BUSY of the
machine nobody can say: that is unsure, and neither passes nor fails.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.ratios import Better, Ratio

LIMIT: Final = 0.2
BUSY: Final = 0.1  # of the machine, as `machine.QUIET`


@dataclass(frozen=True)
class Kept:
    """A ratio as the repository has it."""

    value: float
    noise: float
    better: Better


def worse_by(kept: Kept, value: float) -> float:
    """By which share a ratio is worse than the one kept; negative: better. Twice as bad is 1 either way."""
    return value / kept.value - 1 if kept.better == "lower" else kept.value / value - 1


def suspects(kept: Mapping[str, Kept], found: Mapping[str, Ratio]) -> list[str]:
    """The names of what this look found worse by more than LIMIT."""
    return [name for name, one in kept.items() if name in found and worse_by(one, found[name].value) > LIMIT]


def mildest(kept: Mapping[str, Kept], looks: Sequence[Mapping[str, Ratio]]) -> dict[str, Ratio]:
    """Of each ratio the best that any look found; those that are not kept as the first look found them."""
    best: dict[str, Ratio] = {}
    for look in looks:
        for name, one in look.items():
            if name not in best or (
                name in kept and worse_by(kept[name], one.value) < worse_by(kept[name], best[name].value)
            ):
                best[name] = one
    return best


def faults(kept: Mapping[str, Kept], found: Mapping[str, Ratio]) -> list[str]:
    """A line for each ratio that got worse or was not measured: anything here fails the gate."""
    lines: list[str] = []
    for name, one in kept.items():
        if name not in found:
            lines.append(f"missing: {name}: it is kept and was not measured")
        elif (share := worse_by(one, found[name].value)) > LIMIT and found[name].busy <= BUSY:
            lines.append(f"worse: {_told(name, one, found[name])}: worse by {share:.0%}, {LIMIT:.0%} at most")
    return lines


def doubts(kept: Mapping[str, Kept], found: Mapping[str, Ratio]) -> list[str]:
    """A line for each ratio that looks worse and was measured while others were busy."""
    return [
        f"unsure: {_told(name, kept[name], found[name])}: others took {found[name].busy:.0%} of the machine meanwhile"
        for name in suspects(kept, found)
        if found[name].busy > BUSY
    ]


def notes(kept: Mapping[str, Kept], found: Mapping[str, Ratio]) -> list[str]:
    """A line for each ratio that is not kept yet, or that got better by as much as would be worse."""
    lines: list[str] = []
    for name, one in found.items():
        if name not in kept:
            lines.append(f"new: {name}: {one.value:.3g}, not kept yet")
        elif worse_by(_turned(kept[name]), found[name].value) > LIMIT:
            lines.append(f"better: {_told(name, kept[name], one)}: keep it, so that it stays")
    return lines


def kept_of(looks: Sequence[Mapping[str, Ratio]]) -> dict[str, Kept]:
    """What to keep of several looks: the middle one of each ratio.

    Its noise is the larger of what one look saw in its pairs and how far the looks lie from the middle.
    """
    kept: dict[str, Kept] = {}
    for name in dict.fromkeys(name for look in looks for name in look):
        found = [look[name] for look in looks if name in look]
        value = statistics.median(one.value for one in found)
        noise = max(*(one.noise for one in found), *(abs(one.value / value - 1) for one in found))
        kept[name] = Kept(round(value, 4), round(noise, 3), found[0].better)
    return kept


def _turned(kept: Kept) -> Kept:
    return Kept(kept.value, kept.noise, "higher" if kept.better == "lower" else "lower")


def _told(name: str, kept: Kept, now: Ratio) -> str:
    return f"{name}: {now.value:.3g}, kept {kept.value:.3g} ({kept.better} is better)"
