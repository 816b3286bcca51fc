"""The farm that is measured: started in a folder of its own, or one that runs already; seen from outside."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from farm import rundir
from farm.build.python import build
from farm.client.blocking import Farm
from farm.errors import InputError, NotRunning, Problem
from farm.rundir import Rundir
from farm.wire import admin
from tests.guests import wat

ROOT: Final = Path(__file__).parents[2]
FARM: Final = (str(Path(sys.executable).with_name("farm")),)
END_S: Final = 60.0
SAID: Final = 20  # lines of the farm's log to show at the end

SUBJECT: Final = "load.in"
ANSWERS: Final = "load.out"

MANIFEST: Final = """
[app]
name = "load"
[brokers.main]
type = "memory"
gateway = {{ port = {port}, websockets = "binary" }}
[components.echo]
source = "echo.wasm"
triggers = [{{ broker = "main", topic = "load.in", publish = {{ subject = "load.out" }} }}]
"""

HANDLER: Final = """
from farm.sdk import Message, message_component

@message_component
def handle(message: Message) -> Message:
    return Message(message.text)
"""


@dataclass(frozen=True)
class Wanted:
    """A farm to start. command: what stands before `up`, `farm` itself unless someone wants to watch it."""

    guest: str = "tiny"
    workers: int | None = None
    command: Sequence[str] = FARM
    env: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Place:
    """A running farm: its directories, where it listens, and what to publish and to hear there."""

    rundir: Rundir
    url: str
    subject: str
    answers: str

    def connect(self) -> Farm:
        """A client of its relay."""
        return Farm.connect(self.rundir)

    def pids(self, role: str) -> list[int]:
        """The pids of a role, those that have none left out."""
        family, line = admin.ask(self.rundir.admin, "status", 5.0)
        line.close()
        return [p.pid for p in family.processes if p.role == role and p.pid is not None]


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def guest_bytes(guest: str) -> bytes:
    """A guest that answers with what it is given: `tiny`, by hand, or `python`."""
    if guest == "tiny":
        return wat.wasm("echo")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "guest.py"
        source.write_text(HANDLER)
        return build(source, ()).read_bytes()


@contextlib.contextmanager
def started(wanted: Wanted) -> Iterator[Place]:
    """A farm of its own, in a temporary folder; drained at the end.

    Raises: NotRunning: it did not come up; what it said is in the text.
    """
    with tempfile.TemporaryDirectory(prefix="farm-") as name:  # sockets want a short path
        folder, port = Path(name), free_port()
        (folder / "farm.toml").write_text(MANIFEST.format(port=port))
        (folder / "echo.wasm").write_bytes(guest_bytes(wanted.guest))
        env = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
        env |= {"FARM_STATE_DIR": str(folder / "state"), "FARM_LOG_LEVEL": "warning", **wanted.env}
        log = folder / "farm.log"
        words = [*wanted.command, "up", *(("--workers", str(wanted.workers)) if wanted.workers else ())]
        with log.open("wb") as errors:
            process = subprocess.Popen(
                words,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the one who measures
            )
        try:
            assert process.stdout is not None
            if not process.stdout.readline().startswith(b"ready"):
                said = log.read_text(errors="replace").strip().splitlines()
                raise NotRunning(Problem("farm did not start", why=said[-1] if said else "it said nothing"))
            yield Place(_found(folder, env["FARM_STATE_DIR"]), f"http://127.0.0.1:{port}", SUBJECT, ANSWERS)
        finally:
            _end(process)
            for line in log.read_text(errors="replace").splitlines()[-SAID:]:
                print(f"farm: {_shown(line)}", file=sys.stderr)


def running(folder: Path, url: str, subject: str, answers: str) -> Place:
    """The farm that runs in `folder`.

    Raises:
      InputError: there is no manifest.
      NotRunning: nobody runs there.
    """
    manifest = folder / "farm.toml"
    if not manifest.exists():
        raise InputError(Problem("no farm.toml", where=str(folder), todo="Name the folder of the farm: --farm DIR"))
    place = Place(rundir.of(manifest), url.rstrip("/"), subject, answers)
    place.connect().close()
    return place


def machine() -> dict[str, object]:
    """What this runs on."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0].partition(":")[2].strip() if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _found(folder: Path, state: str) -> Rundir:
    """The directories of a farm that was told where its state lies."""
    before = {name: os.environ.get(name) for name in ("FARM_STATE_DIR", "XDG_RUNTIME_DIR")}
    os.environ["FARM_STATE_DIR"] = state
    os.environ.pop("XDG_RUNTIME_DIR", None)
    try:
        return rundir.of(folder / "farm.toml")
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _shown(line: str) -> str:
    """A line of the farm's log, without what a person need not read here."""
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        return line
    return " ".join(f"{key}={value}" for key, value in event.items() if key not in {"timestamp", "exception"})
