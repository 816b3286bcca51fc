"""Components that the user's own command makes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from farm.build.command import Command, build, stale
from farm.errors import BadComponent


def command(folder: Path, line: str, *watch: str) -> Command:
    return Command(line, folder / "out" / "hello.wasm", folder, watch)


def make(path: Path, age_s: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.utime(path, (1_000_000 - age_s, 1_000_000 - age_s))


def test_the_command_runs_by_the_shell_in_the_manifests_folder(tmp_path: Path) -> None:
    one = command(tmp_path, "mkdir -p out && echo made | tee out/hello.wasm")
    assert build(one) == one.source
    assert one.source.read_text() == "made\n"


def test_a_missing_component_is_stale(tmp_path: Path) -> None:
    assert stale(command(tmp_path, "true"))


def test_a_component_is_stale_when_what_watch_names_is_newer(tmp_path: Path) -> None:
    one = command(tmp_path, "true", "src/**/*.rs")
    make(one.source, age_s=10)
    make(tmp_path / "src" / "lib.rs", age_s=20)
    make(tmp_path / "readme.md", age_s=0)
    assert not stale(one)
    make(tmp_path / "src" / "lib.rs", age_s=5)
    assert stale(one)


def test_a_component_is_not_stale_because_watch_names_itself(tmp_path: Path) -> None:
    one = command(tmp_path, "true", "**/*")
    make(one.source, age_s=10)
    assert not stale(one)


def test_a_command_that_fails_is_told_with_the_end_of_its_output(tmp_path: Path) -> None:
    line = "seq 100; echo no such crate >&2; exit 3"
    with pytest.raises(BadComponent) as caught:
        build(command(tmp_path, line))
    [problem] = caught.value.problems
    assert problem.what == f"build command failed: {line}"
    assert problem.where == "out/hello.wasm"
    assert problem.why.startswith("exit code 3; it said: 82 | 83 |")
    assert problem.why.endswith("100 | no such crate")


def test_a_command_that_makes_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadComponent, match=r"it made no out/hello.wasm"):
        build(command(tmp_path, "true"))


def test_a_command_that_does_not_end_is_killed_with_all_it_started(tmp_path: Path) -> None:
    with pytest.raises(BadComponent, match=r"it did not end in 0 s; it said: started"):
        build(command(tmp_path, "echo started; sleep 1000 & sleep 1000"), timeout_s=0.3)
