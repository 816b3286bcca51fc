"""The gate's judgement: which way is worse, by how much, and what it says."""

from __future__ import annotations

import pytest

from tests.bench import gate
from tests.bench.gate import Kept
from tests.bench.ratios import Better, Ratio


def found(value: float, better: Better = "lower", name: str = "codec, tiny: codec / raw") -> dict[str, Ratio]:
    return {name: Ratio(name, value, 0.01, 5, better)}


def kept(value: float, better: Better = "lower", name: str = "codec, tiny: codec / raw") -> dict[str, Kept]:
    return {name: Kept(value, 0.01, better)}


@pytest.mark.parametrize(
    ("better", "before", "now", "share"),
    [
        ("lower", 2.0, 3.0, 0.5),
        ("lower", 2.0, 1.0, -0.5),
        ("higher", 3.0, 2.0, 0.5),
        ("higher", 1.0, 2.0, -0.5),
        ("lower", 2.0, 2.0, 0.0),
    ],
)
def test_worse_is_more_or_less_as_the_ratio_says(better: Better, before: float, now: float, share: float) -> None:
    assert gate.worse_by(Kept(before, 0.0, better), now) == pytest.approx(share)


@pytest.mark.parametrize(("better", "now"), [("lower", 2.41), ("higher", 1.65)])
def test_a_ratio_that_is_worse_by_more_than_a_fifth_is_named(better: Better, now: float) -> None:
    (line,) = gate.faults(kept(2.0, better), found(now, better))
    assert line.startswith("worse: codec, tiny: codec / raw: ")
    assert line.endswith(f"kept 2 ({better} is better): worse by 21%, 20% at most")


@pytest.mark.parametrize(("better", "now"), [("lower", 2.39), ("higher", 1.67), ("lower", 0.1), ("higher", 90.0)])
def test_one_that_is_a_little_worse_or_better_passes(better: Better, now: float) -> None:
    assert gate.faults(kept(2.0, better), found(now, better)) == []


def test_the_line_has_both_values_and_the_share() -> None:
    assert gate.faults(kept(1.5), found(3.0)) == [
        "worse: codec, tiny: codec / raw: 3, kept 1.5 (lower is better): worse by 100%, 20% at most"
    ]


def test_a_kept_ratio_that_was_not_measured_fails() -> None:
    assert gate.faults(kept(1.5), {}) == ["missing: codec, tiny: codec / raw: it is kept and was not measured"]


def test_a_ratio_that_is_not_kept_is_told_and_does_not_fail() -> None:
    assert gate.faults({}, found(1.234)) == []
    assert gate.notes({}, found(1.234)) == ["new: codec, tiny: codec / raw: 1.23, not kept yet"]


@pytest.mark.parametrize(("better", "now"), [("lower", 1.6), ("higher", 2.5)])
def test_one_that_is_better_by_more_than_a_fifth_is_told(better: Better, now: float) -> None:
    (line,) = gate.notes(kept(2.0, better), found(now, better))
    assert line.startswith("better: ")
    assert gate.notes(kept(2.0, better), found(2.0, better)) == []


def test_what_looks_worse_while_others_are_busy_is_unsure_and_does_not_fail() -> None:
    name = "codec, tiny: codec / raw"
    now = {name: Ratio(name, 3.0, 0.01, 5, "lower", busy=0.45)}
    assert gate.faults(kept(2.0), now) == []
    assert gate.doubts(kept(2.0), now) == [
        "unsure: codec, tiny: codec / raw: 3, kept 2 (lower is better): others took 45% of the machine meanwhile"
    ]
    assert gate.suspects(kept(2.0), now) == [name]


def test_nobody_doubts_what_is_well_or_was_measured_in_quiet() -> None:
    name = "codec, tiny: codec / raw"
    assert gate.doubts(kept(2.0), {name: Ratio(name, 2.0, 0.01, 5, "lower", busy=0.45)}) == []
    assert gate.doubts(kept(2.0), found(3.0)) == []


def test_only_what_is_worse_is_measured_again() -> None:
    before = {**kept(1.0, name="a: x / y"), **kept(1.0, name="b: x / y"), **kept(1.0, name="c: x / y")}
    now = {**found(1.5, name="a: x / y"), **found(1.1, name="b: x / y")}
    assert gate.suspects(before, now) == ["a: x / y"]


@pytest.mark.parametrize(("better", "values", "best"), [("lower", (3.0, 1.5, 2.0), 1.5), ("higher", (3.0, 1.5), 3.0)])
def test_of_several_looks_the_mildest_counts(better: Better, values: tuple[float, ...], best: float) -> None:
    chosen = gate.mildest(kept(1.0, better), [found(value, better) for value in values])
    assert [one.value for one in chosen.values()] == [best]


def test_a_ratio_that_is_not_kept_stays_as_it_was_found_first() -> None:
    chosen = gate.mildest({}, [found(3.0), found(1.0)])
    assert [one.value for one in chosen.values()] == [3.0]


def test_the_middle_of_several_looks_is_kept_and_how_far_they_lie_apart() -> None:
    assert gate.kept_of([found(2.0), found(8.0), found(4.0)]) == {"codec, tiny: codec / raw": Kept(4.0, 1.0, "lower")}
    assert gate.kept_of([found(2.0)]) == kept(2.0)
