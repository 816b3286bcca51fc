"""When a member that died is started again. Pure: times come in, a delay comes out.

    1st death    at once                        a life of 30 s starts the count anew
    2nd, 3rd ..  0.1, 0.2, 0.4 .. 5 s, +-20 %   so that what crashes together does not come back together
An essential member (ingest, gateway) that dies 5 times within 30 s, each time before Ready or under 5 s after it, is
given up: the farm could only pretend to run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

FIRST_S: Final = 0.1
MOST_S: Final = 5.0
JITTER: Final = 0.2
STEADY_S: Final = 30.0
YOUNG_S: Final = 5.0
WINDOW_S: Final = 30.0
LIMIT_COUNT: Final = 5


class Restarts:
    """The deaths of one member, one life after another."""

    def __init__(self, draw: Callable[[], float]) -> None:
        """`draw` gives a number in [0, 1), evenly spread: the jitter."""
        self._draw = draw
        self._started_s = 0.0
        self._ready_s: float | None = None
        self._in_a_row = 0
        self._young: deque[float] = deque(maxlen=LIMIT_COUNT)

    def started(self, now_s: float) -> None:
        """A new life has begun."""
        self._started_s, self._ready_s = now_s, None

    def ready(self, now_s: float) -> None:
        """This life said Ready."""
        self._ready_s = now_s

    def died(self, now_s: float, *, essential: bool) -> float | None:
        """This life has ended; how long to wait before the next one, in seconds, or None: give up.

        Args:
          essential: the farm is nothing without this member.
        """
        if now_s - self._started_s >= STEADY_S:
            self._in_a_row = 0
        self._in_a_row += 1
        if self._ready_s is None or now_s - self._ready_s < YOUNG_S:
            self._young.append(now_s)
        else:
            self._young.clear()
        if essential and len(self._young) == LIMIT_COUNT and now_s - self._young[0] <= WINDOW_S:
            return None
        if self._in_a_row == 1:
            return 0.0
        # The exponent is bounded: 2.0 ** 1100 would be an error after a day of deaths.
        delay_s = min(MOST_S, FIRST_S * 2.0 ** min(self._in_a_row - 2, 16))
        return delay_s * (1 + JITTER * (2 * self._draw() - 1))
