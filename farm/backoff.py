"""How long to wait before the next try: longer each time, at random, and never beyond a bound."""

from __future__ import annotations

from random import Random
from typing import Final

FIRST_S: Final = 0.1
LIMIT_S: Final = 2.0


class Backoff:
    """Waits between tries to reach one server. Pure: it says how long, and waits for nothing.

    The n-th is drawn from 0 to `first_s` times 2 to the n, `limit_s` at most: full jitter, so that a thousand clients
    of a server that comes back do not come back together.
    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, first_s: float = FIRST_S, limit_s: float = LIMIT_S, rng: Random | None = None) -> None:
        self._first_s: Final = first_s
        self._limit_s: Final = limit_s
        self._rng: Final = rng or Random()
        self._bound_s = first_s

    def next_s(self) -> float:
        """How long to wait now."""
        bound_s = self._bound_s
        self._bound_s = min(self._limit_s, bound_s * 2)
        return self._rng.uniform(0.0, bound_s)

    def reset(self) -> None:
        """It was reached: the next wait is a first one."""
        self._bound_s = self._first_s
