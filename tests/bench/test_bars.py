from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import bars
from tests.bench.bars_witness import Bar, exactly

GOOD, BAD = Bar("rest", "1.01", "<= 1.05", True), exactly("once", "10 messages", ["1 handled twice: m7"])


@pytest.fixture(autouse=True)
def _two(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(bar: Bar) -> Iterator[Bar]:
        yield bar

    def good(_: Path) -> Iterator[Bar]:
        return of(GOOD)

    def bad(_: Path) -> Iterator[Bar]:
        return of(BAD)

    monkeypatch.setattr(bars, "BARS", {"good": good, "bad": bad})


def test_the_table_says_what_was_measured_and_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert bars.main(["good"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "| rest | 1.01 | <= 1.05 | yes |"


def test_one_bar_that_does_not_hold_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert bars.main([]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "| once | 10 messages; 1 handled twice: m7 | no fault | NO |"


def test_an_unknown_bar_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bars.main(["goood"])
    assert "no bar 'goood': there are good, bad" in capsys.readouterr().err
