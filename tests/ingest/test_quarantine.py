from __future__ import annotations

from farm.ingest.quarantine import Quarantine
from tests.ingest.pieces import STARTED_S as NOW_S


def after_deaths(count: int, *, successes_between: int = 0, now_s: float = NOW_S) -> Quarantine:
    quarantine = Quarantine()
    for _ in range(count):
        for _ in range(successes_between):
            quarantine.answered(now_s, ok=True)
        quarantine.died(now_s)
    return quarantine


def aside_s(quarantine: Quarantine, now_s: float = NOW_S) -> float | None:
    return quarantine.left_s(now_s)


def test_four_deaths_in_a_row_are_borne_and_the_fifth_is_not() -> None:
    assert after_deaths(4).standing(NOW_S) == "free"
    quarantine = after_deaths(5)
    assert quarantine.standing(NOW_S) == "aside"
    assert aside_s(quarantine) == 30.0


def test_nineteen_successes_between_deaths_do_not_help_and_twenty_do() -> None:
    assert after_deaths(5, successes_between=19).standing(NOW_S) == "aside"
    assert after_deaths(50, successes_between=20).standing(NOW_S) == "free"


def test_failures_are_no_successes() -> None:
    quarantine = after_deaths(4)
    for _ in range(100):
        quarantine.answered(NOW_S, ok=False)
    assert quarantine.died(NOW_S)


def test_after_its_time_it_is_probed() -> None:
    quarantine = after_deaths(5)
    assert quarantine.standing(NOW_S + 29.9) == "aside"
    assert quarantine.standing(NOW_S + 30) == "probe"
    assert aside_s(quarantine, NOW_S + 31) == 0.0


def test_a_probe_that_dies_sets_it_aside_for_twice_as_long_up_to_ten_minutes() -> None:
    quarantine, now_s = after_deaths(5), NOW_S
    waits: list[float] = []
    for _ in range(6):
        now_s += quarantine.left_s(now_s) or 0.0
        assert quarantine.died(now_s)
        waits.append(quarantine.left_s(now_s) or 0.0)
    assert waits == [60, 120, 240, 480, 600, 600]


def test_after_twenty_successes_it_is_set_aside_for_as_long_as_the_first_time() -> None:
    quarantine = after_deaths(6)
    assert aside_s(quarantine) == 60.0
    for _ in range(20):
        quarantine.answered(NOW_S + 61, ok=True)
    assert [quarantine.died(NOW_S + 61) for _ in range(5)] == [False] * 4 + [True]
    assert aside_s(quarantine, NOW_S + 61) == 30.0


def test_a_probe_that_is_answered_brings_it_back_on_probation() -> None:
    quarantine = after_deaths(5)
    quarantine.answered(NOW_S + 31, ok=False)
    assert quarantine.standing(NOW_S + 31) == "free"
    assert quarantine.left_s(NOW_S + 31) is None
    assert quarantine.died(NOW_S + 32)
    assert aside_s(quarantine, NOW_S + 32) == 60.0


def test_twenty_successes_clear_its_name() -> None:
    quarantine = after_deaths(5)
    for _ in range(20):
        quarantine.answered(NOW_S + 31, ok=True)
    assert not quarantine.suspect
    assert not quarantine.died(NOW_S + 32)


def test_what_still_ran_when_it_was_set_aside_is_no_probe() -> None:
    quarantine = after_deaths(5)
    quarantine.answered(NOW_S + 1, ok=True)
    assert quarantine.standing(NOW_S + 1) == "aside"
