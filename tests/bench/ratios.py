"""Ratios: what a change of farm moves and a change of the machine mostly does not. Pure.

A ratio comes from pairs: both sides measured one right after the other, the quotient taken of each pair, and the median
of the quotients. `noise` is how far half of the pairs lie from it, as a share: with 0.1, half of them within 10 %.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Ratio:
    """One ratio, what it is called, and which way is better.

    busy: how much of the machine others took meanwhile, 0..1, where that can move the ratio; 0 where it hardly can.
    """

    name: str
    value: float
    noise: float
    pairs: int
    better: Better
    busy: float = 0.0


def ratio(name: str, better: Better, over: Sequence[float], under: Sequence[float]) -> Ratio:
    """The ratio over / under of pairs of measurements."""
    quotients = [a / b for a, b in zip(over, under, strict=True)]
    return Ratio(name, statistics.median(quotients), spread(quotients), len(quotients), better)


def spread(values: Sequence[float]) -> float:
    """The median distance from the median, as a share of it."""
    middle = statistics.median(values)
    return statistics.median(abs(value - middle) for value in values) / abs(middle)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0..1) of them lie, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
