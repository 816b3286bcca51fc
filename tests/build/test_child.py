"""The builder's process: it ends when its parent does, and two at once do not disturb each other."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from farm.build import __main__ as builder
from farm.build.child import build_in_child
from farm.errors import BadComponent, NoRoom
from tests.build.conftest import write_files
from tests.sources import ROOT

ENDLESS = "from farm.sdk import *\n@message_component\ndef handle(message): pass\nwhile True: pass\n"
PARENT = """\
import sys
from pathlib import Path
from farm.build.child import build_in_child
build_in_child(Path(sys.argv[1]))
"""
PATIENCE_S = 30.0


def children_of(pid: int) -> list[psutil.Process]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := psutil.Process(pid).children():
            return found
        time.sleep(0.01)
    raise AssertionError("no child came")


def test_a_builder_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": ENDLESS})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", PARENT, tmp_path / "hello.py"], env=environment) as parent:
        children = children_of(parent.pid)
        parent.kill()
    _, alive = psutil.wait_procs(children, PATIENCE_S)
    assert alive == []


def test_a_builder_that_was_stopped_leaves_no_process(tmp_path: Path) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": ENDLESS})
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(build_in_child, tmp_path / "hello.py", (), 2.0)
        children = children_of(os.getpid())
        with pytest.raises(BadComponent, match="build took too long"):
            building.result()
    _, alive = psutil.wait_procs(children, PATIENCE_S)
    assert alive == []


@pytest.mark.parametrize(("library", "name"), [(tempfile, "mkdtemp"), (subprocess, "Popen")])
def test_a_signal_that_comes_before_what_was_begun_is_known_leaves_none_of_it(
    library: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": ENDLESS})
    begun: Callable[..., Any] = getattr(library, name)

    def signalled(*words: Any, **more: Any) -> Any:
        result = begun(*words, **more)
        signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(library, name, signalled)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            build_in_child(tmp_path / "hello.py")
    finally:
        signal.signal(signal.SIGINT, before)
    assert [*(tmp_path / ".farm" / "build").iterdir()] == []
    assert psutil.Process().children() == []
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_builder_itself_is_ended_by_a_signal(tmp_path: Path) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": ENDLESS})
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(build_in_child, tmp_path / "hello.py", (), 20.0)
        children_of(os.getpid())[0].terminate()
        with pytest.raises(BadComponent, match="the builder died .*by signal SIGTERM"):
            building.result()


def test_two_builders_of_one_handler_both_succeed(tmp_path: Path) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": ENDLESS.replace("while True: pass\n", "")})
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(build_in_child, [tmp_path / "hello.py"] * 2)
    assert first == second
    assert list(first.parent.iterdir()) == [first]


@pytest.mark.parametrize("words", ["kind: StorageFull, error: TarError", "cp: No space left on device"])
def test_a_builder_that_died_for_want_of_room_is_no_fault_of_the_handler(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": ENDLESS, "tool": f"#!/bin/sh\necho '{words}' >&2\nexit 1\n"})
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "tool"))
    with pytest.raises(NoRoom, match=r"no room to build \(.*/\.farm/build\): No space left on device. Free some"):
        build_in_child(tmp_path / "hello.py")


def test_a_file_that_a_full_disk_does_not_take_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Path:
        error = OSError(errno.ENOSPC, "No space left on device", "/sdk/_host.py")
        error.filename2 = "/app/.farm/build/_host.py"
        raise error

    monkeypatch.setattr(builder, "build", full)
    answer, code = builder.answer(tmp_path / "hello.py", [])
    assert (code, answer["error"]) == (1, "no-room")
    assert answer["problems"][0]["where"] == "/app/.farm/build/_host.py"
