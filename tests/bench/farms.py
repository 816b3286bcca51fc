"""Real farms to measure: `farm up` in a folder of its own, with its native code already in the cache."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from farm.workers import compiler
from farm.workers.cache import Cache
from tests.bench import guests
from tests.bench.guests import Guest
from tests.system.family import Family, family

ROLES: Final = ("supervisor", "ingest", "gateway", "worker")
HEAD: Final = '[app]\nname = "bench"\n[brokers.test]\ntype = "memory"\n'
LISTENING: Final = "gateway = { port = 0 }\n"


def manifest(names: Sequence[Guest], gateway: bool = False) -> str:
    """A farm.toml: one memory broker, and each guest on a subject of its own."""
    return HEAD + (LISTENING if gateway else "") + "".join(_component(name) for name in names)


def subject_of(guest: Guest) -> str:
    """Where its messages come in."""
    return f"in.{guest.lower()}"


def answers_of(guest: Guest) -> str:
    """Where its answers go."""
    return f"out.{guest.lower()}"


def _component(name: Guest) -> str:
    low = name.lower()
    trigger = f'{{ broker = "test", topic = "{subject_of(name)}", publish = {{ subject = "{answers_of(name)}" }} }}'
    return f'[components.{low}]\nsource = "{low}.wasm"\ntriggers = [{trigger}]\n'


@contextmanager
def farm(names: Sequence[Guest], gateway: bool = False, text: str = "") -> Iterator[Family]:
    """A farm of these guests, not started yet. text: its farm.toml, if it is another than `manifest` makes."""
    for name in names:
        compiler.inspect(guests.path_of(name), Cache(guests.cache_folder()))
    wasm = {name.lower(): guests.path_of(name).read_bytes() for name in names}
    with (
        tempfile.TemporaryDirectory(prefix="farm-") as folder,
        family(Path(folder), text or manifest(names, gateway), wasm) as found,
    ):
        state = found.rundir.state
        state.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(guests.cache_folder().state, state, copy_function=shutil.copy2)
        yield found


def pids(of: Family) -> dict[str, list[int]]:
    """The pids of a running farm, by role."""
    assert of.process is not None
    found = {role: of.pids(role) for role in ROLES if role != "supervisor"}
    return {"supervisor": [of.process.pid], **found}
