"""The farm that is measured: started in a folder of its own, or one that runs already; seen from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from farm import rundir
from farm.client.blocking import Farm
from farm.errors import InputError, NotRunning, Problem
from farm.manifest.read import read
from farm.rundir import Rundir
from farm.subject import compile_filter
from farm.wire import admin
from tests.bench.guests import Guest, path_of

ROOT: Final = Path(__file__).parents[2]
FARM: Final = (str(Path(sys.executable).with_name("farm")),)
END_S: Final = 60.0
SAID: Final = 20  # lines of the farm's log to show at the end

SUBJECT: Final = "load.in"
ANSWERS: Final = "load.out"

GUESTS: Final[dict[str, Guest]] = {"tiny": "tiny", "python": "Python"}  # as a command line names them

MANIFEST: Final = """
[app]
name = "load"
[brokers.main]
type = "memory"
gateway = { port = 0, websockets = "binary" }
[components.echo]
source = "echo.wasm"
triggers = [{ broker = "main", topic = "load.in", publish = { subject = "load.out" } }]
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
    """A running farm: its directories, where it listens, and what to publish and to hear there.

    components: whom the subject reaches, with how many triggers each. listens: whether WebSockets there give payloads.
    """

    rundir: Rundir
    url: str
    subject: str
    heard: str
    components: Mapping[str, int]
    broker: str = "main"
    listens: bool = True

    def connect(self) -> Farm:
        """A client of its relay."""
        return Farm.connect(self.rundir)

    def pids(self, role: str) -> list[int]:
        """The pids of a role, those that have none left out."""
        return [p.pid for p in _family(self.rundir).processes if p.role == role and p.pid is not None]


@contextlib.contextmanager
def started(wanted: Wanted) -> Iterator[Place]:
    """A farm of its own, in a temporary folder; drained at the end.

    Raises: NotRunning: it did not come up; what it said is in the text.
    """
    with tempfile.TemporaryDirectory(prefix="farm-") as name:  # sockets want a short path
        folder = Path(name)
        (folder / "farm.toml").write_text(MANIFEST)
        (folder / "echo.wasm").write_bytes(path_of(GUESTS[wanted.guest]).read_bytes())
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
            found = _found(folder, env["FARM_STATE_DIR"])
            yield Place(found, f"http://{_family(found).listens['main']}", SUBJECT, ANSWERS, {"echo": 1})
        finally:
            _end(process)
        said = Counter(_shown(line) for line in log.read_text(errors="replace").splitlines())
        for line, times in list(said.items())[-SAID:]:
            print(f"farm: {line}" + (f" ({times} times)" if times > 1 else ""), file=sys.stderr)


def running(folder: Path, url: str, subject: str | None) -> Place:
    """The farm that runs in `folder`, at the gateway of `url`. No subject: one that a trigger there matches.

    Raises:
      InputError: the manifest is missing or bad, no gateway is at that URL, or no trigger matches.
      NotRunning: nobody runs there.
    """
    manifest = folder / "farm.toml"
    if not manifest.exists():
        raise InputError(Problem("no farm.toml", where=str(folder), todo="Name the folder of the farm: --farm DIR"))
    spec = read(manifest, os.environ).spec
    found = rundir.of(manifest)
    addresses, at = _family(found).listens, urlsplit(url).netloc.replace("localhost", "127.0.0.1")
    broker = next((name for name, address in addresses.items() if address == at), None)
    if broker is None:
        why = f"it listens at {', '.join(addresses.values()) or 'none'}"
        raise InputError(Problem("no gateway of this farm", where=url, why=why))
    grammar = spec.brokers[broker].grammar
    topics = [
        (each.name, one.topic) for each in spec.components.values() for one in each.triggers if one.broker == broker
    ]
    matchers = [(name, compile_filter(topic, grammar)) for name, topic in topics]
    examples = (_example(topic) for _, topic in topics)
    matching = (one for one in examples if any(matches(one) for _, matches in matchers))
    subject = subject or next(matching, "")
    reached = Counter(name for name, matches in matchers if matches(subject))
    if not reached:
        raise InputError(
            Problem("no trigger matches", where=subject or broker, todo="Name another: --subject hello.load")
        )
    gateway = spec.brokers[broker].gateway
    listens = gateway is not None and gateway.websockets in ("text", "binary")
    return Place(found, url.rstrip("/"), subject, subject, reached, broker, listens)


def _example(topic: str) -> str:
    """A subject that a topic may match: a word for each wildcard, a letter for a `?`."""
    return re.sub(r"[*+#>]", "load", topic).replace("?", "x")


def _family(found: Rundir) -> admin.FamilyStatus:
    family, line = admin.ask(found.admin, "status", 5.0)
    line.close()
    return family


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
    event["exception"] = str(event.get("exception", "")).strip().rpartition("\n")[2]
    return " ".join(f"{key}={value}" for key, value in event.items() if value != "" and key != "timestamp")
