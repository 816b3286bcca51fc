"""Who may import whom. The contracts stand in pyproject.toml and `make check` reads them over farm; here each of them
meets a file that breaks it. What a contract cannot say is tested here as well.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.sources import ROOT, python_files, shown

# A contract and an import that it must not let through: (module it is planted in, what that imports).
PLANTED: Final = {
    "Imports only go down": ("farm.wire.planted", "farm.control"),
    "The SDK knows nothing of farm: it is bundled into guests": ("farm.sdk.planted", "farm.errors"),
    "farm does not run the SDK": ("farm.workers.planted", "farm.sdk"),
    "Only ingest knows the brokers": ("farm.control.planted", "farm.brokers"),
    "Only wire/sockets knows ZeroMQ": ("farm.wire.planted", "zmq"),
    "Only the manifest knows pydantic": ("farm.client.planted", "pydantic"),
    "Only workers know wasmtime": ("farm.build.planted", "wasmtime"),
    "Only the build knows componentize-py": ("farm.manifest.planted", "componentize_py"),
    "Only the gateway knows Sanic": ("farm.ingest.planted", "sanic"),
}


def test_every_contract_is_tried() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert [one["name"] for one in settings["tool"]["importlinter"]["contracts"]] == list(PLANTED)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of farm and its contracts, to plant something in."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "farm", tmp_path / "farm", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def lint(tree: Path, *words: str) -> str:
    """What import-linter says of the copy, which must not please it."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", *words],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_every_contract_catches_an_import_that_breaks_it(tree: Path) -> None:
    for module, imported in PLANTED.values():
        with (tree / f"{module.replace('.', '/')}.py").open("a") as file:
            file.write(f"import {imported}\n")
    said = lint(tree)
    broken = [line.removesuffix(" BROKEN") for line in said.splitlines() if line.endswith(" BROKEN")]
    assert broken == list(PLANTED), said


def test_a_module_that_no_layer_has_is_caught(tree: Path) -> None:
    (tree / "farm" / "planted.py").touch()
    assert "planted" in lint(tree, "--contract", "layers")


def imported(text: str) -> set[str]:
    """The modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def foreign(text: str) -> set[str]:
    """Of these, what neither the standard library nor the SDK has."""
    return {
        name
        for name in imported(text)
        if name.partition(".")[0] not in sys.stdlib_module_names and not (name + ".").startswith("farm.sdk.")
    }


def test_the_sdk_needs_the_standard_library_alone() -> None:
    sdk = [path for path in python_files() if shown(path).startswith("farm/sdk/") and path.name != "_component.py"]
    assert {shown(path): foreign(path.read_text()) for path in sdk if foreign(path.read_text())} == {}


@pytest.mark.parametrize("text", ["import msgspec", "def f():\n    from farm import errors", "import farm.message"])
def test_an_import_that_a_guest_cannot_have_is_caught(text: str) -> None:
    assert foreign(text)


@pytest.mark.parametrize("text", ["import json.decoder", "from farm.sdk._message import Message", "import farm.sdk"])
def test_an_import_that_a_guest_can_have_is_not(text: str) -> None:
    assert foreign(text) == set()


def test_the_package_itself_is_empty_because_guests_carry_it() -> None:
    assert (ROOT / "farm" / "__init__.py").read_text() == ""


IMPORT_EVERYTHING: Final = """
import importlib, os, sys, threading
sys.dont_write_bytecode = True
before = (dict(os.environ), sorted(os.listdir("/proc/self/fd")))
for name in sys.argv[1:]:
    importlib.import_module(name)
after = (dict(os.environ), sorted(os.listdir("/proc/self/fd")))
assert before[1] == after[1], f"descriptors: {before[1]} became {after[1]}"
assert len(os.listdir("/proc/self/task")) == 1, f"threads: {threading.enumerate()}"
print({key for key in after[0] if before[0].get(key) != after[0][key]} or "")
"""


def test_importing_everything_starts_no_thread_and_opens_nothing() -> None:
    names = [shown(path).removesuffix(".py").replace("/", ".") for path in python_files()]
    ours = [name for name in names if name.startswith("farm.") and not name.endswith(("._component", ".__main__"))]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING, *ours], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
