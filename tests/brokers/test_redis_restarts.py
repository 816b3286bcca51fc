"""The server is killed five times while messages pass: what is lost, what is counted, how long it takes."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from farm.broker import Delivery, Published
from farm.message import Message
from farm.testing.rig import Ends, eventually, home_of, payloads
from tests.brokers import redis_house
from tests.brokers.redis_servers import pubsub, streams
from tests.servers import RedisServer

server = redis_house.server

RESTARTS = 5
AWAY_S = 0.3


class Load:
    """Publishes all the time; keeps what was confirmed."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._over = False
        self.confirmed: set[bytes] = set()
        self.sent = 0

    async def run(self) -> None:
        while not self._over:
            some = [Message(f"id-{n}", "a.b", b"%d" % n) for n in range(self.sent, self.sent + 20)]
            self.sent += len(some)
            answers = await self._ends.publish(*some)
            pairs = zip(some, answers, strict=True)
            self.confirmed |= {one.payload for one, answer in pairs if isinstance(answer, Published)}
            await asyncio.sleep(0.002)

    def end(self) -> None:
        self._over = True


async def restarted(server: RedisServer, came: Sequence[Delivery]) -> float:
    """Kill the server under load and start it again; how long after that something new arrived."""
    begun = len(came)
    await eventually(lambda: len(came) > begun + 200, "messages to pass")
    server.kill()
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(server.start)
    began_s, before = time.monotonic(), len(came)
    await eventually(lambda: len(came) > before, "something to arrive again")
    return time.monotonic() - began_s


async def test_streams_lose_nothing(server: RedisServer, tmp_path: Path) -> None:
    ends = await Ends(streams(home_of(tmp_path / "home"), server.port)).start()
    came = ends.trigger(0, "a.b", granted=1 << 30)
    await ends.ready("a.b", came)
    load = Load(ends)
    loading = asyncio.create_task(load.run())
    took_s: list[float] = []
    for _ in range(RESTARTS):
        took_s.append(await restarted(server, came))
        ends.broker.settle(list(came))
    load.end()
    await loading
    await eventually(lambda: load.confirmed <= set(payloads(came)), "all that was confirmed")
    print(f"back after {statistics.median(took_s):.2f} s (median), {len(load.confirmed)} confirmed, 0 lost")
    assert len(load.confirmed) > 20 * RESTARTS
    await ends.broker.close()


async def test_pubsub_counts_its_gaps(server: RedisServer, tmp_path: Path) -> None:
    ends = await Ends(pubsub(home_of(tmp_path / "home"), server.port)).start()
    came = ends.trigger(0, "a.*", granted=1 << 30)
    heard, _ = ends.listener("a.b")
    await ends.ready("a.b", came, heard)
    load = Load(ends)
    loading = asyncio.create_task(load.run())
    took_s = [await restarted(server, came) for _ in range(RESTARTS)]
    load.end()
    await loading
    missed = len(load.confirmed - set(payloads(came)))
    print(f"back after {statistics.median(took_s):.2f} s (median), {missed} of {len(load.confirmed)} confirmed missed")
    assert ends.broker.counters.gaps == RESTARTS
    assert len(set(payloads(came)) & load.confirmed) > 20 * RESTARTS
    await ends.broker.close()
