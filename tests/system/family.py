"""A real farm for a test: `farm up` as a person runs it, in a folder of its own, seen from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from farm import rundir
from farm.client.blocking import Farm
from farm.errors import FarmError
from farm.rundir import Rundir
from farm.wire import admin

FARM = Path(sys.executable).with_name("farm")
PATIENCE_S = 60.0


def wait_until(done: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Look again and again until `done`; fails, naming what was waited for, when that takes too long."""
    end = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < end, f"waited {patience_s:g} s in vain for {what}"
        time.sleep(0.02)


def run_farm(*words: str, cwd: Path, env: Mapping[str, str], input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """One `farm` command to its end."""
    return subprocess.run([FARM, *words], cwd=cwd, env=dict(env), input=input, capture_output=True, timeout=120)


class Family:
    """One running farm. Everything it is asked is asked from outside: by its commands, its sockets, its ports."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "FARM_STATE_DIR": str(state), "FARM_LOG_LEVEL": "info"}
        self.env.pop("XDG_RUNTIME_DIR", None)
        self.log = folder / "farm.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def rundir(self) -> Rundir:
        """Its directories."""
        before = {name: os.environ.get(name) for name in ("FARM_STATE_DIR", "XDG_RUNTIME_DIR")}
        os.environ["FARM_STATE_DIR"] = self.env["FARM_STATE_DIR"]
        os.environ.pop("XDG_RUNTIME_DIR", None)
        try:
            return rundir.of(self.folder / "farm.toml")
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value

    def up(self, workers: int = 2) -> None:
        """`farm up`, until it says ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [FARM, "up", "--workers", str(workers)],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(b"ready"), f"farm up said {line!r}; its log:\n{self.log_text()}"

    def log_text(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def run(self, *words: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """One `farm` command here."""
        return run_farm(*words, cwd=self.folder, env=self.env, input=input)

    def connect(self) -> Farm:
        """A client of its relay."""
        return Farm.connect(self.rundir)

    def status(self) -> dict[str, Any]:
        """`farm status --json`."""
        answer = self.run("status", "--json")
        assert answer.stdout, answer.stderr.decode()
        return json.loads(answer.stdout)

    def counters(self) -> dict[str, Any]:
        """Brokers and components, asked of the relay: cheap enough to ask often."""
        with self.connect() as farm:
            return farm.status(5.0)

    def component(self, name: str) -> dict[str, Any]:
        """One component's counters."""
        return self.counters()["components"][name]

    def pids(self, role: str) -> list[int]:
        """The pids of a role, those that have none left out."""
        family, line = admin.ask(self.rundir.admin, "status", 5.0)
        line.close()
        return [p.pid for p in family.processes if p.role == role and p.pid is not None]

    def wait_settled(self, patience_s: float = PATIENCE_S) -> None:
        """Until nothing waits and nothing is in flight."""

        def settled() -> bool:
            with contextlib.suppress(FarmError):  # ingest may be on its way back
                components = self.counters()["components"].values()
                return all(c["waiting"] == 0 and c["in_flight"] == 0 for c in components)
            return False

        wait_until(settled, "every message to be settled", patience_s)

    def wait_ready(self, patience_s: float = PATIENCE_S) -> None:
        """Until `farm status` says ready."""
        wait_until(lambda: self.status()["state"] == "ready", "the farm to be ready", patience_s)

    def down(self) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """End it however it stands."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(30)
            assert self.process.stdout is not None
            self.process.stdout.close()


@contextlib.contextmanager
def family(folder: Path, manifest: str, guests: Mapping[str, bytes]) -> Iterator[Family]:
    """A farm in `folder` with this manifest and these .wasm files beside it; not started yet, ended in any case."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "farm.toml").write_text(manifest)
    for name, wasm in guests.items():
        (folder / f"{name}.wasm").write_bytes(wasm)
    with tempfile.TemporaryDirectory(prefix="farm-") as state:  # sockets want a short path
        made = Family(folder, Path(state))
        try:
            yield made
            assert "Traceback" not in made.log_text(), "a fault of ours"
        finally:
            made.kill()
