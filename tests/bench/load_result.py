"""What a phase of `make load` found, and whether its figures add up. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

FINE: Final = 7  # bits of a latency that are kept: within 1 %


@dataclass(frozen=True)
class Latency:
    """In milliseconds; None: nobody knows."""

    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    max_ms: float | None = None


class Histogram:
    """Latencies in microseconds, in buckets that widen with them (as HdrHistogram's): bounded whatever comes."""

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._count = 0
        self._max_us = 0

    def record(self, us: int) -> None:
        """One more."""
        shift = max(0, us.bit_length() - FINE)
        bucket = shift << 32 | us >> shift
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self._count += 1
        self._max_us = max(self._max_us, us)

    def quantile_ms(self, share: float) -> float | None:
        """The latency that `share` of all do not exceed."""
        left = max(1, math.ceil(self._count * share))
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                shift = bucket >> 32
                upper = ((bucket & 0xFFFFFFFF) + 1 << shift) - 1
                return min(upper, self._max_us) / 1000
        return None

    def latency(self) -> Latency:
        """The four that are shown."""
        most = self._max_us / 1000 if self._count else None
        return Latency(self.quantile_ms(0.5), self.quantile_ms(0.99), self.quantile_ms(0.999), most)


@dataclass(frozen=True)
class Hearing:
    """What N listeners heard of `expected` messages each.

    closed: how many connections farm closed, by code; such a listener heard a part, and knows it: a reported gap.
    missing: what listeners that stayed did not hear. twice: what one of them heard again.
    """

    listeners: int
    expected: int
    heard: int
    missing: int
    twice: int
    closed: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True)
class Result:
    """One phase, as the driving program saw it.

    requests: what was answered, or for listeners heard. accepted: publishes that farm said it has. unknown: at most so
    many more may have been taken, of which nobody saw the answer. errors: by kind, a status code or a word.
    """

    requests: int = 0
    accepted: int = 0
    unknown: int = 0
    seconds: float = 0.0
    latency: Latency = Latency()
    errors: Mapping[str, int] = field(default_factory=dict[str, int])
    hearing: Hearing | None = None

    @property
    def rate(self) -> float:
        """What went well, a second: publishes accepted, for listeners messages heard."""
        well = self.accepted if self.hearing is None else self.hearing.heard
        return well / self.seconds if self.seconds else 0.0


def result_of(plain: dict[str, Any]) -> Result:
    """What `dataclasses.asdict` made plain."""
    hearing = plain["hearing"]
    read = {"latency": Latency(**plain["latency"]), "hearing": Hearing(**hearing) if hearing else None}
    return Result(**(plain | read))


@dataclass(frozen=True)
class Count:
    """Counters of the components that a subject reaches, summed. pid: the ingest whose they are."""

    pid: int | None = None
    received: int = 0
    handled: int = 0
    failed: int = 0
    dead: int = 0
    in_flight: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class Ledger:
    """One phase's: what the clients were told beside what farm counted from `before` to `after`.

    triggers: deliveries that one message makes. probes: publishes of the live figures' own, all answered.
    """

    result: Result
    before: Count
    after: Count
    triggers: int = 1
    probes: int = 0
    probes_unknown: int = 0

    @property
    def accepted(self) -> int:
        """Publishes that farm said it has."""
        return self.result.accepted + self.probes

    @property
    def unknown(self) -> int:
        """Publishes that it may have beside these."""
        return self.result.unknown + self.probes_unknown

    @property
    def taken(self) -> int:
        """Deliveries that farm says came in."""
        return self.after.received - self.before.received

    @property
    def handled(self) -> int:
        """Deliveries that are done."""
        return self.after.handled - self.before.handled

    @property
    def dead(self) -> int:
        """Deliveries that are dead letters."""
        return self.after.dead - self.before.dead

    @property
    def waiting(self) -> int:
        """Deliveries that farm still holds."""
        return self.after.waiting + self.after.in_flight - self.before.waiting - self.before.in_flight

    def faults(self) -> list[str]:
        """What does not add up, a line each."""
        if self.before.pid != self.after.pid:
            return ["ingest died: its counters began anew, and what its memory broker held is lost"]
        found: list[str] = []
        least, most = self.accepted * self.triggers, (self.accepted + self.unknown) * self.triggers
        if self.taken < least:
            found.append(f"{least - self.taken:,} accepted deliveries never came in")
        if self.taken > most:
            found.append(f"{self.taken - most:,} deliveries came in that nobody published")
        ended = self.handled + self.dead + self.waiting
        if ended != self.taken:
            found.append(f"{self.taken:,} came in, {ended:,} are handled, dead letters or waiting")
        if not self.accepted:
            found.append("nothing was accepted")
        return found + _hearing_faults(self.result.hearing)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        names = ("accepted", "unknown", "taken", "handled", "dead", "waiting")
        return {name: getattr(self, name) for name in names} | {
            "before": asdict(self.before),
            "after": asdict(self.after),
            "faults": self.faults(),
        }


def _hearing_faults(hearing: Hearing | None) -> list[str]:
    if hearing is None:
        return []
    found: list[str] = []
    if hearing.missing:
        found.append(f"{hearing.missing:,} deliveries to listeners are missing, and no gap was reported")
    if hearing.twice:
        found.append(f"{hearing.twice:,} deliveries came twice to a listener")
    return found
