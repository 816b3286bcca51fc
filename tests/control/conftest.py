"""A family of stand-in roles under a real supervisor, in processes of their own, seen from outside."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from farm import rundir
from farm.errors import FarmError
from farm.rundir import Rundir
from farm.wire import admin
from farm.wire.admin import FamilyStatus
from tests.signals import heed_signals

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0


def wait_until(done: Callable[[], Any], what: str) -> Any:
    """Look again and again until `done()` is true; what it then was."""
    end = time.monotonic() + PATIENCE_S
    while not (found := done()):
        assert time.monotonic() < end, f"waited {PATIENCE_S:g} s in vain for {what}"
        time.sleep(0.01)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Standins:
    """One running family."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "FARM_STATE_DIR": str(folder / "state"), "PYTHONPATH": str(ROOT)}
        self.env.pop("XDG_RUNTIME_DIR", None)
        (folder / "farm.toml").touch()
        self.rundir: Rundir = rundir.of(folder / "farm.toml")
        self.rundir.make()
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def does(self, name: str, *how: str) -> None:
        """How the stand-in `name` ("worker-1") behaves when it begins."""
        (self.rundir.state / f"{name}.does").write_text(" ".join(how))

    def order(self, name: str, what: str) -> None:
        """Let a stand-in that runs do something."""
        (self.rundir.state / f"{name}.order").write_text(what)

    def start(self, workers: int = 2, *, prefix: tuple[str, ...] = (), **popen: Any) -> subprocess.Popen[bytes]:
        """Begin; does not wait."""
        words = [*prefix, sys.executable, "-m", "tests.control.standins", str(self.folder), str(workers)]
        with self.log.open("ab") as log:
            ends: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": log, **popen}
            process: Any = subprocess.Popen(
                words, env=self.env, cwd=ROOT, start_new_session=True, preexec_fn=heed_signals, **ends
            )
        self.process = process
        return process

    def up(self, workers: int = 2, *, prefix: tuple[str, ...] = (), **popen: Any) -> FamilyStatus:
        """Begin, and wait until everybody is ready."""
        self.start(workers, prefix=prefix, **popen)
        return self.wait_ready()

    def wait_ready(self) -> FamilyStatus:
        """Wait until everybody is ready."""
        return wait_until(
            lambda: (found := self.status()) and found.state == "ready" and found, "a family that is ready"
        )

    def status(self) -> FamilyStatus | None:
        """What the supervisor says; None while it does not listen."""
        try:
            found, connection = admin.ask(self.rundir.admin, "status", 5)
        except FarmError:
            return None
        connection.close()
        return found

    def pid(self, name: str) -> int:
        """The pid of "worker-1" now."""
        role, _, index = name.partition("-")
        found = self.status()
        assert found is not None
        pid = next(one.pid for one in found.processes if (one.role, one.index) == (role, int(index)))
        assert pid is not None
        return pid

    def heard(self, who: str | None = None, **same: Any) -> list[dict[str, Any]]:
        """What stand-ins wrote down, of one of them, with these fields; the first first."""
        file = self.rundir.state / "heard.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [
            line
            for line in lines
            if (who is None or line["who"] == who) and all(line.get(key) == value for key, value in same.items())
        ]

    def wait_heard(self, who: str, **same: Any) -> dict[str, Any]:
        """Wait until a stand-in has written such a line; the newest one."""
        return wait_until(lambda: self.heard(who, **same), f"{who}: {same}; its log: {self.log.read_text()}")[-1]

    def wait_lives(self, who: str, count: int) -> list[dict[str, Any]]:
        """Wait until a stand-in has begun so often; each of its beginnings."""
        what = f"life {count} of {who}"
        return wait_until(lambda: (lives := self.heard(who, what="begins")) and len(lives) >= count and lives, what)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end; the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def pids(self) -> list[int]:
        """Everybody but the supervisor."""
        found = self.status()
        assert found is not None
        return [one.pid for one in found.processes if one.pid is not None]

    def read_line(self) -> str:
        """The next line of its stdout."""
        assert self.process is not None
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], PATIENCE_S)[0], self.log.read_text()
        return self.process.stdout.readline().decode()


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder with a short name: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="farm-") as made:
        yield Path(made)


@pytest.fixture
def standins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standins]:
    """A family that was not started yet; it ends with its test."""
    monkeypatch.setenv("FARM_STATE_DIR", str(folder / "state"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    family = Standins(folder)
    yield family
    if family.process is not None:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(family.process.pid, signal.SIGKILL)
        family.process.wait(PATIENCE_S)
        if family.process.stdout is not None:
            family.process.stdout.close()
