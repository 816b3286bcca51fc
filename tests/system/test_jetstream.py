"""A whole farm on JetStream: what a stream has confirmed is handled, whoever is killed meanwhile.

Published and confirmed by nats-py alone, outside farm; the outputs are read from the stream, as nats-py reads them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import nats
import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

from farm.testing.rig import eventually
from tests.brokers import jetstream_house
from tests.guests import wat
from tests.servers import NatsServer
from tests.system.family import Family, family, wait_until

server = jetstream_house.server

MANIFEST = """
[app]
name = "shop"
[brokers.js]
type = "jetstream"
servers = ["nats://127.0.0.1:{port}"]
stream = "WORK"
subjects = ["in.>", "out.>", "bad.>"]
retention = "limits"
ack_wait = "{ack_wait}"
[components.echo]
source = "echo.wasm"
triggers = [
  {{ broker = "js", queue = {{ topic = "in.*", group = "workers" }}, publish = {{ subject = "out.x" }} }},
]
[components.fail]
source = "fail.wasm"
triggers = [{{ broker = "js", topic = "bad.*", attempts = 1 }}]
"""
OVERLAPPING = """
[components.audit]
source = "echo.wasm"
triggers = [
  { broker = "js", topic = "in.pair.*", publish = { subject = "out.x" } },
  { broker = "js", topic = "in.pair.one", publish = { subject = "out.x" } },
]
"""
GUESTS = {"echo": wat.wasm("echo"), "fail": wat.wasm("fail")}
RESTARTS = 5
AT_ONCE = 50


def manifest(server: NatsServer, ack_wait: str = "2s") -> str:
    return MANIFEST.format(ack_wait=ack_wait, port=server.port)


@pytest.fixture
def farm(server: NatsServer, tmp_path: Path) -> Iterator[Family]:
    with family(tmp_path / "farm", manifest(server), GUESTS) as made:
        made.up()
        yield made


@pytest.fixture
async def client(server: NatsServer) -> AsyncIterator[Client]:
    made = await nats.connect(
        f"nats://127.0.0.1:{server.port}", max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=ignored
    )
    yield made
    await made.close()


async def ignored(_: Exception) -> None:
    """The server is killed on purpose."""


class Load:
    """Publishes, from its start to its end, and notes what was confirmed."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.confirmed: set[bytes] = set()
        self.number = 0
        self._work = asyncio.create_task(self._publish())

    async def _publish(self) -> None:
        while True:
            payloads = [f"{n}".encode() for n in range(self.number, self.number + AT_ONCE)]
            self.number += AT_ONCE
            await asyncio.gather(*map(self._one, payloads))
            await asyncio.sleep(0.02)

    async def _one(self, payload: bytes) -> None:
        with contextlib.suppress(nats.errors.Error, nats.js.errors.Error, asyncio.TimeoutError, OSError):
            await self.client.jetstream(timeout=1).publish("in.x", payload)
            self.confirmed.add(payload)

    async def end(self) -> None:
        self._work.cancel()
        await asyncio.wait([self._work])


async def outputs(client: Client) -> Counter[bytes]:
    """What is in the stream on `out.x`, and how often."""
    found: Counter[bytes] = Counter()
    state = await client.jetstream().stream_info("WORK", subjects_filter="out.x")
    wanted = (state.state.subjects or {}).get("out.x", 0)
    config = ConsumerConfig(ack_policy=AckPolicy.NONE)
    reader = await client.jetstream().pull_subscribe("out.x", stream="WORK", config=config)
    while found.total() < wanted:
        found.update(message.data for message in await reader.fetch(500, timeout=10))
    await reader.unsubscribe()
    return found


async def handled(client: Client) -> None:
    """Wait until the queue is empty: everything delivered and acknowledged."""
    end_s = time.monotonic() + 60
    while True:
        info = await consumer(client)
        if info.num_pending == 0 and info.num_ack_pending == 0:
            return
        assert time.monotonic() < end_s, info
        await asyncio.sleep(0.05)


async def consumer(client: Client) -> Any:
    [found] = [one for one in await client.jetstream().consumers_info("WORK") if one.config.filter_subject == "in.*"]
    return found


async def lost(client: Client, load: Load) -> set[bytes]:
    """What was confirmed and has no output, once everything is handled."""
    await load.end()
    assert load.confirmed
    await handled(client)
    return load.confirmed - outputs_of(await outputs(client))


def outputs_of(found: Counter[bytes]) -> set[bytes]:
    return set(found)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("end", [NatsServer.stop, NatsServer.kill], ids=["stopped", "killed"])
async def test_a_server_that_is_restarted_under_load_loses_nothing(
    end: Callable[[NatsServer], None], farm: Family, server: NatsServer, client: Client
) -> None:
    load = Load(client)
    back_s: list[float] = []
    for _ in range(RESTARTS):
        early = len(load.confirmed)
        await eventually(lambda: len(load.confirmed) > early + 200, "some load")  # noqa: B023  (awaited in its turn)
        await asyncio.to_thread(end, server)
        await asyncio.to_thread(server.start)
        began_s = time.monotonic()
        await eventually(lambda: client.is_connected, "nats-py to be back")
        while not (await consumer(client)).num_waiting:
            assert time.monotonic() < began_s + 30, "farm's subscriptions are not back"
            await asyncio.sleep(0.01)
        back_s.append(time.monotonic() - began_s)
    assert await lost(client, load) == set()
    print(f"{len(load.confirmed)} confirmed, 0 lost; subscriptions back: median {median(back_s):.2f} s of {RESTARTS}")


@pytest.mark.timeout(240)
async def test_a_killed_ingest_loses_nothing(farm: Family, client: Client) -> None:
    load = Load(client)
    for _ in range(3):
        early = len(load.confirmed)
        await eventually(lambda: len(load.confirmed) > early + 300, "some load")  # noqa: B023
        [pid] = await asyncio.to_thread(farm.pids, "ingest")
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: farm.pids("ingest") not in ([], [pid]), "another ingest")  # noqa: B023
    assert await lost(client, load) == set()
    print(f"{len(load.confirmed)} confirmed, 0 lost")


@pytest.mark.timeout(240)
async def test_two_farms_share_a_queue_and_all_of_it_is_handled_when_one_is_killed(
    farm: Family, server: NatsServer, client: Client, tmp_path: Path
) -> None:
    with family(tmp_path / "other", manifest(server), GUESTS) as other:
        await asyncio.to_thread(other.up)
        load = Load(client)
        await eventually(lambda: len(load.confirmed) > 1000, "some load")
        counts = [each.component("echo")["handled"] for each in (farm, other)]
        assert all(counts), counts
        assert other.process is not None
        other.process.kill()
        early = len(load.confirmed)
        await eventually(lambda: len(load.confirmed) > early + 500, "some more load")
        assert await lost(client, load) == set()
        found = await outputs(client)
        print(f"{len(load.confirmed)} confirmed, 0 lost, {found.total() - len(found)} twice")


async def test_two_farms_handle_every_message_once(server: NatsServer, client: Client, tmp_path: Path) -> None:
    """With the lease that is the default: a busy machine may be late for a short one, and then another farm has it."""
    text = manifest(server, "30s")
    with family(tmp_path / "farm", text, GUESTS) as farm, family(tmp_path / "other", text, GUESTS) as other:
        for each in (farm, other):
            await asyncio.to_thread(each.up)
        for n in range(2000):
            await client.publish("in.x", f"{n}".encode())
        await client.jetstream().publish("in.x", b"2000")  # what came before it is stored too
        await handled(client)
        counts = [each.component("echo")["handled"] for each in (farm, other)]
        assert sum(counts) == 2001
        assert all(counts), counts
        assert await outputs(client) == Counter(f"{n}".encode() for n in range(2001))
        assert [farm.down(), other.down()] == [0, 0]


async def test_each_trigger_of_each_farm_has_its_own_output_though_all_are_alike(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    """The stream takes nothing for a duplicate that is none."""
    text = manifest(server) + OVERLAPPING
    with family(tmp_path / "farm", text, GUESTS) as farm, family(tmp_path / "other", text, GUESTS) as other:
        for each in (farm, other):
            await asyncio.to_thread(each.up)
        await client.jetstream().publish("in.pair.one", b"x")
        for each in (farm, other):
            await asyncio.to_thread(wait_until, lambda: each.component("audit")["handled"] == 2, "two calls")  # noqa: B023
        assert await outputs(client) == Counter({b"x": 4})


async def test_a_dead_letter_is_in_a_stream_with_its_reason(farm: Family, client: Client) -> None:
    reader = await client.jetstream().pull_subscribe("farm.dlq.>", stream="farm-dead-letters")
    await client.jetstream().publish("bad.one", b"evil", headers={"x-kept": "yes"})
    [letter] = await reader.fetch(1, timeout=20)
    assert (letter.subject, letter.data) == ("farm.dlq.bad.one", b"evil")
    headers = letter.headers or {}
    assert (headers["farm-component"], headers["farm-attempt"], headers["x-kept"]) == ("fail", "1", "yes")
    assert headers["farm-source"].split(":")[1] == "WORK"


async def test_farm_says_on_which_sequence_it_has_published(farm: Family, client: Client) -> None:
    with farm.connect() as publisher:
        publisher.publish("in.x", b"by farm")
    await handled(client)
    assert b"by farm" in await outputs(client)


def test_streams_of_somebody_else_without_one_for_dead_letters_are_one_line_and_exit_69(
    server: NatsServer, tmp_path: Path
) -> None:
    async def make() -> None:
        made = await nats.connect(f"nats://127.0.0.1:{server.port}")
        await made.jetstream().add_stream(StreamConfig(name="WORK", subjects=["in.>", "out.>", "bad.>"]))
        await made.close()

    asyncio.run(make())
    keys = manifest(server).replace("ack_wait", "required = true\nack_wait")
    with family(tmp_path / "farm", keys, GUESTS) as made:
        ended = made.run("up", "--workers", "1")
    errors = [line for line in ended.stderr.decode().splitlines() if line.startswith("error:")]
    assert ended.returncode == 69, ended.stderr
    assert len(errors) == 1
    assert "no stream takes in farm.dlq.>" in errors[0]
    assert b"Traceback" not in ended.stderr
