"""Redis Streams: bare redis-py doing an echo, and a whole farm doing the same, in one run.

    input stream > XREADGROUP > handler > XADD to the output stream, XACK and XDEL of the input > output stream
Bare is one process: redis-py with hiredis, a MULTI for each batch of as many entries as farm reads at once, and nothing
between. The farm runs a handler in Python on two workers. The server makes the input at once, so that nobody waits for
it, and writes nothing to the disk. Rounds alternate; the ratio is that of the medians.
Run: python -m tests.bench.redis_echo
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import redis

from farm.brokers.redis_groups import READ_LIMIT
from tests.bench import guests
from tests.servers import RedisServer
from tests.system.family import Family, family

COUNT: Final = 20_000
WARM: Final = 2_000
ROUNDS: Final = 3
WORKERS: Final = 2
PAYLOAD: Final = b"x" * 100
WITHIN_S: Final = 60.0
FLOOR: Final = 0.5  # of bare: below it is a fault

FILL: Final = """
for n = 1, tonumber(ARGV[1]) do redis.call('XADD', KEYS[1], '*', 'body', ARGV[2], 'farm-id', 'id-' .. n) end
"""
MANIFEST: Final = """
[app]
name = "bench"
[brokers.test]
type = "redis-streams"
url = "redis://127.0.0.1:{port}"
[components.echo]
source = "echo.wasm"
triggers = [{{ broker = "test", topic = "bench.in", publish = {{ subject = "bench.out" }} }}]
"""
OUT: Final = "bench.out"
Say = Callable[[str], None]


class QuickServer(RedisServer):
    """redis-server that keeps nothing."""

    def command(self) -> Sequence[str]:
        """As its parent's, without the file."""
        return [*super().command(), "--appendonly", "no"]


def measure(say: Say = print, count: int = COUNT, rounds: int = ROUNDS) -> dict[str, float]:
    """Messages a second of both, and their ratio: "bare", "farm", "ratio"."""
    found: dict[str, list[float]] = {"bare": [], "farm": []}
    with _server() as port, _farm(port) as stream:
        client = redis.Redis(port=port)
        client.xgroup_create("bare.in", "bare", "0", mkstream=True)
        client.xgroup_create(OUT, "readers", "$", mkstream=True)
        _round(client, stream, WARM, lambda _: None)
        for number in range(rounds):
            found["bare"].append(_round(client, "bare.in", count, lambda left: _echo(port, left)))
            found["farm"].append(_round(client, stream, count, lambda _: None))
            say(f"round {number + 1}: bare {found['bare'][-1]:,.0f}/s, farm {found['farm'][-1]:,.0f}/s")
        client.close()
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    ratio = medians["farm"] / medians["bare"]
    say(f"bare redis-py {medians['bare']:,.0f}/s, farm {medians['farm']:,.0f}/s, ratio {ratio:.2f}, floor {FLOOR}")
    return {**medians, "ratio": ratio}


def _round(client: redis.Redis, stream: str, count: int, run: Callable[[int], None]) -> float:
    """Messages a second from when the input is there until all of the output is."""
    client.xtrim(OUT, 0, approximate=False)
    began_s = time.perf_counter()
    client.eval(FILL, 1, stream, str(count), cast("str", PAYLOAD))
    run(count)
    while cast("int", client.xlen(OUT)) < count:
        assert time.perf_counter() - began_s < WITHIN_S, f"{client.xlen(OUT)} of {count} on {OUT}"
        time.sleep(0.005)
    took_s = time.perf_counter() - began_s
    end_s = time.perf_counter() + WITHIN_S
    while client.xlen(stream):  # what is settled is deleted
        assert time.perf_counter() < end_s, f"{client.xlen(stream)} are left on {stream}"
        time.sleep(0.005)
    return count / took_s


def _echo(port: int, left: int) -> None:
    """What a person would write with redis-py."""
    client = redis.Redis(port=port)
    while left:
        said: Any = client.xreadgroup("bare", "me", {"bare.in": ">"}, count=READ_LIMIT, block=1000)
        for _, entries in said:
            pipeline = client.pipeline(transaction=True)
            for _, fields in entries:
                pipeline.xadd(OUT, {b"body": fields[b"body"], b"farm-id": fields[b"farm-id"]})
            ids = [entry for entry, _ in entries]
            pipeline.xack("bare.in", "bare", *ids)
            pipeline.xdel("bare.in", *ids)
            pipeline.execute()
            left -= len(ids)
    client.close()


@contextmanager
def _server() -> Iterator[int]:
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = QuickServer(Path(folder))
        server.start()
        try:
            yield server.port
        finally:
            server.stop()


@contextmanager
def _farm(port: int) -> Iterator[str]:
    """A farm that runs; the stream that its trigger reads."""
    wasm = {"echo": guests.path_of("Python").read_bytes()}
    with (
        tempfile.TemporaryDirectory(prefix="farm-") as folder,
        family(Path(folder), MANIFEST.format(port=port), wasm) as found,
    ):
        found.up(workers=WORKERS)
        found.wait_ready()
        yield _stream(found, port)
        found.down()


def _stream(of: Family, port: int) -> str:
    client = redis.Redis(port=port, decode_responses=True)
    end_s = time.perf_counter() + WITHIN_S
    while not (names := cast("set[str]", client.smembers("farm:{bench.in}:streams"))):
        assert time.perf_counter() < end_s, f"no stream of the farm:\n{of.log_text()}"
        time.sleep(0.02)
    client.close()
    return f"farm:{{bench.in}}:stream:{next(iter(names))}"


if __name__ == "__main__":
    sys.exit(measure()["ratio"] < FLOOR)
