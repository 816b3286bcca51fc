"""The live figures of `make load`: a line a second on stderr; in a terminal one line that changes in its place."""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO
from urllib.parse import quote, urlsplit

import psutil

from farm.client.blocking import Farm
from farm.errors import FarmError
from tests.bench.load_farm import Place
from tests.bench.load_result import Count, Histogram

COLUMNS: Final = (
    ("phase", 10),
    ("sent/s", 9),
    ("handled/s", 11),
    ("in flight", 11),
    ("waiting", 9),
    ("errors", 8),
    ("p50 ms", 9),
    ("p99 ms", 9),
    ("ingest MB", 11),
    ("workers MB", 12),
)
WIDTH: Final = sum(width for _, width in COLUMNS)
ANSWER_S: Final = 2.0
PROBE_S: Final = 0.05


@dataclass(frozen=True)
class Said:
    """What a driving program says of itself so far; None: it does not say."""

    errors: int | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


class Gauge:
    """A farm's counters and memory, asked from outside."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._farm: Farm = place.connect()
        self._pids = {role: place.pids(role) for role in ("ingest", "worker")}

    def close(self) -> None:
        """Ask no more."""
        self._farm.close()

    def count(self) -> Count:
        """The counters of the components that the subject reaches.

        Raises: FarmError: no answer.
        """
        ingest = self._place.pids("ingest")
        every: dict[str, Any] = self._farm.status(ANSWER_S)["components"]
        mine = [every[name] for name in self._place.components]
        names = ("received", "handled", "failed", "dead_lettered", "in_flight", "waiting")
        return Count(ingest[0] if ingest else None, *(sum(one[name] for one in mine) for name in names))

    def memory_bytes(self, role: str) -> int:
        """Resident memory of a role's processes."""
        try:
            return sum(psutil.Process(pid).memory_info().rss for pid in self._pids[role])
        except psutil.NoSuchProcess:  # one was replaced
            self._pids[role] = self._place.pids(role)
            return 0


class Probe(threading.Thread):
    """One publish over HTTP now and then: the latency of phases whose program tells it only at the end."""

    def __init__(self, place: Place, payload: bytes) -> None:
        super().__init__(name="probe", daemon=True)
        self._place = place
        self._payload = payload
        self._over = threading.Event()
        self.latencies = Histogram()
        self.accepted = 0
        self.unknown = 0

    def run(self) -> None:
        connection = http.client.HTTPConnection(urlsplit(self._place.url).netloc, timeout=10)
        path = f"/publish/{quote(self._place.subject)}"
        while not self._over.wait(PROBE_S):
            began_s = time.perf_counter()
            try:
                connection.request("POST", path, self._payload)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                self.unknown += 1
                continue
            self.accepted += answer.status == 202
            self.unknown += answer.status == 503
            self.latencies.record(int((time.perf_counter() - began_s) * 1e6))
        connection.close()

    def end(self) -> None:
        """Publish no more."""
        self._over.set()
        self.join()

    def said(self) -> Said:
        """What it found so far."""
        return Said(None, self.latencies.quantile_ms(0.5), self.latencies.quantile_ms(0.99))


class Figures:
    """Writes the lines."""

    def __init__(self, gauge: Gauge, out: TextIO = sys.stderr) -> None:
        self._gauge = gauge
        self._out = out
        self._live = out.isatty()
        self._phase = ""
        self._first = self._last = Count()
        self._last_s = 0.0
        self.samples: list[dict[str, Any]] = []
        self._write(aligned([name for name, _ in COLUMNS]))
        self._out.write("\n")

    def begin(self, phase: str, first: Count) -> None:
        """A phase begins."""
        self._phase, self._first, self._last, self._last_s = phase, first, first, time.monotonic()

    def end(self) -> None:
        """Its last line stays."""
        if self._live:
            self._out.write("\n")

    def tick(self, said: Said) -> None:
        """One line."""
        try:
            now = self._gauge.count()
        except FarmError as error:
            self._write(f"{self._phase:<10}  {error}")
            return
        took_s = max(time.monotonic() - self._last_s, 1e-3)
        if now.pid != self._last.pid:  # another life of ingest counts anew
            self._last = Count(now.pid)
        sent, handled = (now.received - self._last.received) / took_s, (now.handled - self._last.handled) / took_s
        self._last, self._last_s = now, time.monotonic()
        errors = now.failed - self._first.failed + (said.errors or 0)
        memory = [self._gauge.memory_bytes(role) / 1e6 for role in ("ingest", "worker")]
        values = (
            self._phase,
            f"{sent:,.0f}",
            f"{handled:,.0f}",
            f"{now.in_flight:,}",
            f"{now.waiting:,}",
            f"{errors:,}",
            shown_ms(said.p50_ms),
            shown_ms(said.p99_ms),
            f"{memory[0]:,.0f}",
            f"{memory[1]:,.0f}",
        )
        self.samples.append(dict(zip((name for name, _ in COLUMNS), values, strict=True)))
        self._write(aligned(values))
        if not self._live:
            self._out.write("\n")
        self._out.flush()

    def _write(self, line: str) -> None:
        if self._live:
            width = WIDTH
            with contextlib.suppress(OSError):  # a terminal of unknown width
                width = terminal_width(self._out)
            self._out.write(f"\r\x1b[K{line[: max(width - 1, 20)]}")
        else:
            self._out.write(line)


def aligned(values: Sequence[str]) -> str:
    """A line: the first word to the left, the others to the right of their columns."""
    widths = [width for _, width in COLUMNS]
    return values[0].ljust(widths[0]) + "".join(v.rjust(w) for v, w in zip(values[1:], widths[1:], strict=True))


def terminal_width(out: TextIO) -> int:
    """Its columns now: windows are resized.

    Raises: OSError: it has none.
    """
    return os.get_terminal_size(out.fileno()).columns or WIDTH


def shown_ms(value: float | None) -> str:
    """A latency as a person reads it."""
    return "-" if value is None else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
