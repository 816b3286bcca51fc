"""A whole farm on NATS, and programs that know nothing of farm: nats-py alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from farm.testing.rig import eventually
from tests.guests import wat
from tests.servers import NatsServer, free_port
from tests.system.family import PATIENCE_S, Family, family, wait_until

MANIFEST = """
[app]
name = "{name}"
[brokers.shop]
type = "nats"
servers = ["nats://127.0.0.1:{port}"]
{keys}
[components.echo]
source = "echo.wasm"
triggers = [
  {{ broker = "shop", topic = "hello.*", publish = {{ subject = "good.bye" }} }},
  {{ broker = "shop", topic = "svc.*" }},
  {{ broker = "shop", queue = {{ topic = "work.*", group = "workers" }}, publish = {{ subject = "done" }} }},
]
"""
GUESTS = {"echo": wat.wasm("echo")}
UNAVAILABLE = 69


def manifest(port: int, name: str = "nats", keys: str = "") -> str:
    return MANIFEST.format(port=port, name=name, keys=keys)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    made = NatsServer(tmp_path_factory.mktemp("server"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def farm(server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    with family(tmp_path_factory.mktemp("farm"), manifest(server.port), GUESTS) as made:
        made.up()
        yield made


async def client_of(server: NatsServer) -> Client:
    return await nats.connect(f"nats://127.0.0.1:{server.port}")


async def until_heard(client: Client, *farms: Family) -> None:
    """Wait until the subscriptions of all farms are with the server: until each has handled something of the queue."""
    before = [each.component("echo")["handled"] for each in farms]
    end_s = time.monotonic() + PATIENCE_S
    while any(each.component("echo")["handled"] == early for each, early in zip(farms, before, strict=True)):
        assert time.monotonic() < end_s, "a farm hears nothing"
        await client.publish("work.probe", b"")
        await client.flush()
    for each in farms:
        each.wait_settled()


async def test_what_a_nats_client_publishes_comes_back_to_it(farm: Family, server: NatsServer) -> None:
    client = await client_of(server)
    await until_heard(client, farm)
    found: list[Any] = []

    async def note(message: Any) -> None:
        found.append(message)

    await client.subscribe("good.bye", cb=note)
    for n in range(100):
        await client.publish("hello.world", f"{n}".encode(), headers={"traceparent": "00-1-2-01"})
    await eventually(lambda: len(found) == 100, "a hundred answers")
    assert sorted(int(message.data) for message in found) == list(range(100))
    assert len({message.headers["farm-id"] for message in found}) == 100
    assert {message.headers["farm-hops"] for message in found} == {"1"}
    await client.close()


async def test_a_component_answers_requests_of_a_nats_client(farm: Family, server: NatsServer) -> None:
    client = await client_of(server)
    await until_heard(client, farm)
    answers = await asyncio.gather(*(client.request("svc.a", f"{n}".encode(), timeout=20) for n in range(1000)))
    assert [answer.data for answer in answers] == [f"{n}".encode() for n in range(1000)]
    await client.close()


async def test_two_farms_share_a_queue(farm: Family, server: NatsServer, tmp_path: Path) -> None:
    client = await client_of(server)
    found: list[bytes] = []

    async def note(message: Any) -> None:
        found.append(message.data)

    with family(tmp_path / "other", manifest(server.port, "other"), GUESTS) as other:
        other.up()
        await until_heard(client, farm, other)
        before = [each.component("echo")["handled"] for each in (farm, other)]
        await client.subscribe("done", cb=note)
        for n in range(1000):
            await client.publish("work.x", f"{n}".encode())
        await eventually(lambda: len(found) >= 1000, "all of them")
        farm.wait_settled()
        other.wait_settled()
        after = [each.component("echo")["handled"] for each in (farm, other)]
        assert other.down() == 0
    assert sorted(found, key=int) == [f"{n}".encode() for n in range(1000)]
    assert sum(after) - sum(before) == 1000
    assert all(late > early for late, early in zip(after, before, strict=True))
    await client.close()


async def test_a_farm_whose_server_comes_back_goes_on(tmp_path: Path) -> None:
    own = NatsServer(tmp_path / "server")
    own.start()
    with family(tmp_path / "farm", manifest(own.port), GUESTS) as farm:
        farm.up()
        own.kill()
        wait_until(lambda: farm.counters()["brokers"]["shop"]["state"] == "down", "farm to see it")
        assert "127.0.0.1" in farm.counters()["brokers"]["shop"]["fault"]
        own.start()
        wait_until(lambda: farm.counters()["brokers"]["shop"]["state"] == "up", "farm to be back")
        client = await client_of(own)
        assert (await client.request("svc.a", b"x", timeout=20)).data == b"x"
        assert farm.counters()["brokers"]["shop"]["gaps"] == 1
        await client.close()
        assert farm.down() == 0
    own.stop()


def wrong_password(stack: ExitStack, folder: Path) -> tuple[int, str]:
    server = NatsServer(folder / "server", 'authorization { user: farm, password: "right" }')
    server.start()
    stack.callback(server.stop)
    password = folder / "password"
    password.write_text("hunter2-not-shown")
    password.chmod(0o600)
    return server.port, f'user = "farm"\npassword = {{ file = "{password}" }}'


def no_server(_: ExitStack, folder: Path) -> tuple[int, str]:
    return free_port(), ""


def no_tls(stack: ExitStack, folder: Path) -> tuple[int, str]:
    server = NatsServer(folder / "server")
    server.start()
    stack.callback(server.stop)
    return server.port, "tls = {}"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (wrong_password, "authorization violation"),
        (no_server, "connection refused"),
        (no_tls, "it speaks no TLS"),
    ],
    ids=["password", "server", "tls"],
)
def test_a_required_broker_that_cannot_be_reached_is_one_line_and_exit_69(wrong: Any, why: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        port, keys = wrong(stack, tmp_path)
        made = stack.enter_context(family(tmp_path / "farm", manifest(port, keys=f"required = true\n{keys}"), GUESTS))
        ended = made.run("up", "--workers", "1")
    lines = [line for line in ended.stderr.decode().splitlines() if line.startswith("error:")]
    assert ended.returncode == UNAVAILABLE, ended.stderr
    assert len(lines) == 1, ended.stderr
    assert why in lines[0]
    assert b"Traceback" not in ended.stderr
    assert b"hunter2" not in ended.stderr
