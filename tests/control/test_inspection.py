from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from farm.control import inspection
from farm.rundir import Rundir
from farm.spec import AppSpec, ComponentSpec, FarmSpec
from farm.wire.lifeline import Inspected, Post, pair
from farm.wire.pulse import Board
from farm.workers import compiler


@pytest.mark.parametrize(("run", "looks"), [(inspection.compile_into_cache, "inspect"), (inspection.check, "check")])
def test_a_compiler_is_confined_before_it_looks_at_a_component(
    run: Callable[[Post], int], looks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    look: Any = getattr(compiler, looks)

    def note(*given: Any) -> Any:
        done.append(looks)
        return look(*given)

    monkeypatch.setattr(compiler, "confine", lambda: done.append("confine"))
    monkeypatch.setattr(compiler, looks, note)
    missing = ComponentSpec(name="c", source=tmp_path / "c.wasm", wasm=tmp_path / "c.wasm", triggers=())
    spec = FarmSpec(path=tmp_path / "farm.toml", app=AppSpec("app"), brokers={}, components={"c": missing})
    parent, child = pair()
    pulse = Board()
    rundir = Rundir(tmp_path / "state", tmp_path / "run")
    assert run(Post(spec, rundir, "compiler", 0, b"", 1, child, pulse.slot(1), pulse)) == 0
    assert done == ["confine", looks]
    [word] = parent.receive()
    assert isinstance(word, Inspected)
    assert "component not found" in word.problems[0]
    parent.close()
