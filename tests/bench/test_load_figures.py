"""The live figures: one line that changes in a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

from farm.errors import Problem, Unanswered
from tests.bench.load_figures import COLUMNS, Figures, Gauge, Said
from tests.bench.load_result import Count


class Dial(Gauge):
    """A gauge that shows what it is set to."""

    def __init__(self) -> None:
        self.shown: Count | None = Count(pid=1)

    def count(self) -> Count:
        if self.shown is None:
            raise Unanswered(Problem("the farm gave no answer"))
        return self.shown

    def memory_bytes(self, role: str) -> int:
        return {"ingest": 53_000_000, "worker": 116_000_000}[role]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(out: io.StringIO) -> str:
    dial = Dial()
    figures = Figures(dial, out)
    figures.begin("relay", Count(pid=1))
    dial.shown = Count(pid=1, received=1000, handled=900, failed=2, in_flight=30, waiting=70)
    figures.tick(Said(errors=3, p50_ms=1.234, p99_ms=250.0))
    figures.tick(Said())
    figures.end()
    return out.getvalue()


def test_elsewhere_each_figure_is_a_plain_line_under_its_head() -> None:
    head, first, second = written(io.StringIO()).splitlines()
    assert head.split() == " ".join(name for name, _ in COLUMNS).split()
    assert [first.split()[n] for n in (0, 3, 4, 5, 6, 7, 8, 9)] == [
        "relay",
        "30",
        "70",
        "5",
        "1.23",
        "250",
        "53",
        "116",
    ]
    assert second.split()[6:8] == ["-", "-"]
    assert len(head) == len(first) == len(second)


def test_in_a_terminal_a_figure_takes_the_place_of_the_one_before_and_the_last_stays() -> None:
    head, line, rest = written(Terminal()).split("\n")
    assert rest == ""
    assert line.count("\r\x1b[K") == 2
    assert len(head) <= len("\r\x1b[K") + sum(width for _, width in COLUMNS)


def test_a_farm_that_does_not_answer_is_said() -> None:
    dial, out = Dial(), io.StringIO()
    figures = Figures(dial, out)
    figures.begin("wrk", Count(pid=1))
    dial.shown = None
    figures.tick(Said())
    assert out.getvalue().splitlines()[-1] == "wrk         the farm gave no answer"
