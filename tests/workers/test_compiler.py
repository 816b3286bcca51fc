from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from farm.errors import Problem
from farm.rundir import Rundir
from farm.workers import compiler
from farm.workers.cache import Cache
from farm.workers.compiler import Inspected
from tests.guests import wat
from tests.workers.farmhand import rundir


def inspected(wasm: Path, folder: Path) -> Inspected:
    return compiler.inspect(wasm, Cache(rundir(folder)))


def problem_of(content: bytes, folder: Path) -> str:
    """The one problem of a file with this content, where it lies replaced."""
    wasm = folder / "x.wasm"
    wasm.write_bytes(content)
    found = inspected(wasm, folder)
    assert (found.entry, found.interface, found.exit_code) == (None, "", 65)
    (problem,) = found.problems
    assert [str(found) for found in compiler.check(wasm)] == [problem]
    return problem.replace(str(wasm), "x.wasm")


def test_the_first_start_compiles_and_the_second_does_not(tmp_path: Path) -> None:
    wasm = wat.write("echo", tmp_path)
    first, second = inspected(wasm, tmp_path), inspected(wasm, tmp_path)
    assert (first.compiled, second.compiled) == (True, False)
    assert first.entry == second.entry
    assert msgspec.structs.replace(first, compiled=False) == second


def test_what_a_component_is_comes_back(tmp_path: Path) -> None:
    found = inspected(wat.write("publish", tmp_path), tmp_path)
    assert found.interface == "farm:messaging/handler@0.1.0"
    assert found.imports == ["farm:messaging/publisher@0.1.0", "farm:messaging/types@0.1.0"]
    assert (found.problems, found.warnings, found.exit_code) == ([], [], 0)
    assert len(found.digest) == 64


def test_another_wasm_under_the_same_name_is_compiled(tmp_path: Path) -> None:
    wasm = tmp_path / "x.wasm"
    wasm.write_bytes(wat.wasm("echo"))
    first = inspected(wasm, tmp_path)
    wasm.write_bytes(wat.wasm("count"))
    second = inspected(wasm, tmp_path)
    assert second.compiled
    assert second.entry != first.entry


def test_a_changed_entry_is_compiled_again_with_a_warning(tmp_path: Path) -> None:
    wasm = wat.write("echo", tmp_path)
    entry = inspected(wasm, tmp_path).entry
    assert entry is not None
    code = bytearray(Path(entry.path).read_bytes())
    code[len(code) // 2] ^= 1
    Path(entry.path).write_bytes(code)
    found = inspected(wasm, tmp_path)
    assert found.compiled
    (warning,) = found.warnings
    assert "its authentication code does not match" in warning
    assert not inspected(wasm, tmp_path).compiled


def test_a_missing_file_has_a_code_of_its_own(tmp_path: Path) -> None:
    found = inspected(tmp_path / "none.wasm", tmp_path)
    assert found.exit_code == 66
    assert found.problems == [
        f"component not found ({tmp_path}/none.wasm): there is no such file. Build it, or correct `source`"
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"(component)", "it is a text file"),
        (b"def handle(message): ...", "it is a text file"),
        (b"", "the file is empty"),
        (b"\0asm", "the file is cut short"),
        (b"\0asm\1\0\0\0", "it is a core module"),
        (b"\x7fELF\2\1\1\0", "it is no WebAssembly"),
        (wat.wasm("echo")[:500], "the file is cut short"),
    ],
    ids=["wat", "python", "empty", "preamble", "core", "elf", "truncated"],
)
def test_what_is_no_component_is_told_in_one_line(content: bytes, why: str, tmp_path: Path) -> None:
    problem = problem_of(content, tmp_path)
    assert problem.startswith("not a component (x.wasm): ")
    assert why in problem
    assert "\n" not in problem


def test_a_damaged_component_is_told_with_the_compilers_reason(tmp_path: Path) -> None:
    content = bytearray(wat.wasm("echo"))
    content[8] = 200
    assert problem_of(bytes(content), tmp_path).startswith("cannot compile a component (x.wasm): ")


def test_a_file_over_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "SIZE_LIMIT_BYTES", 1000)
    found = inspected(wat.write("echo", tmp_path), tmp_path)
    assert "exceed the limit of 1000 bytes" in found.problems[0]
    assert found.exit_code == 65


def test_checking_keeps_nothing(tmp_path: Path) -> None:
    found: Rundir = rundir(tmp_path)
    assert compiler.check(wat.write("echo", tmp_path)) == []
    assert list(found.cache.iterdir()) == []


def test_every_problem_of_a_component_is_told_at_once(tmp_path: Path) -> None:
    text = """(component
      (import "fermyon:spin/variables@2.0.0" (instance (export "get" (func (param "name" string) (result string)))))
      (import "wasi:http/outgoing-handler@0.2.0" (instance (export "handle" (func))))
      (core module $m (func (export "f"))) (core instance $i (instantiate $m))
      (func $f (canon lift (core func $i "f"))) (export "f" (func $f)))"""
    wasm = tmp_path / "x.wasm"
    wasm.write_bytes(wat.from_text(text))
    problems = compiler.check(wasm)
    assert [problem.what for problem in problems] == [
        "cannot offer the import fermyon:spin/variables@2.0.0",
        "cannot offer the import wasi:http/outgoing-handler@0.2.0",
        "no known export",
    ]
    assert inspected(wasm, tmp_path).problems == [str(problem) for problem in problems]


def test_a_confined_child_compiles_under_its_limits(tmp_path: Path) -> None:
    wasm = wat.write("echo", tmp_path)
    script = """
import json, resource, sys
from pathlib import Path
from farm.workers import compiler
compiler.confine()
problems = compiler.check(Path(sys.argv[1]))
limits = [resource.getrlimit(limit)[0] for limit in (resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_CORE)]
print(json.dumps([len(problems), *limits]))
"""
    done = subprocess.run([sys.executable, "-c", script, str(wasm)], capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [0, compiler.CPU_LIMIT_S, compiler.DATA_LIMIT_BYTES, 0]
    assert resource.getrlimit(resource.RLIMIT_CPU)[0] != compiler.CPU_LIMIT_S


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (signal.SIGXCPU, "compiling took more than 60 s of CPU time"),
        (signal.SIGABRT, "compiling took more than 1024 MiB of memory, or the compiler failed"),
        (signal.SIGSEGV, "the compiler died of SIGSEGV"),
    ],
)
def test_a_compiler_that_died_is_told_by_what_killed_it(number: int, why: str) -> None:
    problem: Problem = compiler.death(Path("x.wasm"), number)
    assert problem.why == why
