from __future__ import annotations

from random import Random

from farm.backoff import Backoff


class Highest(Random):
    """Draws the most that it may."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_each_wait_may_be_twice_as_long_and_none_is_beyond_the_limit() -> None:
    backoff = Backoff(0.1, 2.0, Highest())
    assert [backoff.next_s() for _ in range(7)] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_after_a_reset_it_begins_anew() -> None:
    backoff = Backoff(0.1, 2.0, Highest())
    for _ in range(5):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == 0.1


def test_waits_are_drawn_from_the_whole_range() -> None:
    backoff = Backoff(1.0, 1.0, Random(1))
    drawn = [backoff.next_s() for _ in range(1000)]
    assert min(drawn) < 0.05
    assert max(drawn) > 0.95
    assert all(0 <= each <= 1 for each in drawn)
