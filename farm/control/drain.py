"""The end of a farm: who is told to finish when. Pure: times come in, stages come out.

0 s   gateway (10 s), ingest hears Quiet     each stage begins when the one before has gone, or its time is over
..    ingest (what is left less 3 s)         a member that overruns its stage is killed
..    workers (what is left less 1 s)        25 s in all
..    embedded servers (the rest)            what they have confirmed is on the disk, however they end
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from farm.control.roles import DRAIN_ORDER

DRAIN_S: Final = 25.0
GATEWAY_S: Final = 10.0
LAST_S: Final = 3.0  # of workers and servers
SERVERS_S: Final = 1.0
MARGIN_S: Final = 0.5  # between what a member is told and when it is killed
LEAST_S: Final = 1.0


@dataclass(frozen=True)
class Stage:
    """These members finish now. told_s: what they are told, in seconds; over_at_s: when the rest is killed."""

    role: str
    told_s: float
    over_at_s: float


class Drain:
    """One drain, from the first signal on."""

    def __init__(self, now_s: float, within_s: float = DRAIN_S) -> None:
        self._over_at_s = now_s + within_s
        self._next = 0
        self.stage: Stage | None = None

    def begun(self, role: str) -> bool:
        """Whether the members of `role` are to end by now, and so are not started again."""
        return role in DRAIN_ORDER[: self._next]

    def advance(self, now_s: float) -> Stage | None:
        """Begin the next stage; None when all have been."""
        if self._next == len(DRAIN_ORDER):
            self.stage = None
            return None
        role = DRAIN_ORDER[self._next]
        self._next += 1
        left_s = self._over_at_s - now_s
        if role == "gateway":
            share_s = min(GATEWAY_S, left_s * GATEWAY_S / DRAIN_S)
        elif role == "ingest":
            share_s = left_s - LAST_S
        elif role == "worker":
            share_s = left_s - SERVERS_S
        else:
            share_s = left_s
        share_s = max(LEAST_S, share_s)
        self.stage = Stage(role, max(share_s - MARGIN_S, MARGIN_S), now_s + share_s)
        return self.stage
