"""The bars of reliability with small numbers: the same programs as `make bars`, without a word about speed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.bars_burst import Burst, burst
from tests.bench.bars_fair import Plan, fair
from tests.bench.bars_once import once
from tests.bench.bars_revoke import revoke


def test_every_message_is_handled_once_under_its_own_id(tmp_path: Path) -> None:
    assert once(tmp_path, first=1000, count=5000).faults == []


BURSTS = (
    Burst("small ones by the relay", 30_000, 16, by_http=False, handler_ms=1),
    Burst("large ones by the relay", 400, 1_000_000, by_http=False, handler_ms=100),
    Burst("large ones by HTTP", 400, 1_000_000, by_http=True, handler_ms=100),
)


@pytest.mark.parametrize("wanted", BURSTS, ids=lambda wanted: wanted.title)
def test_what_is_too_much_is_refused_in_clear_words_and_the_rest_is_handled(wanted: Burst, tmp_path: Path) -> None:
    found = burst(tmp_path, wanted)
    assert found.faults == []
    assert found.codes.total() > 0, "a farm that was never full proves nothing"
    assert found.held_bytes <= found.allowed_bytes


def test_a_slow_neighbour_costs_no_message(tmp_path: Path) -> None:
    plan = Plan(pairs=1, seconds=1.5)
    found = fair(tmp_path, plan)
    assert found.faults == []
    assert [len(stretch) for stretch in (*found.alone, *found.beside)] == [300, 300]


def test_what_is_taken_back_from_long_calls_runs_once(tmp_path: Path) -> None:
    found = revoke(tmp_path, take_backs=60)
    assert found.faults == []
    assert found.take_backs >= 60
