"""Consumers that somebody else has edited or deleted, and a server that is asked for what it will not do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import RetentionPolicy, StreamConfig

from farm.message import Message
from farm.testing.rig import eventually, numbered, payloads
from tests.brokers import jetstream_house
from tests.brokers.jetstream_house import LETTERS, down, limited, running, up
from tests.nats_client import flushed
from tests.servers import NatsServer

server, client = jetstream_house.server, jetstream_house.client

STREAM, CONSUMER = "under-test", "farm-0-0-a-b"
EDITS: dict[str, dict[str, Any]] = {
    "a batch that is too small": {"max_batch": 3},
    "a wait that is too short": {"max_expires": 1_000_000_000},
    "bytes that are too few": {"max_bytes": 1000},
}


async def edit(client: Client, remove: tuple[str, ...] = (), **keys: Any) -> None:
    """Change the consumer as any program may."""
    config = (await consumer(client))["config"]
    config = {key: value for key, value in config.items() if key not in remove} | keys
    body = json.dumps({"stream_name": STREAM, "config": config}).encode()
    answer = json.loads((await client.request(f"$JS.API.CONSUMER.CREATE.{STREAM}.{CONSUMER}", body)).data)
    assert "error" not in answer, answer


async def consumer(client: Client) -> dict[str, Any]:
    return json.loads((await client.request(f"$JS.API.CONSUMER.INFO.{STREAM}.{CONSUMER}")).data)


@pytest.mark.parametrize("name", EDITS)
async def test_limits_that_our_pulls_exceed_are_taken_away_again(
    server: NatsServer, client: Client, tmp_path: Path, name: str
) -> None:
    async with running(server, tmp_path) as ends:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        await edit(client, **EDITS[name])
        before = client.stats["in_msgs"]
        heard = await client.subscribe(f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}")
        await flushed(client)
        ends.broker.grant(0, 10_000)  # more pulls
        await ends.publish(*numbered(50))
        await eventually(lambda: len(payloads(came)) == 50, "all of them")
        assert not set(EDITS[name]) & set((await consumer(client))["config"])
        assert client.stats["in_msgs"] - before < 200  # no storm of pulls that are refused at once
        await heard.unsubscribe()
        assert ends.broker.counters.gaps == 0
        ends.broker.settle(came)


async def test_where_the_server_limits_a_batch_pulls_are_no_larger(tmp_path: Path) -> None:
    """It puts that limit into every consumer, whatever it is asked for."""
    server = NatsServer(tmp_path / "server")
    server.config = f'jetstream {{ store_dir: "{server.folder / "store"}", limits {{ max_request_batch: 100 }} }}'
    server.start()
    async with running(server, tmp_path) as ends:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        await ends.publish(*numbered(300))
        await eventually(lambda: len(payloads(came)) == 300, "all of them")
        ends.broker.settle(came)
    server.stop()


async def test_what_an_edit_would_keep_from_a_trigger_is_undone_at_the_next_connect(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    async with running(server, tmp_path, subjects=("a.*",)) as ends:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        ends.broker.settle(came)
    await edit(client, ("filter_subject",), filter_subjects=["a.c", "a.d"], headers_only=True, backoff=[1_000_000_000])
    async with running(server, tmp_path, subjects=("a.*",)) as ends:
        again = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", again)
        await ends.publish(*numbered(3))
        await eventually(lambda: payloads(again)[-3:] == [b"0", b"1", b"2"], "all of them, with their payloads")
        config = (await consumer(client))["config"]
        assert (config["filter_subject"], config["ack_wait"]) == ("a.b", 5_000_000_000)
        ends.broker.settle(again)


async def test_a_deleted_consumer_of_a_work_queue_is_made_again(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    queue = StreamConfig(name="W", subjects=["a.>"], retention=RetentionPolicy.WORK_QUEUE)
    await client.jetstream().add_stream(queue)
    await client.jetstream().add_stream(LETTERS)
    async with running(server, tmp_path, stream="W") as ends:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        await ends.publish(*numbered(10))
        await eventually(lambda: len(payloads(came)) == 10, "all of them")
        ends.broker.settle(came[:-3])
        await client.jetstream().delete_consumer("W", CONSUMER)
        await ends.publish(*numbered(3, first=10))
        await eventually(lambda: len(payloads(came)) >= 13, "the later ones")
        await up(ends)
        ends.broker.settle(came[-6:])
        await ends.publish(Message("mark", "a.b", b"mark"))
        await eventually(lambda: b"mark" in payloads(came), "the mark")
        assert payloads(came) == [*(f"{n}".encode() for n in range(13)), b"mark"]
        assert ends.broker.counters.gaps == 0  # a work queue keeps what nobody has handled


async def test_where_nothing_can_be_fetched_the_broker_is_down(tmp_path: Path) -> None:
    server, keys = limited(tmp_path, "$JS.API.CONSUMER.MSG.NEXT.>")
    async with running(server, tmp_path, **keys) as ends:
        ends.trigger(0, "a.b", granted=100)
        await down(ends, "the server does not let us fetch: permit publishes to $JS.API.CONSUMER.MSG.NEXT.>")
    server.stop()
