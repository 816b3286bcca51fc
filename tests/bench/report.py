"""What a section reports: tables for people, the same rows for programs, ratios for the gate. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tests.bench.ratios import Ratio

Cell = str | int | float | None
Row = dict[str, Cell]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How thoroughly to measure. whole: every size and guest, or those alone that the gate looks at."""

    name: str
    whole: bool
    pairs: int
    rounds: int  # at most, to find as many pairs that others did not disturb
    cell_s: float  # for one cell of a table that is filled in this process
    window_s: float  # for one look at a farm under load
    load_s: float  # for one open-loop run


FULL = Effort("full", whole=True, pairs=3, rounds=3, cell_s=0.8, window_s=0.3, load_s=4.0)
QUICK = Effort("quick", whole=True, pairs=1, rounds=1, cell_s=0.2, window_s=0.2, load_s=1.0)
GATE = Effort("gate", whole=False, pairs=5, rounds=9, cell_s=1.0, window_s=0.4, load_s=0.0)


@dataclass(frozen=True)
class Table:
    """Rows under heads. `heads`: key of a row -> how the column is headed."""

    key: str
    title: str
    heads: dict[str, str]
    rows: list[Row]
    notes: Sequence[str] = ()

    def text(self) -> str:
        """As it is printed."""
        columns = [[head, *(shown(row.get(key)) for row in self.rows)] for key, head in self.heads.items()]
        widths = [max(map(len, column)) for column in columns]
        lines = [
            "  ".join(cell.ljust(width) if left else cell.rjust(width) for cell, width, left in line)
            for line in (zip(line, widths, self._left(), strict=True) for line in zip(*columns, strict=True))
        ]
        return "\n".join([f"## {self.title}", *(line.rstrip() for line in lines), *self.notes])

    def _left(self) -> list[bool]:
        return [all(isinstance(row.get(key), str | None) for row in self.rows) for key in self.heads]


@dataclass
class Report:
    """One section's results."""

    tables: list[Table] = field(default_factory=list[Table])
    ratios: list[Ratio] = field(default_factory=list[Ratio])

    def disturbed(self, since: int, busy: float) -> None:
        """Say of the ratios from number `since` on how much of the machine others took meanwhile."""
        self.ratios[since:] = [replace(one, busy=round(busy, 2)) for one in self.ratios[since:]]


def shown(value: Cell) -> str:
    """A cell as text: three digits that count, thousands parted."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def size_name(size_bytes: int) -> str:
    """ "100 B", "10 KB"."""
    return f"{size_bytes >> 10} KB" if size_bytes >= 1024 else f"{size_bytes} B"
