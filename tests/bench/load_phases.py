"""The phases of `make load`: who drives each, and how what it prints is read."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from farm.errors import InputError, Problem
from tests.bench import load_http
from tests.bench.load_farm import Place
from tests.bench.load_result import Result, result_of

NAMES: Final = ("wrk", "hey", "relay", "websocket")
CI: Final = "CI"
HTTP: Final = {"wrk": (load_http.wrk, load_http.read_wrk), "hey": (load_http.hey, load_http.read_hey)}


@dataclass(frozen=True)
class Phase:
    """One program that drives. read: its whole output, as a result."""

    name: str
    command: list[str]
    read: Callable[[str], Result]
    probed: bool


def read_drive(output: str) -> Result:
    """What one of our own programs printed."""
    last = output.strip().rpartition("\n")[2]
    if not last.startswith('{"result"'):
        return Result(errors={f"failed: {last[-200:]}": 1})
    return result_of(json.loads(last)["result"])


def phases(options: argparse.Namespace, place: Place, folder: Path) -> Iterator[Phase]:
    """Those that are wanted, and that this farm can have.

    Raises: InputError: it cannot, under CI=true.
    """
    url = f"{place.url}/publish/{quote(place.subject)}"
    shot = load_http.Shot(url, options.payload, options.connections, options.seconds)
    common = ["--relay", place.rundir.relay, "--broker", place.broker, "--subject", place.subject]
    common += [f"--{name}={getattr(options, name)}" for name in ("payload", "connections", "seconds")]
    program = [sys.executable, "-m"]
    for name in options.phases:
        if name in HTTP:
            command, read = HTTP[name]
            yield Phase(name, command(shot, folder), partial(read, shot=shot), probed=True)
        elif name == "relay":
            yield Phase(name, [*program, "tests.bench.load_relay", *common], read_drive, probed=False)
        elif place.listens:
            words = ["--url", place.url, "--heard", place.heard, f"--listeners={options.listeners}"]
            yield Phase(name, [*program, "tests.bench.load_listen", *common, *words], read_drive, probed=False)
        else:
            skip(f"no text or binary WebSockets at {place.url}")


def installed(wanted: Sequence[str]) -> list[str]:
    """The phases whose program is there.

    Raises: InputError: one is missing, under CI=true.
    """
    found: list[str] = []
    for name in wanted:
        if name in HTTP and shutil.which(name) is None:
            skip(f"{name} is not installed (Debian, Ubuntu: apt install {name})")
        else:
            found.append(name)
    return found


def skip(why: str) -> None:
    """Say it in one line.

    Raises: InputError: under CI=true, where nothing is skipped.
    """
    if os.environ.get(CI) == "true":
        raise InputError(Problem(why, why="CI skips nothing"))
    print(f"{why}: that phase is skipped", file=sys.stderr)
