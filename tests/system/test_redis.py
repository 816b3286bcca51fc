"""Whole farms on a Redis, and redis-cli as the program that knows nothing of farm."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import redis_house
from tests.conftest import RequireProgram
from tests.guests import wat
from tests.servers import RedisServer, free_port
from tests.system.family import Family, family, run_farm, wait_until

server, client = redis_house.server, redis_house.client

MANIFEST = """
[app]
name = "{name}"
[brokers.shop]
type = "{type}"
url = "redis://127.0.0.1:{port}"
{keys}
[components.echo]
source = "echo.wasm"
triggers = [
  {{ broker = "shop", topic = "hello", publish = {{ subject = "bye" }} }},
  {{ broker = "shop", queue = {{ topic = "work", group = "workers" }}, publish = {{ subject = "done" }} }},
]
"""
GUESTS = {"echo": wat.wasm("echo")}
UNAVAILABLE = 69
COUNT = 300


def manifest(port: int, type_name: str, name: str = "redis", keys: str = "") -> str:
    return MANIFEST.format(port=port, type=type_name, name=name, keys=keys)


class Cli:
    """redis-cli."""

    def __init__(self, program: Path, port: int, folder: Path) -> None:
        self._words = [str(program), "-p", str(port)]
        self._said = folder / "said"

    def say(self, *words: str) -> str:
        return subprocess.run([*self._words, *words], capture_output=True, text=True, timeout=20, check=True).stdout

    @contextlib.contextmanager
    def listening(self, *words: str) -> Iterator[Path]:
        """While it runs: a file of what it says."""
        with self._said.open("wb") as file:
            process = subprocess.Popen([*self._words, *words], stdout=file, stdin=subprocess.DEVNULL)
        try:
            yield self._said
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture
def cli(require_program: RequireProgram, server: RedisServer, tmp_path: Path) -> Cli:
    return Cli(require_program("redis-cli"), server.port, tmp_path)


def subscribed(client: Any, topic: str, kind: str = "stream") -> bool:
    return bool(client.smembers(f"farm:{{{topic}}}:{kind}s"))


def test_redis_cli_adds_to_a_stream_and_reads_the_answer(
    server: RedisServer, cli: Cli, client: Any, tmp_path: Path
) -> None:
    cli.say("XADD", "hello", "*", "body", "before farm was there")
    cli.say("XGROUP", "CREATE", "bye", "readers", "$", "MKSTREAM")
    with family(tmp_path / "farm", manifest(server.port, "redis-streams"), GUESTS) as farm:
        farm.up()
        cli.say("XADD", "hello", "*", "body", "hi there", "traceparent", "00-1-2-01")
        wait_until(lambda: client.xlen("bye") == 2, "the answers")
        said = cli.say("XREADGROUP", "GROUP", "readers", "me", "COUNT", "2", "STREAMS", "bye", ">")
        assert "before farm was there" in said
        assert "hi there" in said
        assert "farm-cause" in said
        farm.wait_settled()
        wait_until(lambda: client.xlen("hello") == 0, "nothing to be left behind")
        published = farm.run("publish", "hello", "from farm")
        assert published.returncode == 0, published.stderr.decode()
        wait_until(lambda: "from farm" in cli.say("XRANGE", "bye", "-", "+"), "the answer to what farm published")


def test_redis_cli_publishes_and_hears_the_answer(server: RedisServer, cli: Cli, client: Any, tmp_path: Path) -> None:
    with (
        family(tmp_path / "farm", manifest(server.port, "redis"), GUESTS) as farm,
        cli.listening("SUBSCRIBE", "bye", "done") as said,
    ):
        farm.up()
        wait_until(lambda: dict(client.pubsub_numsub("hello", "bye")) == {b"hello": 1, b"bye": 1}, "the subscriptions")
        cli.say("PUBLISH", "hello", "hi there")
        wait_until(lambda: "hi there" in said.read_text(), "the answer")
        wait_until(lambda: subscribed(client, "work", "queue"), "the queue")
        farm.run("publish", "work", "to be done")
        wait_until(lambda: "to be done" in said.read_text(), "the queue's answer")


def test_two_farms_share_a_group_and_what_one_had_comes_to_the_other(
    server: RedisServer, client: Any, tmp_path: Path
) -> None:
    client.xgroup_create("done", "readers", "$", mkstream=True)
    with ExitStack() as stack:
        farms: list[Family] = []
        for number in range(2):
            text = manifest(server.port, "redis-streams", f"farm-{number}", 'claim_after = "5s"')
            farms.append(stack.enter_context(family(tmp_path / f"farm{number}", text, GUESTS)))
            farms[-1].up()
        wait_until(lambda: subscribed(client, "work"), "the group")
        add(client, 0, COUNT)
        wait_until(lambda: client.xlen("done") >= COUNT, "every answer")
        assert sorted(answers(client)) == sorted(b"%d" % n for n in range(COUNT)), "each once"
        for farm in farms:
            farm.wait_settled()  # an answer is there before farm has heard that it is
        handled = [farm.component("echo")["handled"] for farm in farms]
        assert sum(handled) == COUNT
        add(client, COUNT, 2 * COUNT)
        kill(farms[0])
        add(client, 2 * COUNT, 3 * COUNT)
        wait_until(lambda: len(set(answers(client))) == 3 * COUNT, "all of them still")


def add(client: Any, first: int, end: int) -> None:
    pipeline = client.pipeline(transaction=False)
    for n in range(first, end):
        pipeline.xadd("work", {"body": str(n)})
    pipeline.execute()


def answers(client: Any) -> list[bytes]:
    return [fields[b"body"] for _, fields in client.xrange("done")]


def kill(farm: Family) -> None:
    """As a machine that fails: every process of it at once."""
    assert farm.process is not None
    os.kill(farm.process.pid, signal.SIGKILL)  # its children end with it
    farm.process.wait(20)


def test_a_farm_that_is_killed_and_started_again_goes_on(server: RedisServer, client: Any, tmp_path: Path) -> None:
    client.xgroup_create("done", "readers", "$", mkstream=True)
    with family(tmp_path / "farm", manifest(server.port, "redis-streams"), GUESTS) as farm:
        farm.up()
        wait_until(lambda: subscribed(client, "work"), "the group")
        add(client, 0, COUNT)
        for pid in farm.pids("ingest"):
            os.kill(pid, signal.SIGKILL)
        add(client, COUNT, 2 * COUNT)
        wait_until(lambda: len(set(answers(client))) == 2 * COUNT, "all of them")
        farm.wait_settled()
        assert client.xlen("done") <= 2 * COUNT + 1024, "twice at most what was in hand"
        assert farm.down() == 0
    [consumer] = client.xinfo_consumers(
        f"farm:{{work}}:stream:{next(iter(client.smembers('farm:{work}:streams'))).decode()}", "farm"
    )
    assert consumer["pending"] == 0, "one consumer, at both starts"


@pytest.mark.parametrize("type_name", ["redis", "redis-streams"])
def test_a_farm_that_needs_its_redis_does_not_start_without(type_name: str, tmp_path: Path) -> None:
    port = free_port()
    with family(tmp_path / "farm", manifest(port, type_name, keys="required = true"), GUESTS) as farm:
        said = run_farm("up", cwd=farm.folder, env=farm.env)
    assert said.returncode == UNAVAILABLE
    lines = said.stderr.decode().splitlines()
    [line] = [line for line in lines if line.startswith("error: ")]
    assert f"redis://127.0.0.1:{port}" in line
    assert "connection refused" in line
    assert "Traceback" not in said.stderr.decode()
