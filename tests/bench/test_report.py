"""What a section prints."""

from __future__ import annotations

import pytest

from tests.bench import aims
from tests.bench.ratios import Ratio
from tests.bench.report import Cell, Report, Table, shown, size_name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("x", "x"),
        (12345, "12,345"),
        (12345.6, "12,346"),
        (99.95, "100.0"),
        (12.34, "12.3"),
        (1.234, "1.23"),
    ],
)
def test_three_digits_count(value: Cell, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(("size", "name"), [(100, "100 B"), (1024, "1 KB"), (102400, "100 KB")])
def test_sizes_are_named_for_people(size: int, name: str) -> None:
    assert size_name(size) == name


def test_words_stand_left_and_numbers_right() -> None:
    heads = {"guest": "guest", "us": "us"}
    table = Table("t", "title", heads, [{"guest": "tiny", "us": 1.5}, {"guest": "Python"}], ["a note"])
    assert table.text() == "## title\nguest     us\ntiny    1.50\nPython     -\na note"


@pytest.mark.parametrize(
    ("value", "verdict"), [(1.2, "met"), (1.6, "met"), (2.4, "missed by 50%")], ids=["within", "at the limit", "beyond"]
)
def test_an_aim_is_met_or_missed_by_a_share(value: float, verdict: str) -> None:
    table = aims.table([Ratio("codec, Python, 100 B text: codec / raw", value, 0.0, 3, "lower")])
    assert table is not None
    assert [row["verdict"] for row in table.rows] == [verdict]


def test_where_more_is_better_less_misses_the_aim() -> None:
    aim = aims.Aim("a / b", 8.0)
    assert aims.missed_by(aim, Ratio("a / b", 4.0, 0.0, 3, "higher")) == 1.0
    assert aims.missed_by(aim, Ratio("a / b", 9.0, 0.0, 3, "higher")) < 0


def test_a_run_that_says_nothing_of_any_aim_has_no_table() -> None:
    assert aims.table([Ratio("something else", 1.0, 0.0, 1, "lower")]) is None


def test_a_report_says_of_its_last_ratios_how_busy_others_were() -> None:
    report = Report(ratios=[Ratio("a / b", 1.0, 0.0, 1, "lower"), Ratio("c / d", 1.0, 0.0, 1, "lower")])
    report.disturbed(1, 0.333)
    assert [one.busy for one in report.ratios] == [0.0, 0.33]
