"""How fast is farm here: messages through the whole path, what each costs, and how long one takes.

    make bench                       all of it, two to three minutes
    make bench ARGS="--quick"        a fifth of the messages
Figures of one machine at one time: compare rows of one run, not runs. build/bench.json keeps what stdout shows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from farm.build.python import build  # noqa: E402  the path comes first
from farm.client.blocking import Farm, Missed  # noqa: E402
from farm.wire.relay import Publish  # noqa: E402
from tests.guests import wat  # noqa: E402
from tests.system.family import Family, family  # noqa: E402

ROUNDS: Final = 3
REQUESTS: Final = 400
HEADS: Final = ("payload B", "workers", "messages/s", "ingest us", "worker us", "p50 us", "p99 us")

MANIFEST: Final = """
[app]
name = "bench"
[brokers.test]
type = "memory"
[components.guest]
source = "guest.wasm"
triggers = [{ broker = "test", topic = "in", publish = { subject = "out" } }]
"""

HANDLER: Final = """
from farm.sdk import Message, message_component

@message_component
def handle(message: Message) -> Message:
    return Message(message.text)
"""


@dataclass(frozen=True)
class Row:
    """One measurement: medians over the rounds. Costs are CPU per message, in ingest and in all workers."""

    guest: str
    payload_bytes: int
    workers: int
    messages_per_s: float
    ingest_us: float
    worker_us: float
    p50_us: float
    p99_us: float


def cpu_s(pid: int) -> float:
    """CPU time a process has used."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def burst(farm: Family, client: Farm, payload: bytes, count: int) -> tuple[float, float, float]:
    """Publish `count` messages as fast as they are taken: messages/s until all are handled, and CPU us per message."""
    ingest, workers = farm.pids("ingest")[0], farm.pids("worker")
    before = client.status(5.0)["components"]["guest"]["handled"]
    ingest_s, workers_s = cpu_s(ingest), sum(cpu_s(pid) for pid in workers)
    began_s = time.perf_counter()
    tally = client.publish_many(Publish("in", payload) for _ in range(count))
    assert tally.accepted == count, tally
    while client.status(5.0)["components"]["guest"]["handled"] < before + count:
        time.sleep(0.002)
    took_s = time.perf_counter() - began_s
    ingest_s, workers_s = cpu_s(ingest) - ingest_s, sum(cpu_s(pid) for pid in workers) - workers_s
    return count / took_s, ingest_s / count * 1e6, workers_s / count * 1e6


def round_trips(client: Farm, payload: bytes) -> list[float]:
    """One message at a time, from publish until its answer is heard, in microseconds."""
    taken: list[float] = []
    with client.subscribe("out") as heard:
        for _ in range(REQUESTS):
            began_s = time.perf_counter()
            client.publish("in", payload)
            word = heard.next(10.0)
            taken.append((time.perf_counter() - began_s) * 1e6)
            assert word is not None
            assert not isinstance(word, Missed)
    return sorted(taken)


def measure(name: str, wasm: bytes, workers: int, sizes: dict[int, int]) -> list[Row]:
    """One guest at one number of workers, over payload sizes (bytes -> messages a round)."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, family(Path(folder), MANIFEST, {"guest": wasm}) as farm:
        farm.up(workers)
        with farm.connect() as client:
            burst(farm, client, b"warm", 5000)
            for size, count in sizes.items():
                payload = b"x" * size
                rounds = [burst(farm, client, payload, count) for _ in range(ROUNDS)]
                per_s, ingest_us, worker_us = (statistics.median(column) for column in zip(*rounds, strict=True))
                trips = round_trips(client, payload)
                p50, p99 = trips[len(trips) // 2], trips[len(trips) * 99 // 100]
                rows.append(Row(name, size, workers, per_s, ingest_us, worker_us, p50, p99))
        farm.down()
    return rows


def python_guest() -> bytes:
    """A Python handler that echoes text, built by farm."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "guest.py"
        source.write_text(HANDLER)
        return build(source, ()).read_bytes()


def machine() -> dict[str, object]:
    """What this ran on."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0].partition(":")[2].strip() if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Measure farm on this machine.")
    parser.add_argument("--quick", action="store_true", help="a fifth of the messages")
    share = 5 if parser.parse_args().quick else 1
    sizes = {100: 60_000 // share, 1024: 40_000 // share, 10_240: 10_000 // share}
    here = machine()
    print(", ".join(f"{key} {value}" for key, value in here.items()))
    print(f"{'guest':8}" + "".join(f"{head:>11}" for head in HEADS))
    rows: list[Row] = []
    for name, wasm in (("tiny", wat.wasm("echo")), ("Python", python_guest())):
        for workers in (1, 2):
            for row in measure(name, wasm, workers, sizes):
                rows.append(row)
                print(
                    f"{row.guest:8}{row.payload_bytes:>11,}{row.workers:>11}{row.messages_per_s:>11,.0f}"
                    f"{row.ingest_us:>11.1f}{row.worker_us:>11.1f}{row.p50_us:>11,.0f}{row.p99_us:>11,.0f}",
                    flush=True,
                )
    kept = ROOT / "build" / "bench.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps({"machine": here, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")
    print(f"kept in {kept.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
