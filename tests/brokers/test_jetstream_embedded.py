"""Where an embedded server is and how full its disk: files and a disk of the test's own, and a process that is one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm.broker import Home, Published
from farm.brokers.jetstream import JetStreamBroker
from farm.brokers.jetstream_embedded import DISK_S, SILENT_S, Embedded
from farm.brokers.options.nats import JetStreamSpec
from farm.control import server
from farm.errors import BrokerFull, BrokerUnavailable
from farm.message import Message
from farm.rundir import ServerFolder
from farm.testing.rig import Ends, eventually
from tests.servers import WITHIN_S, ServerProcess

Usage = namedtuple("Usage", "total used free")  # noqa: PYI024


class EmbeddedServer(ServerProcess):
    """nats-server as farm runs it, without the rest of the family."""

    name = "nats-server"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.files = ServerFolder(folder)

    def start(self) -> None:
        """It listens first, and then says where."""
        super().start()
        end_s = time.monotonic() + WITHIN_S
        while not any(path.stat().st_size for path in self.files.ports):
            assert time.monotonic() < end_s, self.log
            time.sleep(0.005)

    @property
    def running(self) -> bool:
        assert self._process is not None
        return self._process.poll() is None

    def wait_ended(self) -> bool:
        assert self._process is not None
        self._process.wait(WITHIN_S)
        return not self.running

    def command(self) -> list[str]:
        server.prepare(self.files)
        config = self.files.config
        config.write_text(config.read_text().replace('"127.0.0.1:-1"', f'"127.0.0.1:{self.port}"'))
        return [self._program, "--config", str(config), "--ports_file_dir", str(self.folder)]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how much of the disk is free, from 0 to 1."""
    free = [0.5]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, int(free[0] * 10**12)))

    def set_free(part: float) -> None:
        free[0] = part

    return set_free


@pytest.fixture
def running(tmp_path: Path) -> Iterator[EmbeddedServer]:
    made = EmbeddedServer(tmp_path / "broker")
    made.start()
    yield made
    made.stop()


def test_a_server_that_has_not_started_is_said_to_be_so(tmp_path: Path) -> None:
    embedded = Embedded("js", tmp_path)
    with pytest.raises(BrokerUnavailable, match="not started yet"):
        embedded.servers()
    with pytest.raises(BrokerUnavailable, match="no password"):
        embedded.identity("")


def test_a_file_that_is_not_written_to_its_end_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "nats-server_1.ports").write_text('{"nats": ["nats://127.')
    with pytest.raises(BrokerUnavailable):
        Embedded("js", tmp_path).servers()


def test_the_server_is_found_by_its_files(running: EmbeddedServer) -> None:
    embedded = Embedded("js", running.folder)
    assert list(embedded.servers()) == [f"nats://127.0.0.1:{running.port}"]
    assert embedded.identity("") == {"user": "farm", "pass": running.files.password.read_text()}


def test_little_room_is_a_warning_and_hardly_any_a_fault(
    tmp_path: Path, disk: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    embedded, now_s = Embedded("js", tmp_path), 1000.0
    said: list[tuple[str, int]] = []
    for free in (0.5, 0.19, 0.049, 0.055, 0.07, 0.5):
        disk(free)
        now_s += DISK_S
        embedded.look(now_s, up=True)
        said.append((embedded.fault, capsys.readouterr().out.count("disk of the embedded server")))
    faults = ["", "", "less than 5%", "less than 5%", "", ""]
    assert [fault[:12] for fault, _ in said] == faults
    assert [count for _, count in said] == [0, 1, 1, 0, 1, 1]


def test_a_server_whose_disk_was_full_is_ended_to_be_started_again(
    running: EmbeddedServer, disk: Callable[[float], None]
) -> None:
    embedded = Embedded("js", running.folder)
    disk(0.01)
    embedded.look(1000.0, up=True)
    assert running.running
    disk(0.10)
    embedded.look(1000.0 + DISK_S, up=True)
    assert running.wait_ended()


def test_a_server_that_is_silent_for_long_is_killed(running: EmbeddedServer, disk: Callable[[float], None]) -> None:
    embedded = Embedded("js", running.folder)
    running.pause()
    embedded.look(1000.0, up=False)
    embedded.look(1000.0 + SILENT_S, up=True)
    embedded.look(1001.0 + SILENT_S, up=False)
    embedded.look(1000.0 + 2 * SILENT_S, up=False)
    assert running.running
    embedded.look(1002.0 + 2 * SILENT_S, up=False)
    assert running.wait_ended()


def test_no_other_process_is_ended(tmp_path: Path, disk: Callable[[float], None]) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (tmp_path / f"nats-server_{other.pid}.ports").write_text("{}")
    embedded = Embedded("js", tmp_path)
    embedded.look(1000.0, up=False)
    embedded.look(1001.0 + SILENT_S, up=False)
    assert other.poll() is None
    other.communicate(b"\n")
    assert other.returncode == 0


async def test_nothing_is_published_onto_a_full_disk(running: EmbeddedServer, disk: Callable[[float], None]) -> None:
    home = Home("app", "000000000000", lambda: running.folder, lambda secret: "")
    broker = JetStreamBroker(JetStreamSpec(name="js", type="jetstream", server="embedded", subjects=("a.>",)), home)
    ends = await Ends(broker).start()
    [answer] = await ends.publish(Message("1", "a.b", b"x"))
    assert isinstance(answer, Published)
    disk(0.01)
    await eventually(lambda: broker.state == "down", "the broker to see it")
    assert "less than 5%" in broker.fault
    [answer] = await ends.publish(Message("2", "a.b", b"x"))
    assert isinstance(answer, BrokerFull)
    disk(0.5)
    await eventually(lambda: not running.running, "the server to be ended")
    running.stop()
    running.start()
    await eventually(lambda: broker.state == "up", "the broker to be up again")
    [answer] = await ends.publish(Message("3", "a.b", b"x"))
    assert isinstance(answer, Published)
    await broker.close()
