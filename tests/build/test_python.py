"""Components of Python handlers: built when something changed, kept, and refused with the user's own line."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import componentize_py
import pytest

from farm.build import files
from farm.build.child import build_in_child
from farm.build.python import build, refusal, wanted
from farm.build.sources import read_sources
from farm.errors import BadComponent, Internal, NoRoom, NotPermitted, SourceMissing
from tests.build.conftest import write_files
from tests.build.host import Guest, Sent

GOOD = """\
from farm.sdk import Message, message_component

@message_component
def handle(message: Message) -> Message:
    return message
"""


def test_a_handler_with_modules_data_and_a_package_becomes_a_component(shop_folder: Path) -> None:
    wasm = wanted(shop_folder / "priced.py", ["*.txt"])
    assert wasm.read_bytes()[:8] == bytes.fromhex("0061736d0d000100")
    guest = Guest(wasm)
    assert guest.sent("a", "10") == [Sent("total: 25.00")]
    assert guest.failure("a", "fail").place == "tables/rounding.py:5"


def test_building_leaves_only_the_component(shop_folder: Path) -> None:
    wasm = wanted(shop_folder / "priced.py", ["*.txt"])
    assert list(wasm.parent.iterdir()) == [wasm]
    assert not list(shop_folder.rglob("__pycache__"))


def test_what_was_built_is_not_built_again(shop_folder: Path) -> None:
    wasm = wanted(shop_folder / "priced.py", ["*.txt"])
    made = wasm.stat()
    assert build_in_child(shop_folder / "priced.py", ["*.txt"]) == build(shop_folder / "priced.py", ["*.txt"]) == wasm
    assert wasm.stat() == made


def test_code_at_import_that_raises_is_told_with_the_users_own_line(tmp_path: Path) -> None:
    write_files(tmp_path, {"farm.toml": "", "app/hello.py": GOOD + "import rates\n", "app/rates.py": "x = {}['vat']\n"})
    with pytest.raises(BadComponent) as caught:
        build_in_child(tmp_path / "app" / "hello.py")
    assert str(caught.value) == (
        "code at import failed (app/rates.py:1): KeyError: 'vat'. It runs when the component is built: move what must "
        "run later into the handler or @on_start"
    )
    assert list((tmp_path / ".farm" / "build").iterdir()) == []


def test_a_file_that_is_not_found_at_import_is_told_how_to_bring_it(tmp_path: Path) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": GOOD})
    said = (
        "File \"/0/hello.py\", line 8, in <module>\n\nCaused by:\n    FileNotFoundError: [Errno 44] No such file: 'a'"
    )
    assert str(refusal(read_sources(tmp_path / "hello.py"), said)) == (
        "code at import failed (hello.py:8): FileNotFoundError: [Errno 44] No such file: 'a'. "
        "Name the file in `watch`, and read it by Path(__file__).with_name(..)"
    )


def test_exit_at_import_is_told_with_the_users_own_line(tmp_path: Path) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": GOOD + "import sys\nprint('leaving', end='')\nsys.exit(3)\n"})
    with pytest.raises(
        BadComponent, match=r"code at import failed \(hello.py:8\): ImportError: sys.exit\(3\) at import"
    ):
        build_in_child(tmp_path / "hello.py")


def test_code_at_import_that_never_ends_is_stopped(tmp_path: Path) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": GOOD + "while True: pass\n"})
    with pytest.raises(BadComponent, match=r"build took too long \(hello.py\)"):
        build_in_child(tmp_path / "hello.py", timeout_s=0.5)
    assert list((tmp_path / ".farm" / "build").iterdir()) == []


def test_every_mistake_in_the_text_is_told_without_a_build(tmp_path: Path) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": GOOD + "import jsn, ssl\n"})
    with pytest.raises(BadComponent) as caught:
        build_in_child(tmp_path / "hello.py")
    assert [problem.what for problem in caught.value.problems] == ["no module jsn", "no module ssl in a component"]
    assert caught.value.exit_code == 65


def test_a_missing_handler_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing):
        build_in_child(tmp_path / "hello.py")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": GOOD, ".farm": "a file"})
    with pytest.raises(NotPermitted, match="cannot keep components"):
        build_in_child(tmp_path / "hello.py")


def test_a_builder_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": GOOD})
    write_files(tmp_path / "planted", {"sitecustomize.py": "import os; os.write(2, b'thread panicked'); os.abort()\n"})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "planted"))
    with pytest.raises(
        BadComponent, match=r"the builder died \(hello.py\): it ended by signal SIGABRT: thread panicked"
    ):
        build_in_child(tmp_path / "hello.py")


def test_a_traceback_from_inside_becomes_the_users_line(tmp_path: Path) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": GOOD})
    sources = read_sources(tmp_path / "hello.py")
    said = (
        'Traceback (most recent call last):\n  File "/3/farm_entry.py", line 3, in <module>\n'
        '  File "/0/hello.py", line 6, in <module>\n  File "/python/json/decoder.py", line 9, in decode\n'
        "ValueError: bad\n  total\n\nCaused by:\n    ValueError: bad\n  total\n\nStack backtrace:\n   0: anyhow\n"
    )
    problem = refusal(sources, said)
    assert (problem.where, problem.why) == ("hello.py:6", "ValueError: bad total")


def test_a_tool_that_has_no_room_says_nothing_of_the_handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise AssertionError("No space left on device (os error 28)")

    write_files(tmp_path, {"farm.toml": "", "hello.py": GOOD})
    monkeypatch.setattr(componentize_py, "componentize", full)
    with pytest.raises(NoRoom, match=r"no room to build \(.*/\.farm/build\): No space left on device"):
        build(tmp_path / "hello.py")


def test_code_that_ends_the_process_is_told(tmp_path: Path) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": GOOD})
    said = "\n\nCaused by:\n    0: error while executing at wasm backtrace:\n    1: Exited with i32 exit status 1\n"
    assert "os._exit()" in refusal(read_sources(tmp_path / "hello.py"), said).why


def test_a_package_that_fails_at_import_is_told_by_its_own_line(tmp_path: Path) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": GOOD})
    said = 'Traceback\n  File "/1/farm/sdk/_component.py", line 9, in bind\n  File "/2/lib/x.py", line 3, in <module>\n'
    problem = refusal(read_sources(tmp_path / "hello.py"), said + "\nCaused by:\n    OSError: no files\n")
    assert (problem.what, problem.where, problem.why) == (
        "a package fails at import",
        "lib/x.py:3",
        "OSError: no files",
    )


def test_a_failure_of_the_tool_itself_is_not_the_users(tmp_path: Path) -> None:
    write_files(tmp_path, {"farm.toml": "", "hello.py": GOOD})
    with pytest.raises(Internal, match="componentize-py failed"):
        refusal(read_sources(tmp_path / "hello.py"), "package not found\n\nCaused by:\n    no such world\n")


def test_the_newest_five_components_of_a_handler_are_kept(shop_folder: Path, tmp_path: Path) -> None:
    made = wanted(shop_folder / "priced.py", ["*.txt"])
    folder = tmp_path / "shop"
    shutil.copytree(shop_folder, folder, ignore=shutil.ignore_patterns("build"))
    components = files.build_folder(folder)
    components.mkdir()
    for number in range(8):
        old = components / f"priced-{number:032x}.wasm"
        old.write_bytes(b"")
        os.utime(old, (number, number))
    forgotten, busy = components / ".child-old", components / ".new-1-busy"
    forgotten.mkdir()
    busy.mkdir()
    os.utime(forgotten, (1, 1))
    others = [components / f"other-{0:032x}.wasm", components / f"priced-more-{0:032x}.wasm"]
    for other in others:
        other.write_bytes(b"")
    wasm = build_in_child(folder / "priced.py", ["*.txt"])
    assert wasm.name == made.name
    kept = (
        {f"priced-{number:032x}.wasm" for number in (4, 5, 6, 7)}
        | {wasm.name, busy.name}
        | {other.name for other in others}
    )
    assert {path.name for path in components.iterdir()} == kept


def test_the_interfaces_are_found_in_a_working_copy() -> None:
    assert (files.wit_folder() / "farm-messaging-0.1.0" / "package.wit").is_file()
