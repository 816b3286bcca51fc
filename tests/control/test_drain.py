"""Who finishes when, with a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.control.drain import DRAIN_S, Drain

START_S = 12_345.0


def test_gateway_then_ingest_then_workers_then_servers() -> None:
    drain = Drain(START_S)
    stages = [drain.advance(START_S) for _ in range(5)]
    assert [stage and stage.role for stage in stages] == ["gateway", "ingest", "worker", "server", None]


def test_a_role_has_begun_to_end_from_its_stage_on() -> None:
    drain = Drain(START_S)
    assert not drain.begun("gateway")
    drain.advance(START_S)
    assert drain.begun("gateway")
    assert not drain.begun("worker")


def test_the_gateway_has_10_s_and_ingest_what_is_left_but_3() -> None:
    drain = Drain(START_S)
    gateway = drain.advance(START_S)
    assert gateway is not None
    assert gateway.over_at_s == START_S + 10
    ingest = drain.advance(START_S + 1)
    assert ingest is not None
    assert ingest.over_at_s == START_S + 22


@given(st.floats(0, 12), st.floats(0, 12), st.sampled_from([DRAIN_S, 5.0]))
def test_everybody_is_told_less_than_they_get_and_all_ends_in_time(
    gateway: float, ingest: float, within: float
) -> None:
    drain, now_s = Drain(START_S, within), START_S
    for taken_s in (gateway, ingest, 100.0, 100.0):
        stage = drain.advance(now_s)
        assert stage is not None
        assert 0 < stage.told_s < stage.over_at_s - now_s
        now_s = min(now_s + taken_s, stage.over_at_s)
    assert now_s <= START_S + within + 1.0


@pytest.mark.parametrize("late_s", [DRAIN_S, DRAIN_S * 10])
def test_even_a_late_stage_gets_a_second(late_s: float) -> None:
    drain = Drain(START_S)
    stage = drain.advance(START_S + late_s)
    assert stage is not None
    assert stage.over_at_s == START_S + late_s + 1.0
