"""The ledger of `make load` notices each thing that can be wrong with it."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from tests.bench.load_result import Count, Hearing, Histogram, Latency, Ledger, Result, result_of

BEFORE = Count(pid=7, received=100, handled=90, dead=2, waiting=8)
AFTER = Count(pid=7, received=150, handled=145, dead=4, waiting=1)
RESULT = Result(requests=50, accepted=50)
SOUND = Ledger(RESULT, BEFORE, AFTER)


def test_a_ledger_that_adds_up_has_no_faults() -> None:
    assert SOUND.faults() == []
    assert (SOUND.taken, SOUND.handled, SOUND.dead, SOUND.waiting) == (50, 55, 2, -7)


def test_an_accepted_message_that_never_came_in_is_a_fault() -> None:
    assert replace(SOUND, result=replace(RESULT, accepted=51)).faults() == ["1 accepted deliveries never came in"]


def test_one_that_nobody_published_is_a_fault_unless_nobody_saw_its_answer() -> None:
    short = replace(RESULT, accepted=49)
    assert replace(SOUND, result=short).faults() == ["1 deliveries came in that nobody published"]
    assert replace(SOUND, result=replace(short, unknown=1)).faults() == []


def test_a_probe_s_publishes_count() -> None:
    assert replace(SOUND, result=replace(RESULT, accepted=45), probes=4, probes_unknown=1).faults() == []


def test_a_message_makes_a_delivery_for_each_trigger() -> None:
    assert replace(SOUND, result=replace(RESULT, accepted=25), triggers=2).faults() == []


def test_one_that_came_in_and_is_nowhere_is_a_fault() -> None:
    assert replace(SOUND, after=replace(AFTER, handled=144)).faults() == [
        "50 came in, 49 are handled, dead letters or waiting"
    ]


def test_what_is_in_flight_is_somewhere() -> None:
    assert replace(SOUND, after=replace(AFTER, handled=144, in_flight=1)).faults() == []


def test_a_phase_in_which_nothing_was_accepted_proves_nothing() -> None:
    assert Ledger(Result(), BEFORE, BEFORE).faults() == ["nothing was accepted"]


def test_another_life_of_ingest_is_a_fault() -> None:
    assert replace(SOUND, after=replace(AFTER, pid=8)).faults()[0].startswith("ingest died")


def test_a_delivery_to_a_listener_that_is_missing_or_comes_twice_is_a_fault_and_a_reported_gap_is_not() -> None:
    def faults(hearing: Hearing) -> list[str]:
        return replace(SOUND, result=replace(RESULT, hearing=hearing)).faults()

    assert faults(Hearing(2, 50, 90, 0, 0, {"4408": 1})) == []
    assert faults(Hearing(2, 50, 99, 1, 0)) == ["1 deliveries to listeners are missing, and no gap was reported"]
    assert faults(Hearing(2, 50, 100, 0, 1)) == ["1 deliveries came twice to a listener"]


def test_a_quantile_is_within_a_hundredth_and_never_above_the_longest() -> None:
    latencies = Histogram()
    for us in range(1, 100_001):
        latencies.record(us)
    found = latencies.latency()
    assert (found.p50_ms, found.p99_ms, found.p999_ms) == pytest.approx((50.0, 99.0, 99.9), rel=0.01)
    assert found.max_ms == 100.0


def test_no_latency_is_no_number() -> None:
    assert Histogram().latency() == Latency(None, None, None, None)


@pytest.mark.parametrize("hearing", [None, Hearing(2, 50, 90, 0, 0, {"4408": 1})])
def test_a_result_survives_its_way_through_json(hearing: Hearing | None) -> None:
    result = replace(RESULT, latency=Latency(1.0, 2.0, 3.0, 4.0), errors={"full": 3}, hearing=hearing)
    assert result_of(asdict(result)) == result


def test_what_was_refused_is_no_part_of_the_rate() -> None:
    assert Result(requests=50, accepted=40, seconds=2.0).rate == 20.0
    assert Result(requests=90, accepted=50, seconds=2.0, hearing=Hearing(2, 50, 90, 0, 0)).rate == 45.0
