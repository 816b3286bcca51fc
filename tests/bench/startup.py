"""How long a start takes: exec to ready, in turn with a bare interpreter that imports the same libraries."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.bench import farms, machine
from tests.bench.ratios import quantile, ratio
from tests.bench.report import Effort, Report, Row, Say, Table
from tests.system.family import FARM

WORKERS: Final = 8
IMPORTS: Final = "import wasmtime, sanic, zmq, pydantic"
TYPER: Final = '''
import typer

app = typer.Typer()


@app.command()
def hello(name: str = "you") -> None:
    """Say hello."""


app()
'''
HEADS: Final = {
    "what": "exec to end, or to ready",
    "p50_ms": "p50 ms",
    "beside": "beside",
    "beside_ms": "ms",
    "ratio": "ratio",
}


def measure(effort: Effort, say: Say) -> Report:
    """The whole section."""
    report = Report()
    with tempfile.TemporaryDirectory() as folder, farms.farm(["Python"], gateway=True) as farm:
        app = Path(folder) / "bare.py"
        app.write_text(TYPER)

        def up() -> float:
            began_s = time.perf_counter()
            farm.up(WORKERS)
            took_s = time.perf_counter() - began_s
            farm.down()
            farm.kill()
            return took_s

        rows = [
            Start(f"farm up --workers {WORKERS}", up, f'python -c "{IMPORTS}"', [sys.executable, "-c", IMPORTS]),
            Start("farm --help", lambda: _run([FARM, "--help"]), "a bare typer app", [sys.executable, app, "--help"]),
        ]
        shown: list[Row] = [one.measure(effort, say, report) for one in rows]
    report.tables.append(Table("startup", "startup: in turn, caches warm", HEADS, shown))
    return report


class Start:
    """One start, and what it is compared with."""

    def __init__(self, what: str, start: Callable[[], float], beside: str, words: Sequence[str | Path]) -> None:
        self._what, self._start, self._beside, self._words = what, start, beside, words

    def measure(self, effort: Effort, say: Say, report: Report) -> Row:
        """In turn, after one of each that does not count."""
        say(f"startup: {self._what}")
        self._start()
        _run(self._words)
        taken, busy = machine.quiet_rounds(
            lambda _: (self._start(), _run(self._words)), effort.pairs + 2, effort.rounds + 2
        )
        own, bare = [a for a, _ in taken], [b for _, b in taken]
        made = ratio(f"startup: {self._what} / {self._beside}", "lower", own, bare)
        report.ratios.append(made)
        report.disturbed(len(report.ratios) - 1, busy)
        return {
            "what": self._what,
            "p50_ms": quantile(own, 0.5) * 1e3,
            "beside": self._beside,
            "beside_ms": quantile(bare, 0.5) * 1e3,
            "ratio": made.value,
        }


def _run(words: Sequence[str | Path]) -> float:
    began_s = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began_s
