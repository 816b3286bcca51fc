"""What a measurement ran on, and the clocks and memory of other processes."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

LIBRARIES: Final = ("wasmtime", "componentize-py", "pyzmq", "msgspec", "uvloop", "sanic", "pydantic")
QUIET: Final = 0.1  # of the machine
CPU_CLOCK: Final = 2  # CPUCLOCK_SCHED in the clock ids of processes


def describe() -> dict[str, str | int | float]:
    """The machine, and how busy it was: compare figures only where all of this but the load is the same."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_bytes / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "load_before": round(os.getloadavg()[0], 2),
    }


def differences(kept: dict[str, str | int | float], here: dict[str, str | int | float]) -> list[str]:
    """In what another machine differs from this one, its load aside: "cores 8, here 2"."""
    names = [name for name in kept if name != "load_before" and kept[name] != here.get(name)]
    return [f"{name} {kept[name]}, here {here.get(name, 'unknown')}" for name in names]


def cpu_ns(pids: Iterable[int]) -> int:
    """CPU time that these processes have used, all their threads included: in ns, where /proc counts in 10 ms.

    Source: clock_getcpuclockid(3); the id of a process's clock is its pid, inverted, over three bits of kind.
    """
    return sum(time.clock_gettime_ns((~pid << 3) | CPU_CLOCK) for pid in pids)


def pss_bytes(pid: int) -> tuple[int, int]:
    """Memory of a process, what it shares divided by how many share it: all, and what is backed by no file.

    Source: proc(5), smaps_rollup.
    """
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {name: int(kb) << 10 for name, kb in re.findall(r"^(Pss|Pss_Anon): +(\d+) kB$", text, re.MULTILINE)}
    return found["Pss"], found["Pss_Anon"]


class Others:
    """How much of the machine other processes take, from when this is made.

    Args:
      ours: pids of further processes that are no others; they live until `share` was asked.
    """

    def __init__(self, ours: Sequence[int] = ()) -> None:
        self._ours = ours
        self._before = _busy_s(), _own_s(ours), time.monotonic()

    def share(self) -> float:
        """0..1 of all cores; what this process, its ended children and `ours` took is not counted."""
        busy_s, own_s, at_s = self._before
        took_s = (time.monotonic() - at_s) * (os.cpu_count() or 1)
        return min(1.0, max(0.0, (_busy_s() - busy_s) - (_own_s(self._ours) - own_s)) / took_s)


def quiet_rounds(
    measure: Callable[[int], T], wanted: int, limit: int, ours: Sequence[int] = ()
) -> tuple[list[T], float]:
    """Measure until `wanted` rounds were quiet, or `limit` rounds were made.

    Args:
      measure: one round, by its number from 0.
    Returns: of all rounds the quietest, `wanted` of them, and how much others took in the busiest of these.
    """
    rounds: list[tuple[float, T]] = []
    while len(rounds) < limit and sum(share < QUIET for share, _ in rounds) < wanted:
        others = Others(ours)
        found = measure(len(rounds))
        rounds.append((others.share(), found))
    rounds.sort(key=lambda one: one[0])
    return [found for _, found in rounds[:wanted]], max(share for share, _ in rounds[:wanted])


def quietest(measure: Callable[[int], T], wanted: int, limit: int, ours: Sequence[int] = ()) -> list[T]:
    """`quiet_rounds`, for who does not ask how quiet they were."""
    return quiet_rounds(measure, wanted, limit, ours)[0]


def wait_for_quiet(limit_s: float) -> None:
    """Until others took less than QUIET of the machine for a second, or for so long."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        others = Others()
        time.sleep(1.0)
        if others.share() < QUIET:
            return


def _busy_s() -> float:
    """Time that all cores were not idle, what the host took from them included.

    Source: proc(5), /proc/stat: user nice system idle iowait irq softirq steal.
    """
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def _own_s(ours: Sequence[int]) -> float:
    return sum(os.times()[:4]) + cpu_ns(ours) / 1e9


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
