"""Drive a farm as hard as it takes it, over HTTP, the relay and WebSockets, and check that nothing is lost on the way.

    make load                                                          a farm of its own, about a minute
    make load ARGS="--seconds 30 --connections 256 --workers 2"
    make load ARGS="--url http://127.0.0.1:3005 --farm example-app"    one that runs, used by nobody else
docs/load-tests.md says how to read what it shows. build/load.json keeps it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import IO, Final

from farm.errors import FarmError
from tests.bench import machine
from tests.bench.load_farm import GUESTS, ROOT, Place, Wanted, running, started
from tests.bench.load_figures import Figures, Gauge, Probe, Said
from tests.bench.load_phases import NAMES, Phase, installed, phases
from tests.bench.load_result import Count, Ledger
from tests.bench.load_summary import ledger_lines, result_lines

KEPT: Final = ROOT / "build" / "load.json"
TICK_S: Final = 1.0
STOP_S: Final = 20.0  # for a driving program to end after SIGINT
SETTLE_S: Final = 60.0


class Driver:
    """A driving program that runs."""

    def __init__(self, phase: Phase) -> None:
        self._process = subprocess.Popen(
            phase.command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for this program, which passes it on
        )
        assert self._process.stdout is not None
        self._lines: list[str] = []
        self.said = Said()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether it still drives."""
        return self._process.poll() is None

    def interrupt(self) -> None:
        """Have it end in order."""
        if self.alive:
            self._process.send_signal(signal.SIGINT)

    def output(self) -> str:
        """All that it printed, once it has ended."""
        try:
            self._process.wait(STOP_S)
        finally:
            self.kill()
        self._reader.join(STOP_S)
        return "".join(self._lines)

    def kill(self) -> None:
        """End it however it stands."""
        if self.alive:
            self._process.kill()
            self._process.wait()

    def _read(self, pipe: IO[str]) -> None:
        for line in pipe:
            if line.startswith('{"errors"'):
                said = json.loads(line)
                self.said = Said(said["errors"], said["p50"], said["p99"])
            else:
                self._lines.append(line)


class Interrupts:
    """Ctrl-C: the first ends the driving program in order, a second this one."""

    def __init__(self) -> None:
        self.count = 0
        self.driver: Driver | None = None
        signal.signal(signal.SIGINT, self._count)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt
        if self.driver is not None:
            self.driver.interrupt()


def run_phase(phase: Phase, place: Place, figures: Figures, gauge: Gauge, interrupts: Interrupts) -> Ledger:
    """Drive, watch, wait until all is settled; what came of it."""
    before = gauge.count()
    figures.begin(phase.name, before)
    probe = Probe(place, b"probe") if phase.probed else None
    driver = interrupts.driver = Driver(phase)
    try:
        with nullcontext() if probe is None else probing(probe):
            while driver.alive:
                wait(TICK_S, lambda: not driver.alive)
                figures.tick(driver.said if probe is None else probe.said())
        result = phase.read(driver.output())
    finally:
        driver.kill()
    after = settle(gauge, figures, driver.said if probe is None else probe.said())
    figures.end()
    triggers = sum(place.components.values())
    return Ledger(result, before, after, triggers, probe.accepted if probe else 0, probe.unknown if probe else 0)


@contextmanager
def probing(probe: Probe) -> Iterator[None]:
    """It probes meanwhile."""
    probe.start()
    try:
        yield
    finally:
        probe.end()


def wait(seconds: float, enough: Callable[[], bool]) -> None:
    """So long, or until it is enough."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s and not enough():
        time.sleep(0.02)


def settle(gauge: Gauge, figures: Figures, said: Said) -> Count:
    """Wait until nothing waits and nothing is in flight, or for SETTLE_S; the counters then."""
    end_s, tick_s = time.monotonic() + SETTLE_S, time.monotonic() + TICK_S
    while True:
        count = gauge.count()
        if not (count.waiting or count.in_flight) or time.monotonic() > end_s:
            return count
        if time.monotonic() > tick_s:
            figures.tick(said)
            tick_s += TICK_S
        time.sleep(0.05)


def drive(options: argparse.Namespace, place: Place, interrupts: Interrupts) -> dict[str, Ledger]:
    """All phases, until one is interrupted."""
    gauge = Gauge(place)
    figures = Figures(gauge)
    ledgers: dict[str, Ledger] = {}
    with tempfile.TemporaryDirectory() as folder:
        for phase in phases(options, place, Path(folder)):
            ledgers[phase.name] = run_phase(phase, place, figures, gauge, interrupts)
            if interrupts.count:
                break
    gauge.close()
    return ledgers


def report(options: argparse.Namespace, here: dict[str, str | int | float], ledgers: dict[str, Ledger]) -> int:
    """Print and keep; the exit code."""
    print(machine_line(here))
    other = {"guest", "workers"} if options.farm else set[str]()
    asked = {name: value for name, value in vars(options).items() if value is not None and name not in other}
    print(", ".join(f"{key} {value}" for key, value in asked.items() if key not in {"phases", "json"}), end="\n\n")
    print("\n".join(result_lines({name: ledger.result for name, ledger in ledgers.items()})), end="\n\n")
    print("\n".join(ledger_lines(ledgers)))
    found = {name: {"result": asdict(one.result), "ledger": one.plain()} for name, one in ledgers.items()}
    options.json.parent.mkdir(exist_ok=True)
    kept = {"machine": here, "options": asked, "phases": found}
    options.json.write_text(json.dumps(kept, indent=2, default=str) + "\n")
    print(f"kept in {os.path.relpath(options.json)}")
    return 1 if any(ledger.faults() for ledger in ledgers.values()) else 0


def machine_line(here: dict[str, str | int | float]) -> str:
    """What it ran on, as a person reads it."""
    return ", ".join(f"{key} {value}" for key, value in here.items() if key not in machine.LIBRARIES)


def load(options: argparse.Namespace) -> int:
    """Everything; the exit code."""
    options.phases = installed(options.phases)
    here, others, interrupts = machine.describe(), machine.Others(), Interrupts()
    if options.farm is None:
        with started(Wanted(options.guest, options.workers)) as place:
            ledgers = drive(options, place, interrupts)
        here["others"] = round(others.share(), 2)  # of the machine, meanwhile
    else:
        ledgers = drive(options, running(options.farm, options.url, options.subject), interrupts)
    code = report(options, here, ledgers)
    return code or (130 if interrupts.count else 0)


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="make load", description="Drive a farm hard, and check that nothing is lost.")
    parser.add_argument("--seconds", type=whole, default=10, help="of each phase")
    parser.add_argument("--connections", type=whole, default=64, help="publishers at once")
    parser.add_argument("--listeners", type=whole, default=50, help="WebSockets that listen")
    parser.add_argument("--payload", type=whole, default=100, metavar="BYTES")
    parser.add_argument("--phases", type=names, default=NAMES, metavar=",".join(NAMES))
    parser.add_argument("--json", type=Path, default=KEPT, metavar="FILE", help="where to keep all that was found")
    own = parser.add_argument_group("a farm of its own")
    own.add_argument("--workers", type=whole, help="default: one per core")
    own.add_argument("--guest", choices=tuple(GUESTS), default="tiny")
    other = parser.add_argument_group("a farm that runs")
    other.add_argument("--url", help="of the gateway: http://127.0.0.1:3005")
    other.add_argument("--farm", type=Path, metavar="DIR", help="the folder of its farm.toml")
    other.add_argument("--subject", help="default: one that the first trigger matches")
    options = parser.parse_args(words)
    if (options.url is None) != (options.farm is None):
        parser.error("--url and --farm go together")
    return options


def whole(text: str) -> int:
    """A number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def names(text: str) -> tuple[str, ...]:
    """Phases, by name."""
    found = tuple(text.split(","))
    if unknown := [name for name in found if name not in NAMES]:
        raise argparse.ArgumentTypeError(f"no phase {unknown[0]!r}: {', '.join(NAMES)}")
    return found


def main() -> int:
    """Read the command line, drive; the exit code."""
    try:
        return load(arguments())
    except FarmError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
