"""A whole farm on MQTT, and programs that know nothing of it: mosquitto_pub and mosquitto_sub, and paho alone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from farm.testing.rig import eventually
from tests.conftest import RequireProgram
from tests.contract.mqtt_rig import KEPT, PlainClient
from tests.guests import wat
from tests.servers import Mosquitto
from tests.system.family import PATIENCE_S, Family, family, wait_until

MANIFEST = """
[app]
name = "{name}"
[brokers.shop]
type = "mqtt"
url = "mqtt://127.0.0.1:{port}"
version = "{version}"
{keys}
[components.echo]
source = "echo.wasm"
triggers = [
  {{ broker = "shop", topic = "hello.*", publish = {{ subject = "good.bye" }} }},
  {{ broker = "shop", topic = "svc.*", publish = {{ subject = "nobody.asked" }} }},
  {{ broker = "shop", queue = {{ topic = "work.*", group = "workers" }}, publish = {{ subject = "done" }} }},
]
[components.slow]
source = "slow.wasm"
triggers = [{{ broker = "shop", topic = "slow.*", publish = {{ subject = "good.bye" }} }}]
"""
GUESTS = {name: wat.wasm(name) for name in ("echo", "slow")}
UNAVAILABLE = 69
VERSIONS = ("5", "3.1.1")

Version = Literal["5", "3.1.1"]


def manifest(port: int, name: str = "mqtt", version: str = "5", keys: str = "") -> str:
    return MANIFEST.format(port=port, name=name, version=version, keys=keys)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path_factory.mktemp("server"), f"{KEPT}\nlog_type error\nlog_type subscribe\nlog_type debug")
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def farm(server: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    with family(tmp_path_factory.mktemp("farm"), manifest(server.port), GUESTS) as made:
        made.up()
        yield made
        assert made.down() == 0


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Mosquitto]:
    """A server for one test alone."""
    made = Mosquitto(tmp_path / "server", KEPT)
    made.start()
    yield made
    made.stop()


async def client_of(server: Mosquitto) -> PlainClient:
    client = PlainClient(server.port, five=True)
    await client.open()
    return client


async def until_heard(client: PlainClient, *farms: Family) -> None:
    """Wait until each of these farms has handled something of the queue."""
    before = [each.component("echo")["handled"] for each in farms]
    end_s = time.monotonic() + PATIENCE_S
    while any(each.component("echo")["handled"] == early for each, early in zip(farms, before, strict=True)):
        assert time.monotonic() < end_s, "a farm hears nothing"
        await client.send("work/probe", b"probe")
    for each in farms:
        each.wait_settled()


def test_what_mosquitto_pub_sends_comes_to_mosquitto_sub(
    farm: Family, server: Mosquitto, require_program: RequireProgram
) -> None:
    hearer, sender = require_program("mosquitto_sub"), require_program("mosquitto_pub")
    at = ["-p", str(server.port), "-V", "5", "-q", "1"]
    form = ["-F", "%t|%p|%D|%C", "-C", "101", "-W", "60"]
    listener = subprocess.Popen(
        [hearer, *at, *form, "-t", "good/bye", "-t", "answers/1"],
        stdout=subprocess.PIPE,
    )
    wait_until(lambda: "answers/1 (QoS 1)" in server.log, "the listener")
    asked = ["-t", "svc/a", "-m", "question"]
    properties = ["response-topic", "answers/1"], ["correlation-data", "data"], ["user-property", "x-k", "v"]
    said = [word for each in properties for word in ("-D", "publish", *each)]
    subprocess.run([sender, *at, *asked, *said], check=True, timeout=60)
    lines = "".join(f"{n}\n" for n in range(100))
    subprocess.run([sender, *at, "-t", "hello/world", "-l"], input=lines, text=True, check=True, timeout=60)
    found = listener.communicate(timeout=60)[0].decode().splitlines()
    answers = [line for line in found if line.startswith("answers/1|")]
    assert answers == ["answers/1|question|data|"]
    others = [line.split("|")[1] for line in found if line.startswith("good/bye|")]
    assert sorted(others, key=int) == [str(n) for n in range(100)]


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_ingest_had_when_it_was_killed_comes_again(own: Mosquitto, tmp_path: Path, version: Version) -> None:
    with family(tmp_path / "farm", manifest(own.port, version=version), GUESTS) as made:
        made.up()
        client = await client_of(own)
        await until_heard(client, made)
        read = await client.read("good.bye")
        sent: list[bytes] = []
        for _ in range(3):
            pid = made.pids("ingest")[0]
            some, before = [b"1 %d" % n for n in range(len(sent), len(sent) + 500)], len(read)
            sending = asyncio.gather(*(client.send("slow/x", payload) for payload in some))
            await eventually(lambda: len(read) > before + 100, "some outputs")  # noqa: B023  (awaited in its turn)
            os.kill(pid, signal.SIGKILL)
            await sending
            sent += some
            await asyncio.to_thread(wait_until, lambda: made.pids("ingest") not in ([], [pid]), "ingest to be back")  # noqa: B023
        await eventually(lambda: set(sent) <= set(read), "an output for every input", PATIENCE_S)
        made.wait_settled()
        assert made.down() == 0
        await client.close()


async def test_two_farms_share_a_queue_also_when_one_is_killed(own: Mosquitto, tmp_path: Path) -> None:
    """On a server of their own: mosquitto gives its part to whatever session is of the group, present or not."""
    client = await client_of(own)
    with (
        family(tmp_path / "farm", manifest(own.port), GUESTS) as farm,
        family(tmp_path / "other", manifest(own.port, "other"), GUESTS) as other,
    ):
        farm.up()
        other.up()
        await until_heard(client, farm, other)
        read = await client.read("done")
        for n in range(500):
            await client.send("work/x", b"%d" % n)
        await eventually(lambda: len(read) >= 500, "all of them")
        farm.wait_settled()
        other.wait_settled()
        assert sorted(read, key=int) == [b"%d" % n for n in range(500)]
        for n in range(500, 1000):
            await client.send("work/x", b"%d" % n)
            if n == 700:
                other.kill()
        other.up()
        wanted = {b"%d" % n for n in range(1000)}
        await eventually(lambda: wanted <= set(read), "what the killed one had, too", PATIENCE_S)
        other.wait_settled()
        assert (farm.down(), other.down()) == (0, 0)
    await client.close()


async def test_a_farm_whose_server_comes_back_goes_on_and_has_lost_nothing(own: Mosquitto, tmp_path: Path) -> None:
    with family(tmp_path / "farm", manifest(own.port), GUESTS) as made:
        made.up()
        own.stop()
        wait_until(lambda: made.counters()["brokers"]["shop"]["state"] == "down", "farm to see it")
        assert "127.0.0.1" in made.counters()["brokers"]["shop"]["fault"]
        own.start()
        wait_until(lambda: made.counters()["brokers"]["shop"]["state"] == "up", "farm to be back")
        client = await client_of(own)
        read = await client.read("good.bye")
        await client.send("hello/x", b"x")
        await eventually(lambda: read == [b"x"], "the answer")
        assert made.counters()["brokers"]["shop"]["gaps"] == 0
        await client.close()
        assert made.down() == 0


def test_a_required_broker_with_a_wrong_password_is_one_line_and_exit_69(
    tmp_path: Path, require_program: RequireProgram
) -> None:
    users = tmp_path / "users"
    users.touch()
    made_by: Any = require_program("mosquitto_passwd")
    subprocess.run([made_by, "-b", str(users), "farm", "right"], check=True, capture_output=True)
    own = Mosquitto(tmp_path / "server", f"password_file {users}")
    own.start()
    password = tmp_path / "password"
    password.write_text("hunter2-not-shown")
    password.chmod(0o600)
    keys = f'required = true\nusername = "farm"\npassword = {{ file = "{password}" }}'
    with family(tmp_path / "farm", manifest(own.port, keys=keys), GUESTS) as made:
        ended = made.run("up", "--workers", "1")
    own.stop()
    lines = [line for line in ended.stderr.decode().splitlines() if line.startswith("error:")]
    assert ended.returncode == UNAVAILABLE, ended.stderr
    assert len(lines) == 1, ended.stderr
    assert "not authorized" in lines[0]
    assert b"Traceback" not in ended.stderr
    assert b"hunter2" not in ended.stderr
