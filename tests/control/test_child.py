"""Births where there are no descriptors, or no parent any more: each in a process of its own, for which that holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.control.conftest import ROOT

BEGIN = """
import os, resource, sys
from pathlib import Path
from farm import log
from farm.control import child, kernel
from farm.control.child import Launch
from farm.control.family import Family, Plan
from farm.rundir import Rundir
from farm.wire import lifeline
from farm.wire.lifeline import Post
from farm.wire.pulse import Board
from tests.control.standins import ROLES, spec_at

log.configure("info", "supervisor")
kernel.load()
spec = spec_at(Path(sys.argv[1]))
rundir = Rundir(state=Path(sys.argv[1]), runtime=Path(sys.argv[1]))
family = Family(Plan(spec, rundir, 1, "info", roles=ROLES))

def leave_room_for(count):
    free = [number for number in range(1000) if not is_open(number)][:count + 1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[count], resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True

def open_count():
    return sum(is_open(number) for number in range(1000))

def childless():
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False

before = open_count()
"""

FORK = """
parent_end, child_end = lifeline.pair()
pulse = family.ingest.pulse
post = Post(spec, rundir, "ingest", 0, b"x" * 16, pulse.slot, child_end, pulse, Board())
leave_room_for(0)
try:
    child.fork(Launch(ROLES[0], post, "info"))
except OSError as error:
    print(error.errno, childless())
"""

START = """
leave_room_for(int(sys.argv[2]))
print(family.start(family.ingest), childless(), family.ingest.waits_until_s() > 0, open_count() - before)
"""


ORPHAN = """
kernel.die_with_parent(os.getppid())
print("lives", flush=True)
kernel.die_with_parent(os.getppid() + 1)
print("lives on")
"""


def run(script: str, *arguments: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", BEGIN + script, *arguments]
    return subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout


def test_a_child_that_no_descriptor_tells_of_is_killed_and_reaped(tmp_path: Path) -> None:
    assert run(FORK, str(tmp_path)).split() == ["24", "True"]


@pytest.mark.parametrize("room", ["1", "2"], ids=["no lifeline", "no pidfd"])
def test_without_descriptors_a_start_is_put_off_and_leaves_nothing_behind(tmp_path: Path, room: str) -> None:
    assert run(START, str(tmp_path), room).split() == ["None", "True", "True", "0"]


def test_a_child_whose_parent_has_died_before_it_could_ask_to_die_with_it_ends(tmp_path: Path) -> None:
    assert run(ORPHAN, str(tmp_path)).split() == ["lives"]
