"""Real servers for tests: each on a loopback port of its own, with its files in a folder of the test.

They end with the process that started them, whatever becomes of it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

IN_CI: Final = os.environ.get("CI") == "true"
WITHIN_S: Final = 15.0
TRIES: Final = 5
PR_SET_PDEATHSIG: Final = 1


def find(name: str) -> str | None:
    """The path of a program: beside this Python, else on PATH; None: it is not installed."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.is_file() else shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def program(name: str, *, in_ci: bool = IN_CI) -> Path:
    """The path of a program. Where it is missing the test is skipped, by the program's name, on a laptop, and fails in
    CI.
    """
    if (found := find(name)) is not None:
        return Path(found)
    if in_ci:
        pytest.fail(f"{name} is not installed, and CI skips nothing", pytrace=False)
    pytest.skip(f"{name} is not installed")


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ServerProcess(ABC):
    """One server. `start` again takes the port that it had, and what it kept."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = 0
        self._program = str(program(self.name))
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """What is run, for `self.port`; writes the configuration first, if there is one."""

    @property
    def log(self) -> str:
        """What it has said."""
        path = self.folder / f"{self.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; it accepts connections when this returns."""
        assert self._process is None, f"{self.name} runs already"
        for _ in range(TRIES):
            self.port = self.port or free_port()
            if self._started():
                return
            if "in use" not in self.log:
                break
            self.port = 0
        raise AssertionError(f"{self.name} does not start:\n{self.log[-2000:]}")

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it be silent, with its connections open; every thread of it stands still when this returns."""
        os.kill(self.pid, signal.SIGSTOP)
        end_s = time.monotonic() + WITHIN_S
        while not _stands_still(self.pid):
            assert time.monotonic() < end_s, f"{self.name} does not stop"
            time.sleep(0.001)

    def go_on(self) -> None:
        """Let it speak again."""
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(WITHIN_S)
        self._process = None

    def _started(self) -> bool:
        with (self.folder / f"{self.name}.log").open("ab") as log:
            process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_die_with_parent
            )
        end_s = time.monotonic() + WITHIN_S
        while process.poll() is None and time.monotonic() < end_s:
            if _listens(process.pid, self.port):
                self._process = process
                return True
            time.sleep(0.005)
        process.kill()
        process.wait(WITHIN_S)
        return False


class RedisServer(ServerProcess):
    """redis-server; every write is on the disk before it is answered. options: further words of its command line."""

    name = "redis-server"

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder)
        self.options = options

    def command(self) -> Sequence[str]:
        """An append-only file in the folder."""
        settings = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        return [self._program, *settings, "--appendonly", "yes", "--appendfsync", "always", *self.options]


class NatsServer(ServerProcess):
    """nats-server. config: further lines of its configuration; jetstream: with a store in the folder."""

    name = "nats-server"

    def __init__(self, folder: Path, config: str = "", *, jetstream: bool = False) -> None:
        super().__init__(folder)
        self.config = config
        self.jetstream = jetstream

    def command(self) -> Sequence[str]:
        """A configuration file."""
        lines = [f"listen: 127.0.0.1:{self.port}", self.config]
        if self.jetstream:
            lines.append(f'jetstream {{ store_dir: "{self.folder / "store"}", sync_interval: always }}')
        path = self.folder / "nats.conf"
        path.write_text("\n".join(lines))
        return [self._program, "-c", str(path)]


class Mosquitto(ServerProcess):
    """mosquitto. config: further lines of its configuration, after `listener`; without one anybody may do anything."""

    name = "mosquitto"

    def __init__(self, folder: Path, config: str = "allow_anonymous true") -> None:
        super().__init__(folder)
        self.config = config

    def command(self) -> Sequence[str]:
        """A configuration file; what it keeps is in the folder, written at its end and every second."""
        store = [f"persistence_location {self.folder}/", "persistence true", "autosave_interval 1"]
        limits = ["max_queued_messages 0", "log_dest stderr", f"user {os.environ.get('USER') or 'root'}"]
        path = self.folder / "mosquitto.conf"
        path.write_text("\n".join([*store, *limits, f"listener {self.port} 127.0.0.1", self.config, ""]))
        return [self._program, "-c", str(path)]


def _listens(pid: int, port: int) -> bool:
    """Whether this process, and no other, accepts connections on a port."""
    ends = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if _is_listener(line, port)}
    try:
        held = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:
        return False  # it has ended, or a descriptor has meanwhile: asked again
    return bool(held & {f"socket:[{inode}]" for inode in ends})


def _stands_still(pid: int) -> bool:
    try:
        states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return False  # a thread has ended meanwhile
    return all(state == "T" for state in states)


def _is_listener(line: str, port: int) -> bool:
    fields = line.split()
    return fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
