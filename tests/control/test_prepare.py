"""Everything built and compiled before the first fork: once, and with every problem said at once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from farm.control import prepare as preparing
from farm.control.prepare import build_all
from farm.spec import ComponentSpec
from tests.control.conftest import ROOT
from tests.control.standins import spec_at
from tests.guests import wat


@dataclasses.dataclass(frozen=True)
class Family:
    """A farm whose components are these files, prepared by a process of its own: it forks, and pytest may not."""

    folder: Path

    def add(self, name: str, content: bytes) -> None:
        (self.folder / f"{name}.wasm").write_bytes(content)

    def run(self, script: str, *names: str) -> Any:
        """Run a script that knows `spec` and `directories`, and prints JSON last; what it printed."""
        words = [sys.executable, "-c", HEAD + script, str(self.folder), *names]
        env = {**os.environ, "FARM_STATE_DIR": str(self.folder / "state")}
        env.pop("XDG_RUNTIME_DIR", None)
        ended = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)


HEAD = """
import dataclasses, json, os, sys
from pathlib import Path
from farm import log, rundir
from farm.control.inspection import Inspector
from farm.control.prepare import prepare
from farm.control.roles import CHECKER, COMPILER
from farm.errors import FarmError
from farm.spec import ComponentSpec
from tests.control.standins import spec_at
folder, names = Path(sys.argv[1]), sys.argv[2:]
components = {name: ComponentSpec(name=name, source=folder / f"{name}.wasm", triggers=()) for name in names}
spec = dataclasses.replace(spec_at(folder), components=components)
directories = rundir.of(spec.path)
directories.make()
log.configure("error", "test")
"""

INSPECT_TWICE = """
inspector = Inspector(spec, directories, COMPILER, "error")
found = [inspector.inspect("echo", folder / "echo.wasm") for _ in range(2)]
print(json.dumps([[one.compiled, one.digest, len(one.entry), one.problems] for one in found]))
"""

FULL = """
import errno
write = os.write
def write_or_refuse(fd, data):
    if os.readlink(f"/proc/self/fd/{fd}").endswith(".new"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return write(fd, data)
os.write = write_or_refuse
"""

PREPARE = """
try:
    done = prepare(spec, directories, "error")
    found = {name: [str(one.wasm), one.digest, len(done.entries[name])] for name, one in done.spec.components.items()}
    print(json.dumps([found, len(os.listdir("/proc/self/task"))]))
except FarmError as error:
    print(json.dumps([error.exit_code, [str(problem) for problem in error.problems]]))
"""

CHECK = """
found = Inspector(spec, directories, CHECKER, "error").inspect("echo", folder / "echo.wasm")
print(json.dumps([found.problems, os.listdir(directories.cache)]))
"""

DIE = """
role = dataclasses.replace(COMPILER, target="tests.control.standins:" + names[1])
found = Inspector(spec, directories, role, "error").inspect("echo", folder / "echo.wasm")
print(json.dumps([found.exit_code, found.problems]))
"""


@pytest.fixture
def family(folder: Path) -> Family:
    return Family(folder)


def test_a_component_is_compiled_once_and_then_found(family: Family) -> None:
    family.add("echo", wat.wasm("echo"))
    first, second = family.run(INSPECT_TWICE, "echo")
    digest = hashlib.sha256(wat.wasm("echo")).hexdigest()
    assert first[:2] == [True, digest]
    assert second[:2] == [False, digest]
    assert first[2] > 0
    assert first[3] == second[3] == []


def test_what_is_prepared_is_all_that_workers_need_and_no_thread_is_left(family: Family) -> None:
    family.add("echo", wat.wasm("echo"))
    family.add("twin", wat.wasm("echo"))
    found, threads = family.run(PREPARE, "echo", "twin")
    for name in ("echo", "twin"):
        wasm, digest, entry_bytes = found[name]
        assert wasm == str(family.folder / f"{name}.wasm")
        assert digest == hashlib.sha256(wat.wasm("echo")).hexdigest()
        assert entry_bytes > 0
    assert threads == 1


def test_where_no_disk_has_room_for_native_code_the_line_says_so(family: Family) -> None:
    family.add("echo", wat.wasm("echo"))
    exit_code, said = family.run(FULL + PREPARE, "echo")
    state = family.folder / "state"
    assert exit_code == 74
    [line] = said
    assert line.startswith(f"cannot keep compiled components ({state}/")
    assert line.endswith("/cache): No space left on device. Free some disk space")


def test_the_problems_of_all_components_are_said_at_once(family: Family) -> None:
    family.add("good", wat.wasm("echo"))
    family.add("text", b"no component\n")
    family.add("core", b"\0asm\1\0\0\0")
    exit_code, said = family.run(PREPARE, "good", "text", "core")
    assert exit_code == 65
    assert len(said) == 2
    assert "text.wasm" in said[0]
    assert "core module" in said[1]


def test_a_missing_file_is_66_and_a_mixture_65(family: Family) -> None:
    family.add("text", b"no component\n")
    assert family.run(PREPARE, "gone")[0] == 66
    assert family.run(PREPARE, "gone", "text")[0] == 65


def test_a_check_keeps_nothing(family: Family) -> None:
    family.add("echo", wat.wasm("echo"))
    assert family.run(CHECK, "echo") == [[], []]


@pytest.mark.parametrize(
    ("death", "said"), [("crash", "or the compiler failed"), ("fall_silent", "ended with exit 0 and no report")]
)
def test_a_compiler_that_dies_is_the_components_fault(family: Family, death: str, said: str) -> None:
    family.add("echo", wat.wasm("echo"))
    exit_code, problems = family.run(DIE, "echo", death)
    assert exit_code == 65
    assert said in problems[0]


def test_a_build_command_runs_when_it_must_or_may(folder: Path) -> None:
    (folder / "made.wat").write_text("")
    component = ComponentSpec(
        name="made",
        source=folder / "made.wasm",
        triggers=(),
        build="echo x >> count; echo . > made.wasm",
        watch=("made.wat",),
    )
    spec = dataclasses.replace(spec_at(folder), components={"made": component})
    hows = [build_all(spec, ["made"], forced=forced)["made"][1] for forced in (False, False, True)]
    assert hows == ["built", "unchanged", "built"]
    assert (folder / "count").read_text() == "x\nx\n"


def test_a_plain_wasm_is_taken_as_it_is(folder: Path) -> None:
    component = ComponentSpec(name="echo", source=folder / "echo.wasm", triggers=())
    spec = dataclasses.replace(spec_at(folder), components={"echo": component})
    assert build_all(spec, ["echo"], forced=True) == {"echo": (folder / "echo.wasm", "taken")}


def test_a_handler_is_built_by_the_builder_only_when_it_must(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []

    def build_in_child(source: Path, watch: tuple[str, ...]) -> Path:
        built.append(source)
        made = preparing.python.wanted(source, watch)
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
        return made

    monkeypatch.setattr(preparing.builder, "build_in_child", build_in_child)
    (folder / "farm.toml").touch()
    source = folder / "hello.py"
    source.write_text("from farm.sdk import message_component\n@message_component\ndef f(m): ...\n")
    spec = dataclasses.replace(
        spec_at(folder), components={"hello": ComponentSpec(name="hello", source=source, triggers=())}
    )
    assert [build_all(spec, ["hello"], forced=False)["hello"][1] for _ in range(2)] == ["built", "unchanged"]
    source.write_text(source.read_text() + "x = 1\n")
    assert build_all(spec, ["hello"], forced=False)["hello"][1] == "built"
    assert len(built) == 2
