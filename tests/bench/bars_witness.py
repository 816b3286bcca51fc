"""What the bars look at farm with: a client that notes what was accepted, an ear for what came out, and /proc."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from farm.client.blocking import Farm, Missed
from farm.client.session import News, Settled
from farm.message import keyed_id
from farm.rundir import Rundir
from farm.wire.relay import Accepted
from tests.bench.ledger import Ledger
from tests.system.family import Family, wait_until

LOOK_S: Final = 0.2
PATIENCE_S: Final = 300.0
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Bar:
    """One line of the table: what was to be shown, what was found, and whether that is enough."""

    name: str
    measured: str
    wanted: str
    holds: bool


def exactly(name: str, what: str, faults: list[str]) -> Bar:
    """The line of a ledger: it has no fault."""
    return Bar(name, "; ".join([what, *faults]), "no fault", not faults)


@dataclass
class Sent:
    """The messages of one run, numbered, each with a key of which farm makes the id: so both are known beforehand."""

    run: str
    payload: Callable[[int], bytes]
    _stem: str = field(init=False)

    def __post_init__(self) -> None:
        self._stem = keyed_id(str(os.getuid()), self.key(0)).rpartition("-")[0]

    def key(self, number: int) -> str:
        """The idempotency key of a message."""
        return f"{self.run}#{number}"

    def number(self, message_id: str) -> int:
        """Which message an id belongs to; -1: to none of these."""
        stem, _, number = message_id.rpartition("-")
        return int(number) if stem == self._stem else -1


class Witness(Farm):
    """A client that enters what farm accepts into a ledger, and counts the codes of what it refuses."""

    def __init__(self, rundir: Rundir, ledger: Ledger, sent: Sent) -> None:
        super().__init__(rundir)
        self.codes: Counter[str] = Counter()
        self._ledger = ledger
        self._sent = sent

    def turn(self, wait_s: float) -> list[News]:
        """As every client's, and takes note."""
        news = super().turn(wait_s)
        for one in news:
            if not isinstance(one, Settled):
                continue
            outcome = one.outcome
            if isinstance(outcome, Accepted):
                self._ledger.accept(outcome.id, self._sent.payload(self._sent.number(outcome.id)))
            else:
                self.codes[f"{outcome.code}{', try again' if outcome.retry else ''}"] += 1
        return news


class Ear(threading.Thread):
    """Hears what comes out, with a client of its own, while the block of its `with` runs."""

    def __init__(self, farm: Family, pattern: str, ledger: Ledger) -> None:
        super().__init__(name="ear")
        self._farm = farm
        self._pattern = pattern
        self._ledger = ledger
        self._live = threading.Event()
        self._ended = False

    def run(self) -> None:
        """Until the block has ended."""
        ledger = self._ledger
        with self._farm.connect() as client, client.subscribe(self._pattern) as heard:
            self._live.set()
            while not self._ended:
                word = heard.next(LOOK_S)
                if isinstance(word, Missed):
                    ledger.missed += max(1, word.count)
                elif word is not None:
                    ledger.see(word.id, word.payload)

    def wait_for_all(self, patience_s: float = PATIENCE_S) -> None:
        """Until as much was heard as was accepted, or nothing new comes for a while: the ledger judges."""
        wait_until(lambda: self._farm_is_quiet(), "every message to be settled", patience_s)
        end = time.monotonic() + 2.0
        while self._ledger.seen_count < self._ledger.accepted_count and time.monotonic() < end:
            time.sleep(LOOK_S / 10)

    def _farm_is_quiet(self) -> bool:
        return all(not (one["waiting"] or one["in_flight"]) for one in self._farm.counters()["components"].values())

    def __enter__(self) -> Self:
        self.start()
        assert self._live.wait(30.0), "the ledger's listener is not live"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        time.sleep(2 * LOOK_S)  # what comes twice comes late
        self._ended = True
        self.join(30.0)


def rss_bytes(pid: int) -> int:
    """What a process holds in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def peak_bytes(pid: int) -> int:
    """The most it has ever held, as the kernel knows it: no sample can miss a peak."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


def mib(size_bytes: float) -> str:
    """For a person."""
    return f"{size_bytes / (1 << 20):,.1f} MiB"
