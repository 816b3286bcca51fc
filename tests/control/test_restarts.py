"""Delays and the end of patience, with a clock of the test's own."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from farm.control.restarts import LIMIT_COUNT, MOST_S, Restarts

START_S = 98_765.0


class Life:
    """A member that dies as the test says; `draw` 0.5 means no jitter."""

    def __init__(self, *, essential: bool = False, draw: float = 0.5) -> None:
        self.restarts = Restarts(lambda: draw)
        self.essential = essential
        self.now_s = START_S

    def live(self, seconds: float, *, ready_after_s: float | None = 0.0) -> float | None:
        """One life; the delay after it."""
        self.restarts.started(self.now_s)
        if ready_after_s is not None:
            self.restarts.ready(self.now_s + ready_after_s)
        self.now_s += seconds
        delay_s = self.restarts.died(self.now_s, essential=self.essential)
        self.now_s += delay_s or 0.0
        return delay_s


def test_the_first_death_is_answered_at_once_and_the_next_ones_ever_later() -> None:
    life = Life()
    assert [life.live(10) for _ in range(9)] == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_life_of_30_s_starts_the_count_anew() -> None:
    life = Life()
    assert [life.live(seconds) for seconds in (1, 1, 1, 30, 1)] == [0.0, 0.1, 0.2, 0.0, 0.1]


def test_an_essential_member_that_dies_young_five_times_in_30_s_is_given_up() -> None:
    life = Life(essential=True)
    assert [life.live(1) is None for _ in range(LIMIT_COUNT)] == [False] * 4 + [True]


def test_dying_before_ready_counts_however_long_it_took() -> None:
    life = Life(essential=True)
    assert [life.live(6, ready_after_s=None) is None for _ in range(LIMIT_COUNT)] == [False] * 4 + [True]


def test_a_life_of_5_s_after_ready_is_no_crash_loop() -> None:
    life = Life(essential=True)
    assert all(life.live(5) is not None for _ in range(50))


def test_a_life_that_lasted_ends_a_crash_loop() -> None:
    life = Life(essential=True)
    assert all(life.live(seconds) is not None for _ in range(20) for seconds in (0, 0, 0, 0, 5))


def test_five_deaths_over_more_than_30_s_are_no_crash_loop() -> None:
    life = Life(essential=True)
    assert all(life.live(8, ready_after_s=4) is not None for _ in range(50))


def test_a_worker_is_never_given_up() -> None:
    life = Life()
    delays = [life.live(0.01, ready_after_s=None) for _ in range(2000)]
    assert delays[-1] == MOST_S


@given(st.floats(0, 1, exclude_max=True), st.integers(2, 40))
def test_jitter_stays_within_a_fifth(draw: float, deaths: int) -> None:
    even, uneven = Life(), Life(draw=draw)
    for _ in range(deaths):
        straight, jittered = even.live(1), uneven.live(1)
        assert straight is not None
        assert jittered is not None
        assert straight * 0.8 <= jittered <= straight * 1.2


def test_members_that_died_together_come_back_apart() -> None:
    source = random.Random(7)
    delays = set[float | None]()
    for _ in range(8):
        restarts = Restarts(source.random)
        restarts.started(0)
        restarts.died(1, essential=False)
        delays.add(restarts.died(2, essential=False))
    assert len(delays) == 8
