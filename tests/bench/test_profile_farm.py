"""Looking into a process of farm, and what is said when that is not permitted."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from farm.errors import Internal, NotPermitted
from tests.bench import profile_farm
from tests.bench.load_farm import Wanted, started
from tests.bench.profile_stacks import Stack


def fake_py_spy(folder: Path, script: str) -> str:
    program = folder / "py-spy"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def test_a_process_that_may_not_be_looked_into_is_said_in_one_line(tmp_path: Path) -> None:
    spy = fake_py_spy(tmp_path, "echo 'Error: Permission Denied' >&2; echo '  6: thread_start' >&2; exit 1")
    with pytest.raises(NotPermitted, match=r"may not look .*Permission Denied\. Try `sudo make profile`"):
        profile_farm.record(spy, 1, 1)


def test_another_failure_of_py_spy_is_not_called_a_permission(tmp_path: Path) -> None:
    spy = fake_py_spy(tmp_path, "echo 'Error: No such process' >&2; exit 1")
    with pytest.raises(Internal, match="No such process"):
        profile_farm.record(spy, 1, 1)


def looked(pid: int) -> list[Stack]:
    try:
        return profile_farm.record(profile_farm.py_spy(), pid, 1)
    except NotPermitted as error:
        pytest.skip(str(error))


def test_a_farm_that_lets_itself_be_watched_shows_its_functions() -> None:
    wanted = Wanted("tiny", 1, profile_farm.UP, {"PYTHONPATH": str(profile_farm.ROOT)})
    with started(wanted) as place:
        stream = profile_farm.Stream(place, b"x")
        watch = profile_farm.Watch(place, stream)
        stream.start()
        watch.start()
        try:
            seen = looked(place.pids("worker")[0])
        finally:
            stream.end()
            watch.end()
    assert any(frame.file.startswith("farm/workers/") for stack in seen for frame in stack.frames)
