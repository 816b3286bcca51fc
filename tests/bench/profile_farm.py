"""Where does the time of ingest and of a worker go? A farm under steady load, and a picture of both.

    make profile                                        a guest by hand, 100 bytes, 1 worker
    make profile ARGS="--guest python --payload 1024"
Pictures in build/profile/{ingest,worker}.svg, the functions with most time of their own on stdout. py-spy stops a
process for each look at it: shares are right, rates are not; costs a message are measured before it starts.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from farm.client.blocking import Farm
from farm.client.bulk import Tally
from farm.errors import FarmError, Internal, NotPermitted, Problem, SourceMissing
from farm.wire.relay import Publish
from tests.bench import machine
from tests.bench.load_farm import GUESTS, ROOT, SUBJECT, Place, Wanted, started
from tests.bench.profile_flame import flame
from tests.bench.profile_stacks import Row, Stack, by_code, stacks, top, working

KEPT: Final = ROOT / "build" / "profile"
UP: Final = (sys.executable, "-P", str(ROOT / "tests" / "bench" / "profile_up.py"))
RATE: Final = 250  # looks a second
WINDOW: Final = 4096  # messages taken and not yet handled: never an empty queue, never a full one
LOOK_S: Final = 0.02
WARM_S: Final = 2.0
TOP: Final = 25
REFUSED: Final = re.compile(r"permission denied|not permitted", re.IGNORECASE)


@dataclass(frozen=True)
class Cost:
    """What one process cost while nobody watched: CPU us a message, and each thread's share of it."""

    pid: int
    message_us: float
    threads: dict[str, float]


class Stream(threading.Thread):
    """A publisher that keeps `WINDOW` messages in the farm, until it is stopped."""

    def __init__(self, place: Place, payload: bytes) -> None:
        super().__init__(name="stream", daemon=True)
        self._place = place
        self._item = Publish(SUBJECT, payload)
        self._over = threading.Event()
        self._settled = 0
        self._offered = 0
        self.tally = Tally()

    def run(self) -> None:
        with suppress(FarmError), self._place.connect() as farm:  # a farm that ends is noticed where its cost is read
            self.tally = farm.publish_many(self._items(), wait=False)

    def end(self) -> None:
        """Publish no more, and wait for what is on its way."""
        self._over.set()
        self.join()

    def settle(self, count: int) -> None:
        """So many are settled, in all."""
        self._settled = count

    def _items(self) -> Iterator[Publish | None]:
        while not self._over.is_set():
            if self._offered - self._settled < WINDOW:
                self._offered += 1
                yield self._item
            else:
                yield None


class Watch(threading.Thread):
    """Tells a stream how many messages are settled."""

    def __init__(self, place: Place, stream: Stream) -> None:
        super().__init__(name="watch", daemon=True)
        self._place = place
        self._stream = stream
        self._over = threading.Event()
        self.settled = 0

    def run(self) -> None:
        with suppress(FarmError), self._place.connect() as farm:  # likewise
            while not self._over.wait(LOOK_S):
                self.settled = settled(farm)
                self._stream.settle(self.settled)

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()


def settled(farm: Farm) -> int:
    """How many messages are done with."""
    echo = farm.status(5.0)["components"]["echo"]
    return echo["handled"] + echo["dead_lettered"]


def thread_times(pid: int) -> dict[str, float]:
    """CPU seconds of each thread, those of one name together."""
    found: dict[str, float] = {}
    for thread in psutil.Process(pid).threads():
        name = Path(f"/proc/{pid}/task/{thread.id}/comm").read_text().strip()
        name = "main" if thread.id == pid else name
        found[name] = found.get(name, 0.0) + thread.user_time + thread.system_time
    return found


def costs(pids: dict[str, int], watch: Watch) -> tuple[float, dict[str, Cost]]:
    """Messages/s, and what each process cost, over WARM_S seconds without py-spy."""
    before, count, began_s = {role: thread_times(pid) for role, pid in pids.items()}, watch.settled, time.monotonic()
    time.sleep(WARM_S)
    handled, took_s = watch.settled - count, time.monotonic() - began_s
    found: dict[str, Cost] = {}
    for role, pid in pids.items():
        spent = {name: used_s - before[role].get(name, 0.0) for name, used_s in thread_times(pid).items()}
        every = sum(spent.values()) or 1.0
        found[role] = Cost(pid, every / max(handled, 1) * 1e6, {name: used / every for name, used in spent.items()})
    return handled / took_s, found


def py_spy() -> str:
    """Its path.

    Raises: SourceMissing: it is not installed.
    """
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise SourceMissing(Problem("py-spy is not installed", todo="`make install` brings it"))
    return found


def record(spy: str, pid: int, seconds: int) -> list[Stack]:
    """What a process did for so many seconds.

    Raises:
      NotPermitted: this user may not look into it.
      Internal: py-spy failed otherwise.
    """
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        words = ["--native", "--rate", str(RATE), "--duration", str(seconds), "--format", "raw", "--output", str(raw)]
        done = subprocess.run([spy, "record", *words, "--pid", str(pid)], capture_output=True, text=True)
        if done.returncode == 0 and raw.exists():
            return stacks(raw.read_text().splitlines())
    said = done.stderr.strip().splitlines() or [f"py-spy ended with {done.returncode}"]
    why = next((line for line in said if REFUSED.search(line)), None)
    if why is None:
        raise Internal(Problem("py-spy failed", where=f"pid {pid}", why=said[-1].strip()))
    todo = "Try `sudo make profile`, or `sysctl kernel.yama.ptrace_scope=1`; in a container, --cap-add SYS_PTRACE"
    raise NotPermitted(Problem("this user may not look into a process", where=f"pid {pid}", why=why.strip(), todo=todo))


def show(role: str, cost: Cost, found: list[Stack]) -> list[Stack]:
    """One process's table; the stacks in which it worked."""
    busy = working(found)
    every, count = sum(stack.count for stack in found), sum(stack.count for stack in busy)
    shares = sorted(((share, name) for name, share in cost.threads.items() if share >= 0.005), reverse=True)
    threads = ", ".join(f"{name} {share:.0%}" for share, name in shares)
    print(f"\n{role}: {cost.message_us:.1f} us of CPU a message ({threads})")
    print(f"main thread: {count} samples, and {every - count} in which it waits, left out")
    print("own time by code: " + ", ".join(f"{owner} {share:.0%}" for owner, share in by_code(busy)[:8]))
    print(f"{'own':>6}{'+native':>9}{'total':>8}  function")
    for row in top(busy, TOP):
        print(line(row))
    return busy


def line(row: Row) -> str:
    """One function's line."""
    return f"{row.own:>6.1%}{row.native:>9.1%}{row.total:>8.1%}  {row.name}  {row.place}"


def profile(options: argparse.Namespace) -> None:
    """Start, load, look, show."""
    spy = py_spy()
    wanted = Wanted(options.guest, options.workers, UP, {"PYTHONPATH": str(ROOT)})
    about = f"{options.guest} guest, {options.payload} B, {options.workers} worker{'s' * (options.workers > 1)}"
    print(", ".join(f"{key} {value}" for key, value in machine.describe().items()))
    with started(wanted) as place:
        pids = {"ingest": place.pids("ingest")[0], "worker": place.pids("worker")[0]}
        stream = Stream(place, b"x" * options.payload)
        watch = Watch(place, stream)
        stream.start()
        watch.start()
        try:
            time.sleep(WARM_S)
            rate, found = costs(pids, watch)
            print(f"{about}: {rate:,.0f} messages/s before py-spy looks")
            KEPT.mkdir(parents=True, exist_ok=True)
            for role, pid in pids.items():
                worked = show(role, found[role], record(spy, pid, options.seconds))
                (KEPT / f"{role}.svg").write_text(flame(f"{role}: {about}", worked))
        finally:
            stream.end()
            watch.end()
        if stream.tally.refused:
            print(f"{stream.tally.refused} publishes were refused: {stream.tally.refusal}", file=sys.stderr)
    print(f"\npictures: {KEPT.relative_to(ROOT)}/ingest.svg, {KEPT.relative_to(ROOT)}/worker.svg")


def main() -> int:
    """Read the command line, profile; the exit code."""
    parser = argparse.ArgumentParser(
        prog="make profile", description="Show where ingest and a worker spend their time."
    )
    parser.add_argument("--guest", choices=tuple(GUESTS), default="tiny")
    parser.add_argument("--payload", type=int, default=100, metavar="BYTES")
    parser.add_argument("--seconds", type=int, default=10, help="how long to look at each process")
    parser.add_argument("--workers", type=int, default=1)
    try:
        profile(parser.parse_args())
    except FarmError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return error.exit_code
    except psutil.NoSuchProcess as error:
        print(f"error: a process of the farm died while it was watched (pid {error.pid})", file=sys.stderr)
        return 70
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
