"""A cluster is one broker, whichever of its nodes answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from farm.broker import Home
from farm.brokers.redis_life import slot_of
from farm.message import Message
from farm.testing.rig import Ends, eventually, payloads
from tests.brokers import redis_house
from tests.brokers.redis_servers import ClusterNode, join, plain, pubsub, streams, wait_for
from tests.brokers.test_redis_connection import Make, fault_of
from tests.servers import RedisServer

server = redis_house.server

Nodes = Callable[[int], list[ClusterNode]]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made: list[ClusterNode] = []

    def make(count: int) -> list[ClusterNode]:
        made.extend(ClusterNode(tmp_path / f"node{n}") for n in range(count))
        for node in made:
            node.start()
        return made

    yield make
    for node in made:
        node.stop()


@pytest.mark.parametrize("make", [streams, pubsub])
async def test_a_cluster_is_one_broker(make: Make, home: Home, nodes: Nodes) -> None:
    first, second = nodes(2)
    await asyncio.to_thread(join, [first, second])
    ends = await Ends(make(home, first.port, cluster=True)).start()
    subjects = ["a.b", "a.c", "a.d", "a.e"]
    assert len({slot_of(subject) < 8192 for subject in subjects}) == 2, "both nodes have some"
    came = [ends.trigger(n, subject, granted=1000, group="g") for n, subject in enumerate(subjects)]
    heard = [ends.listener(subject)[0] for subject in subjects]
    for subject, some, others in zip(subjects, came, heard, strict=True):
        await ends.ready(subject, some, others)
    answers = await ends.publish(*(Message(f"{n}", subject, b"x") for n in range(50) for subject in subjects))
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    await eventually(lambda: [len(payloads(some)) for some in came] == [50] * 4, "all, at the triggers")
    await eventually(lambda: [len(payloads(some)) for some in heard] == [50] * 4, "all, at the listeners")
    second.kill()
    await eventually(lambda: ends.broker.state == "down", "the broker to miss a node")
    second.start()
    await eventually(lambda: ends.broker.state == "up", "the cluster to be whole again")
    await ends.broker.close()


async def test_a_node_of_a_cluster_is_told_before_anything_is_written(home: Home, nodes: Nodes) -> None:
    [node] = nodes(1)
    await asyncio.to_thread(join, [node])
    assert await fault_of(streams(home, node.port)) == "it is a node of a cluster: write cluster = true"


@pytest.mark.parametrize("make", [streams, pubsub])
async def test_a_replica_that_takes_over_is_found_through_any_node(make: Make, home: Home, nodes: Nodes) -> None:
    master, other = nodes(2)
    await asyncio.to_thread(join, [master])
    await asyncio.to_thread(_follow, other, master)
    ends = await Ends(make(home, master.port, cluster=True)).start()
    came = ends.trigger(0, "a.b", granted=1 << 30, group="g")
    await ends.ready("a.b", came)
    faults: list[str] = []
    ends.broker.on_change = lambda broker: faults.append(broker.fault)
    await asyncio.to_thread(plain(other.port).execute_command, "CLUSTER", "FAILOVER")
    del came[:]
    await ends.ready("a.b", came)
    url = f"redis://127.0.0.1:{master.port}"
    assert f"{url}: its slots have moved" in faults
    await asyncio.to_thread(_follow, master, other)
    other.kill()
    await eventually(lambda: ends.broker.state == "down", "the broker to miss the node")
    await asyncio.to_thread(plain(master.port).execute_command, "CLUSTER", "FAILOVER", "TAKEOVER")
    del came[:]
    await ends.ready("a.b", came)
    master.kill()
    await eventually(lambda: ends.broker.state == "down", "the broker to miss both")
    ports = master.port, other.port
    named = {f"{url}: 127.0.0.1:{one}, 127.0.0.1:{two}: connection refused" for one, two in (ports, ports[::-1])}
    await eventually(lambda: ends.broker.fault in named, "both to be named")
    await asyncio.to_thread(other.start)  # the master, as far as it knows
    del came[:]
    await ends.ready("a.b", came)
    await ends.broker.close()


async def test_tries_that_fail_leave_no_connections(home: Home, nodes: Nodes) -> None:
    there, away = nodes(2)
    await asyncio.to_thread(join, [there, away])
    away.kill()
    client = plain(there.port)
    broker = streams(home, there.port, cluster=True)
    await broker.start()
    before = client.info("stats")["total_connections_received"]
    await eventually(lambda: client.info("stats")["total_connections_received"] > before + 8, "some tries")
    assert broker.fault.endswith(f": 127.0.0.1:{away.port}: connection refused")
    assert client.info("clients")["connected_clients"] <= 3, "ours, and those of one try"
    await broker.close()
    client.close()


async def test_a_server_that_is_none_of_a_cluster_is_told(home: Home, server: RedisServer) -> None:
    fault = await fault_of(streams(home, server.port, cluster=True))
    assert fault == "it is no node of a cluster: leave out cluster = true"


def test_keys_have_the_slots_of_a_cluster(tmp_path: Path) -> None:
    node = ClusterNode(tmp_path / "node")
    node.start()
    client = plain(node.port)
    for key in ("a.b", "farm:{a.b}:streams", "{}a", "farm:dlq", "a{b}c{d}", "ü"):
        assert client.execute_command("CLUSTER", "KEYSLOT", key) == slot_of(key)
    client.close()
    node.stop()


def _follow(node: ClusterNode, master: ClusterNode) -> None:
    """Have a node be the replica of another, with all that this has."""
    client, other = plain(node.port), plain(master.port)
    client.execute_command("CLUSTER", "MEET", "127.0.0.1", master.port, master.bus)
    name = other.execute_command("CLUSTER", "MYID").decode()
    wait_for(lambda: name in str(client.execute_command("CLUSTER", "NODES")), "the nodes to know each other")
    wait_for(lambda: _replicates(client, name), "the node to be a replica")
    wait_for(lambda: client.info("replication")["master_link_status"] == "up", "the replica to have all")
    ours = str(node.port)
    wait_for(lambda: ours in str(other.execute_command("CLUSTER", "SLOTS")), "the master to know its replica")


def _replicates(client: Any, master: str) -> bool:
    try:
        client.execute_command("CLUSTER", "REPLICATE", master)
    except redis.ResponseError:
        return False
    return True
