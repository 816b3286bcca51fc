"""An embedded server under a real supervisor: the program itself, beside stand-ins for everybody else."""

from __future__ import annotations

import json
import os
import signal
import stat
from dataclasses import replace
from pathlib import Path

import nats
import nats.errors
import pytest

from farm.brokers.options.nats import JetStreamSpec
from farm.control import server
from farm.control.roles import SERVERS_LIMIT, embedded
from farm.errors import BadValue
from farm.rundir import ServerFolder
from tests.control import standins
from tests.control.conftest import Standins, alive, wait_until
from tests.servers import program


@pytest.fixture
def family(standins: Standins) -> Standins:
    """Stand-ins, with a broker whose server is embedded."""
    program("nats-server")
    (standins.folder / "embedded").touch()
    return standins


def folder_of(family: Standins) -> ServerFolder:
    return ServerFolder(family.rundir.broker("durable"))


def url_of(family: Standins) -> str:
    """Where the server is, once this life of it listens."""
    ports = folder_of(family).path / f"nats-server_{family.pid('server-0')}.ports"
    wait_until(lambda: ports.exists() and ports.read_text().endswith("}"), "a server that listens")
    [url] = json.loads(ports.read_text())["nats"]
    return url


async def test_the_server_answers_whoever_knows_its_password(family: Standins) -> None:
    family.up(workers=1)
    url = url_of(family)
    assert url.startswith("nats://127.0.0.1:")
    password = folder_of(family).password.read_text()
    client = await nats.connect(url, user=server.USER, password=password, allow_reconnect=False)
    assert (await client.jetstream().account_info()).streams == 0
    assert client.max_payload == server.PAYLOAD_LIMIT_BYTES
    await client.close()
    with pytest.raises(nats.errors.Error):
        await nats.connect(url, user=server.USER, password="guessed", allow_reconnect=False, error_cb=ignored)


async def ignored(_: Exception) -> None:
    """The test sees it raised."""


def test_nobody_else_can_read_what_the_server_runs_with(family: Standins) -> None:
    family.up(workers=1)
    url_of(family)
    folder = folder_of(family)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder.config, folder.password)] == [0o600, 0o600]
    pid = family.pid("server-0")
    assert folder.password.read_bytes() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""


def test_what_is_confirmed_is_on_the_disk(family: Standins) -> None:
    family.up(workers=1)
    url_of(family)
    assert json.loads(folder_of(family).config.read_text())["jetstream"]["sync_interval"] == "always"


def test_a_killed_server_is_started_again_with_another_password(family: Standins) -> None:
    family.up(workers=1)
    url_of(family)
    before, password = family.pid("server-0"), folder_of(family).password.read_text()
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: (found := family.status()) and found.processes[-1].pid not in (None, before), "a new server")
    url_of(family)
    assert folder_of(family).password.read_text() != password
    found = family.status()
    assert found is not None
    assert [one.restarts for one in found.processes] == [0, 0, 0, 1]


def test_the_server_ends_last(family: Standins) -> None:
    family.up(workers=1)
    url_of(family)
    pid = family.pid("server-0")
    assert family.process is not None
    family.process.send_signal(signal.SIGTERM)
    assert family.process.wait(60) == 0
    assert not alive(pid)
    log = [json.loads(line) for line in family.log.read_text().splitlines() if line.startswith("{")]
    ended = [line["process"] for line in log if line.get("event") == "ended"]
    assert ended[-1] == "server"
    assert "Server Exiting" in folder_of(family).log.read_text()


def test_the_server_does_not_outlive_a_killed_supervisor(family: Standins) -> None:
    family.up(workers=1)
    url_of(family)
    pid = family.pid("server-0")
    assert family.process is not None
    family.process.kill()
    family.process.wait(30)
    wait_until(lambda: not alive(pid), "the end of the server")


def test_a_signal_to_the_whole_group_does_not_reach_the_server(family: Standins) -> None:
    family.up(workers=1)
    url_of(family)
    assert family.process is not None
    assert os.getsid(family.pid("server-0")) != os.getsid(family.process.pid)


def test_its_silence_is_no_reason_to_kill_it(family: Standins) -> None:
    family.up(workers=1)
    url_of(family)
    pid = family.pid("server-0")
    killed = family.pid("worker-0")
    os.kill(killed, signal.SIGSTOP)  # its promise ends after that of the server would
    family.wait_lives("worker-0", 2)
    assert family.pid("server-0") == pid
    assert alive(pid)


def test_why_a_server_dies_again_and_again_is_told_with_its_log(family: Standins) -> None:
    folder = folder_of(family)
    folder.path.mkdir(parents=True, mode=0o700)
    folder.store.write_text("no folder")
    family.does("ingest-0", "late")  # it waits for the server
    assert family.start(workers=1).wait(30) == 70
    (line,) = [line for line in family.log.read_text().splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: server died again and again ({folder.log}): Can't start JetStream: ")


def test_more_servers_than_a_farm_may_have_are_refused(tmp_path: Path) -> None:
    spec = standins.spec_at(tmp_path)
    names = [f"b{n}" for n in range(SERVERS_LIMIT + 1)]
    brokers = {name: JetStreamSpec(name=name, type="jetstream", server="embedded") for name in names}
    with pytest.raises(BadValue, match=f"brokers.b{SERVERS_LIMIT}"):
        embedded(replace(spec, brokers=brokers))
    assert embedded(replace(spec, brokers=dict(list(brokers.items())[:2]))) == ["b0", "b1"]
