"""A server that sentinels name: found, and left in time for another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from farm.broker import Home, Published
from farm.message import Message
from farm.spec import Secret
from farm.testing.rig import Ends, eventually
from tests.brokers import redis_house
from tests.brokers.redis_servers import SentinelServer, plain, pubsub, streams, wait_for
from tests.brokers.test_redis_connection import Make, fault_of, works
from tests.servers import RedisServer

server = redis_house.server


@dataclass(frozen=True)
class House:
    """A master, its replica, and a sentinel that watches both."""

    master: RedisServer
    other: RedisServer
    sentinel: SentinelServer

    @property
    def where(self) -> dict[str, Any]:
        """Keys of a broker; the first of its sentinels is away."""
        return {"sentinels": ("127.0.0.1:1", f"127.0.0.1:{self.sentinel.port}"), "sentinel_master": "shop"}

    async def fail_over(self) -> None:
        """Have the sentinel make the replica the master."""
        asked = plain(self.sentinel.port)
        await asyncio.to_thread(asked.execute_command, "SENTINEL", "FAILOVER", "shop")
        asked.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    master = RedisServer(tmp_path / "master", "--repl-diskless-sync-delay", "0")
    master.start()
    other = RedisServer(tmp_path / "other", "--replicaof", f"127.0.0.1 {master.port}")
    other.start()
    follower = plain(other.port)
    wait_for(lambda: follower.info("replication")["master_link_status"] == "up", "the replica to be one")
    sentinel = SentinelServer(tmp_path / "sentinel", master.port)
    sentinel.start()
    asked = plain(sentinel.port)
    wait_for(lambda: _sees_replica(asked), "the sentinel to know the replica")
    yield House(master, other, sentinel)
    for each in (sentinel, other, master):
        each.stop()


@pytest.mark.parametrize("make", [streams, pubsub])
async def test_the_server_is_followed_when_it_is_another(make: Make, home: Home, house: House) -> None:
    ends = await Ends(make(home, 0, url="redis://by-sentinel", **house.where)).start()
    came = ends.trigger(0, "a.b", granted=1000)
    await ends.ready("a.b", came)
    faults: list[str] = []
    ends.broker.on_change = lambda broker: faults.append(broker.fault)
    await house.fail_over()
    await eventually(lambda: ends.broker.state == "down", "the server to be left")
    assert faults[0] == "redis://by-sentinel: the sentinels make another server the master"
    del came[:]
    await eventually(lambda: ends.broker.state == "up", "the broker to find the other")
    await ends.ready("a.b", came)
    assert plain(house.other.port).info("replication")["role"] == "master"
    await ends.broker.close()


async def test_nothing_is_confirmed_that_a_failover_loses(home: Home, house: House) -> None:
    master = plain(house.master.port)
    master.xgroup_create("out", "readers", "$", mkstream=True)
    # A replica is sent nothing until it has acknowledged the snapshot, up to a second after it shows as online.
    assert await asyncio.to_thread(master.wait, 1, 10_000) == 1
    ends = await Ends(streams(home, 0, url="redis://by-sentinel", **house.where)).start()
    confirmed: set[bytes] = set()
    number = 0

    async def publish() -> None:
        nonlocal number
        number += 1
        body = b"%d" % number
        [answer] = await ends.publish(Message(f"id-{number}", "out", body))
        if isinstance(answer, Published):
            confirmed.add(body)
        await asyncio.sleep(0.002)

    async def until(state: str) -> None:
        async with asyncio.timeout(20):
            while ends.broker.state != state:
                await publish()

    await publish()
    await house.fail_over()
    await until("down")
    await until("up")
    for _ in range(50):
        await publish()
    assert plain(house.other.port).info("replication")["role"] == "master"
    kept = {fields[b"body"] for _, fields in plain(house.other.port).xrange("out")}
    assert len(confirmed) > 50
    assert confirmed <= kept
    await ends.broker.close()


async def test_a_sentinel_that_knows_no_such_server_says_so(home: Home, house: House) -> None:
    port = house.sentinel.port
    where = {"sentinels": (f"127.0.0.1:{port}",), "sentinel_master": "other"}
    fault = await fault_of(streams(home, 0, url="redis://by-sentinel", **where))
    assert fault == f"no sentinel tells where the server is: 127.0.0.1:{port}: it knows no 'other'"


async def test_a_sentinel_is_no_server(home: Home, house: House) -> None:
    assert await fault_of(streams(home, house.sentinel.port)) == "it is a sentinel: name it in sentinels"


async def test_sentinels_with_one_fault_are_named_together(home: Home, server: RedisServer) -> None:
    where = {"sentinels": ("127.0.0.1:1", "127.0.0.1:2", f"127.0.0.1:{server.port}"), "sentinel_master": "shop"}
    fault = await fault_of(streams(home, 0, url="redis://by-sentinel", **where))
    assert fault.endswith(f": 127.0.0.1:1, 127.0.0.1:2: connection refused; 127.0.0.1:{server.port}: it is no sentinel")


async def test_a_server_is_named_that_the_url_does_not_name(home: Home, house: House) -> None:
    house.master.kill()
    fault = await fault_of(streams(home, 0, url="redis://by-sentinel", **house.where))
    assert fault.startswith(f"127.0.0.1:{house.master.port}: connection refused")


class TestPasswords:
    @pytest.fixture
    def where(self, server: RedisServer, tmp_path: Path) -> Iterator[dict[str, Any]]:
        plain(server.port).config_set("requirepass", "of-the-server")
        sentinel = SentinelServer(
            tmp_path / "sentinel", server.port, "requirepass of-sentinels", "sentinel auth-pass shop of-the-server"
        )
        sentinel.start()
        for name in ("of-the-server", "of-sentinels"):
            (tmp_path / name).write_text(name)
        yield {
            "url": "redis://by-sentinel",
            "sentinels": (f"127.0.0.1:{sentinel.port}",),
            "sentinel_master": "shop",
            "password": Secret(file=tmp_path / "of-the-server"),
        }
        sentinel.stop()

    async def test_sentinels_may_have_one_of_their_own(self, home: Home, where: dict[str, Any], tmp_path: Path) -> None:
        await works(streams(home, 0, sentinel_password=Secret(file=tmp_path / "of-sentinels"), **where))

    async def test_a_wrong_one_is_said(self, home: Home, where: dict[str, Any], tmp_path: Path) -> None:
        fault = await fault_of(streams(home, 0, sentinel_password=Secret(file=tmp_path / "of-the-server"), **where))
        assert fault.endswith(": it refuses: wrong username or password")
        assert (await fault_of(streams(home, 0, **where))).endswith(
            ": it refuses: wrong username or password (sentinel_password)"
        )

    async def test_that_of_the_server_is_tried_where_there_is_no_other(
        self, home: Home, where: dict[str, Any], server: RedisServer, tmp_path: Path
    ) -> None:
        admin = plain(server.port, password="of-the-server")
        admin.config_set("requirepass", "of-sentinels")
        await works(streams(home, 0, **{**where, "password": Secret(file=tmp_path / "of-sentinels")}))
        admin.close()


def _sees_replica(sentinel: Any) -> bool:
    found: Any = sentinel.execute_command("SENTINEL", "REPLICAS", "shop")
    return bool(found) and "slave" in str(found[0]) and "disconnected" not in str(found[0])
