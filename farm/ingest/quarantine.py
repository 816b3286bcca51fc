"""Setting a component aside that takes its workers along.

    5 worker deaths in a row with a call of it running, fewer than 20 successes between any two
        -> aside for 30 s -> one probe at a time, alone -> answered: back, on probation | died: aside for twice as long
Pure: the clock is passed in, in seconds of any monotonic clock.
"""

from __future__ import annotations

from typing import Final, Literal

DEATHS_LIMIT: Final = 5
SUCCESSES_BETWEEN: Final = 20
ASIDE_S: Final = 30.0
ASIDE_LIMIT_S: Final = 600.0

Standing = Literal["free", "aside", "probe"]


class Quarantine:
    """How one component stands. `suspect`: it has deaths to its name that successes have not cleared yet."""

    __slots__ = ("_aside_s", "_deaths", "_until_s", "_successes", "suspect")

    def __init__(self) -> None:
        self._deaths = 0
        self._successes = 0
        self._aside_s = 0.0  # how long it was set aside last
        self._until_s = -1.0  # set aside until then; negative: it is not
        self.suspect = False

    def standing(self, now_s: float) -> Standing:
        """Whether its messages may be run now; "probe": one at a time."""
        if self._until_s < 0:
            return "free"
        return "aside" if now_s < self._until_s else "probe"

    def left_s(self, now_s: float) -> float | None:
        """Seconds until the next probe, 0 while probing; None for a component that is not set aside."""
        return None if self._until_s < 0 else max(0.0, self._until_s - now_s)

    def died(self, now_s: float) -> bool:
        """A worker died with a call of it running; whether this sets it aside."""
        self._deaths = 1 if self._successes >= SUCCESSES_BETWEEN else self._deaths + 1
        self._successes = 0
        self.suspect = True
        if self._deaths < DEATHS_LIMIT and self._until_s < 0:
            return False
        self._aside_s = min(ASIDE_LIMIT_S, self._aside_s * 2) if self._aside_s else ASIDE_S
        self._until_s = now_s + self._aside_s
        return True

    def answered(self, now_s: float, *, ok: bool) -> None:
        """A call of it ended and its worker lives. Only needed while `suspect`.

        After a probe it is back, but one more death sets it aside again until enough calls have succeeded. What was
        still running when it was set aside is no probe.
        """
        if 0 <= self._until_s <= now_s:
            self._until_s = -1.0
            self._deaths = DEATHS_LIMIT - 1
        self._successes += ok
        if self._successes >= SUCCESSES_BETWEEN:
            self._deaths = 0
            self._aside_s = 0.0
            self.suspect = False
