"""A handler in Python, hostile and not, in the worker's own hands."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.build.child import build_in_child
from farm.invocation import FailureKind, Output
from tests.guests.wat import FOLDER
from tests.workers.farmhand import Guest, guest_of


@pytest.fixture(scope="module")
def wasm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "farm.toml").touch()
    return build_in_child(Path(shutil.copy(FOLDER / "python" / "hostile.py", folder)))


@pytest.fixture(scope="module")
def hostile(wasm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    settings = {"variables": {"my-name": "Ada"}, "memory_bytes": 64 << 20, "deadline_s": 1.5}
    with guest_of(wasm, tmp_path_factory.mktemp("farm"), **settings) as found:
        yield found


@pytest.mark.parametrize(
    ("does", "kind", "text"),
    [
        ("spin", "timeout", "the deadline of 1500ms passed"),
        ("recurse", "guest_error", "RecursionError: maximum recursion depth exceeded"),
        ("hog", "memory", "MemoryError"),
        ("leave", "trap", "the guest called exit("),
        ("connect", "guest_error", "gaierror: "),
        ("read", "guest_error", "FileNotFoundError: "),
        ("write", "guest_error", "FileNotFoundError: "),
        ("nothing", "guest_error", "KeyError: 'nothing' (hostile.py:12)"),
    ],
)
def test_what_it_tries_fails_and_the_next_message_is_served(
    does: str, kind: FailureKind, text: str, hostile: Guest
) -> None:
    failure = hostile.fails(does.encode())
    assert failure.kind == kind
    assert failure.text.startswith(text)
    assert hostile.answers(b"tell") == []


def test_it_sees_its_own_variables_and_nothing_of_the_workers(hostile: Guest) -> None:
    assert hostile.answers(b"look") == [Output(b"Ada FARM_VARIABLE_MY_NAME []")]


def test_what_it_prints_is_heard(hostile: Guest) -> None:
    hostile.printed.clear()
    hostile.answers(b"tell", id="id-9")
    assert hostile.printed == [("guest", "id-9", "stdout", "out"), ("guest", "id-9", "stderr", "err")]


def test_an_error_tells_type_text_place_and_trace(hostile: Guest) -> None:
    failure = hostile.fails(b"ghost")
    assert failure.text == "ValueError: after publishing (hostile.py:59)"
    assert failure.trace.endswith("\n  hostile.py:59 in ghost")


def test_it_publishes_and_answers_in_bytes(hostile: Guest) -> None:
    assert hostile.answers(b"proper") == [Output(b"first", "held"), Output(bytes(range(256)))]


def test_every_message_may_have_an_instance_of_its_own(wasm: Path, hostile: Guest, tmp_path: Path) -> None:
    shutil.copytree(hostile.folder / "state", tmp_path / "state", copy_function=shutil.copy2)
    with guest_of(wasm, tmp_path, instances="fresh") as fresh:
        for _ in range(3):
            assert len(fresh.answers(b"proper")) == 2
