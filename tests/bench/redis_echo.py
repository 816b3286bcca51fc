"""Redis Streams to Redis Streams: who echoes how many messages a second, with one redis-server, in turn.

    bare, asyncio    redis.asyncio with hiredis: XREADGROUP, then one MULTI of XADDs, XACK and XDEL; one process
    bare, blocking   the same with the blocking client
    farm             a Python guest, 2 workers
All read as many entries at once as farm does. The server makes the input itself, in one step, so that nobody waits for
it, and keeps nothing on the disk. The ratio is to the first: farm is an asyncio program too.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import redis
import redis.asyncio

from farm.brokers.redis_reading import READ_LIMIT
from tests.bench import farms
from tests.bench.machine import quietest
from tests.bench.ratios import Ratio, ratio
from tests.bench.report import Effort, Report, Row, Say, Table
from tests.servers import RedisServer

PAYLOAD: Final = b"x" * 100
PER_S: Final = 25_000  # messages for each second that a round is to last
WARM: Final = 2000
WITHIN_S: Final = 60.0
OUT: Final = "out"
BARE_IN: Final = "in.bare"
HEADS: Final = {"who": "who", "per_s": "messages/s", "of_bare": "of bare"}
NAMES: Final = {
    "bare": "bare redis-py, asyncio",
    "blocking": "bare redis-py, blocking",
    "farm": "farm, Python guest, 2 workers",
}
FILL: Final = """
for n = 1, tonumber(ARGV[1]) do redis.call('XADD', KEYS[1], '*', 'body', ARGV[2], 'farm-id', 'id-' .. n) end
"""
MANIFEST: Final = """
[app]
name = "bench"
[brokers.redis]
type = "redis-streams"
url = "redis://127.0.0.1:{port}"
[components.python]
source = "python.wasm"
triggers = [{{ broker = "redis", topic = "in.farm", publish = {{ subject = "out" }} }}]
"""


class QuickServer(RedisServer):
    """redis-server that keeps nothing on the disk."""

    def command(self) -> Sequence[str]:
        """As its parent's, without the file."""
        return [*super().command(), "--appendonly", "no"]


def measure(effort: Effort, say: Say) -> Report:
    """The whole section."""
    with ExitStack() as stack:
        say("redis: starting the server and farm")
        stand = _stand(stack)
        count = round(max(1.0, effort.window_s * 3) * PER_S)
        stand.rate("farm", WARM)
        rounds = quietest(lambda number: stand.round(number, count, say), effort.pairs, effort.rounds, stand.pids)
    rates = {name: [each[name] for each in rounds] for name in NAMES}
    report = Report()
    report.tables.append(Table("redis", "Redis Streams - echo - Redis Streams, 100 bytes", HEADS, _rows(rates)))
    report.ratios += _ratios(rates)
    return report


@dataclass(frozen=True)
class Stand:
    """Everything that is measured, ready. stream: what farm's trigger reads; pids: of all processes."""

    port: int
    client: Any
    stream: str
    pids: Sequence[int]

    def round(self, number: int, count: int, say: Say) -> dict[str, float]:
        """Each in turn: messages per second."""
        say(f"redis: round {number + 1}")
        names = list(NAMES) if number % 2 else list(reversed(NAMES))
        return {name: self.rate(name, count) for name in names}

    def rate(self, name: str, count: int) -> float:
        """Messages per second, from when all of the input is there until all of the output is."""
        run: Callable[[], None] = {
            "farm": lambda: None,
            "blocking": lambda: _echo(self.port, count),
            "bare": lambda: asyncio.run(_echo_in_loop(self.port, count)),
        }[name]
        stream = self.stream if name == "farm" else BARE_IN
        self.client.xtrim(OUT, 0, approximate=False)
        began_s = time.perf_counter()
        self.client.eval(FILL, 1, stream, count, PAYLOAD)
        run()
        self._wait(lambda: self.client.xlen(OUT) >= count, f"{count} on {OUT}")
        took_s = time.perf_counter() - began_s
        self._wait(lambda: self.client.xlen(stream) == 0, f"nothing on {stream}")
        return count / took_s

    def _wait(self, look: Callable[[], bool], what: str) -> None:
        end_s = time.perf_counter() + WITHIN_S
        while not look():
            assert time.perf_counter() < end_s, f"not within {WITHIN_S:g} s: {what}"
            time.sleep(0.005)


def _echo(port: int, left: int) -> None:
    client = redis.Redis(port=port)
    while left:
        said: Any = client.xreadgroup("bare", "me", {BARE_IN: ">"}, count=READ_LIMIT, block=1000)
        for _, entries in said:
            pipeline = client.pipeline(transaction=True)
            left -= _answer(pipeline, entries)
            pipeline.execute()
    client.close()


async def _echo_in_loop(port: int, left: int) -> None:
    client = redis.asyncio.Redis(port=port)
    while left:
        said: Any = await client.xreadgroup("bare", "me", {BARE_IN: ">"}, count=READ_LIMIT, block=1000)
        for _, entries in said:
            pipeline = client.pipeline(transaction=True)
            left -= _answer(pipeline, entries)
            await pipeline.execute()
    await client.aclose()


def _answer(pipeline: Any, entries: Sequence[Any]) -> int:
    """Write down what is to be done about these; how many there are."""
    for _, fields in entries:
        pipeline.xadd(OUT, {b"body": fields[b"body"], b"farm-id": fields[b"farm-id"]})
    ids = [entry for entry, _ in entries]
    pipeline.xack(BARE_IN, "bare", *ids)
    pipeline.xdel(BARE_IN, *ids)
    return len(ids)


def _stand(stack: ExitStack) -> Stand:
    port, pid = stack.enter_context(_server())
    client: Any = redis.Redis(port=port)
    stack.callback(client.close)
    client.xgroup_create(BARE_IN, "bare", "0", mkstream=True)
    client.xgroup_create(OUT, "readers", "$", mkstream=True)
    made = stack.enter_context(farms.farm(["Python"], text=MANIFEST.format(port=port)))
    made.up(2)
    stack.callback(made.down)
    end_s = time.perf_counter() + WITHIN_S
    while not (names := client.smembers("farm:{in.farm}:streams")):
        assert time.perf_counter() < end_s, f"no stream of the farm:\n{made.log_text()}"
        time.sleep(0.02)
    stream = f"farm:{{in.farm}}:stream:{next(iter(names)).decode()}"
    return Stand(port, client, stream, [pid, *(each for some in farms.pids(made).values() for each in some)])


@contextmanager
def _server() -> Iterator[tuple[int, int]]:
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = QuickServer(Path(folder))
        server.start()
        try:
            yield server.port, server.pid
        finally:
            server.stop()


def _rows(rates: dict[str, list[float]]) -> list[Row]:
    return [
        {
            "who": NAMES[name],
            "per_s": round(median(found)),
            "of_bare": ratio("", "higher", found, rates["bare"]).value,
        }
        for name, found in rates.items()
    ]


def _ratios(rates: dict[str, list[float]]) -> list[Ratio]:
    return [ratio("redis, Python guest, 2 workers: farm / bare redis-py", "higher", rates["farm"], rates["bare"])]
