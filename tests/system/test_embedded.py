"""A farm with a server of its own: what survives whose death."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from farm.errors import FarmError
from farm.rundir import ServerFolder
from tests.conftest import RequireProgram
from tests.guests import wat
from tests.system.family import Family, family, wait_until

NOT_PERMITTED = 77
MANIFEST = """
[app]
name = "durable"
[brokers.main]
type = "jetstream"
server = "embedded"
subjects = ["in.>", "out.>"]
retention = "limits"
ack_wait = "2s"
[components.echo]
source = "echo.wasm"
triggers = [{ broker = "main", topic = "in.*", publish = { subject = "out.x" } }]
"""


@pytest.fixture(autouse=True)
def needed(require_program: RequireProgram) -> None:
    require_program("nats-server")


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Family]:
    with family(tmp_path / "farm", MANIFEST, {"echo": wat.wasm("echo")}) as made:
        made.up()
        yield made


def publish(farm: Family, numbers: range) -> set[int]:
    """Publish these; those that were taken."""
    taken: set[int] = set()
    with farm.connect() as client:
        for number in numbers:
            try:
                client.publish("in.x", f"{number}")
            except FarmError:
                continue
            taken.add(number)
    return taken


async def outputs(farm: Family, count: int) -> Counter[int]:
    """What is in the stream on `out.x`, once there are so many."""
    folder = ServerFolder(farm.rundir.broker("main"))
    [url] = json.loads(folder.ports[0].read_text())["nats"]
    client = await nats.connect(url, user="farm", password=folder.password.read_text())
    reader = await client.jetstream().pull_subscribe(
        "out.x", stream="durable", config=ConsumerConfig(ack_policy=AckPolicy.NONE)
    )
    found: Counter[int] = Counter()
    while len(found) < count:
        found.update(int(message.data) for message in await reader.fetch(100, timeout=60))
    await client.close()
    return found


def test_a_killed_server_comes_back_with_all_it_had(farm: Family) -> None:
    taken = publish(farm, range(100))
    [pid] = farm.pids("server")
    os.kill(pid, signal.SIGKILL)
    taken |= publish(farm, range(100, 200))
    wait_until(lambda: farm.pids("server") not in ([], [pid]), "another server")
    wait_until(lambda: farm.counters()["brokers"]["main"]["state"] == "up", "the broker to be up")
    taken |= publish(farm, range(200, 300))
    assert len(taken) >= 200
    assert taken <= asyncio.run(outputs(farm, len(taken))).keys()
    assert farm.down() == 0


def test_what_was_taken_is_handled_by_the_next_farm_however_this_one_ends(farm: Family) -> None:
    assert farm.process is not None
    taken = publish(farm, range(200))
    [server] = farm.pids("server")
    farm.process.kill()
    farm.process.wait(30)
    wait_until(lambda: not Path(f"/proc/{server}").exists(), "its server to end with it")
    farm.up()
    taken |= publish(farm, range(200, 400))
    assert farm.down() == 0
    farm.up()
    assert len(taken) == 400
    assert taken == asyncio.run(outputs(farm, len(taken))).keys()


def test_a_server_that_cannot_keep_anything_is_one_line(tmp_path: Path) -> None:
    with family(tmp_path / "farm", MANIFEST, {"echo": wat.wasm("echo")}) as farm:
        folder = farm.rundir.broker("main")
        folder.parent.mkdir(parents=True)
        folder.write_text("in the way")
        ended = farm.run("up", "--workers", "1")
    errors = [line for line in ended.stderr.decode().splitlines() if line.startswith("error:")]
    assert ended.returncode == NOT_PERMITTED, ended.stderr
    assert len(errors) == 1, ended.stderr
    assert str(folder) in errors[0]
    assert b"Traceback" not in ended.stderr
