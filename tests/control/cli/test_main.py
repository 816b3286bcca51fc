"""The root of the command line: lazy, and the one place where an error becomes a line and a code."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from farm.control.cli import main as cli
from farm.control.cli.main import COMMANDS, load, main, take_debug
from farm.errors import BrokerFull, Problem
from tests.control.conftest import ROOT

LOADED = """
import contextlib, io, json, sys
from farm.control.cli.main import main
with contextlib.redirect_stdout(io.StringIO()):
    main({words!r})
ours = ("farm", "rich", "pydantic", "zmq", "sanic", "wasmtime")
print(json.dumps([name for name in sys.modules if name.split(".")[0] in ours]))
"""


def loaded_by(*words: str) -> set[str]:
    """The modules that one command line imports, of ours and of what is heavy."""
    script = LOADED.format(words=list(words))
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    return set(json.loads(ended.stdout))


def test_help_imports_the_root_alone_and_nothing_heavy() -> None:
    assert loaded_by("--help") == {
        "farm",
        "farm.control",
        "farm.control.cli",
        "farm.control.cli.main",
        "farm.control.cli.plain",
        "farm.errors",
    }


def test_a_commands_help_brings_no_library_of_a_role() -> None:
    tops = {name.split(".")[0] for name in loaded_by("up", "--help")}
    assert "pydantic" in tops  # typer's own, for any parameter
    assert not tops & {"zmq", "sanic", "wasmtime"}


def test_help_names_every_command_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, entry in COMMANDS.items():
        assert name in shown
        assert entry.line in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_can_be_loaded_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert "Usage: farm" in capsys.readouterr().out


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_version_has_two_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    first = capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == first
    assert {line.split()[0] for line in first.splitlines()} >= {"farm", "python", "wasmtime"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stats"], "error: no command 'stats'. Did you mean `farm status`?"),
        (["start"], "error: no command 'start'. Did you mean `farm up`?"),
        (["schema"], "error: no command 'schema'. Did you mean `farm config schema`?"),
        (["xyzzy"], "error: no command 'xyzzy'. `farm --help` lists them"),
        (["up", "--wrokers", "2"], "error: no option --wrokers. Did you mean --workers? See `farm up --help`"),
        (["up", "--workers", "many"], "error: invalid value for '--workers'"),
        (["up", "--log-level", "loud"], "error: invalid value for '--log-level'"),
        (["up", "here"], "error: an argument too many: here. See `farm up --help`"),
        (["up", "--xyzzy"], "error: no option --xyzzy. See `farm up --help`"),
        (["up", "--app"], "error: option '--app' requires an argument. See `farm up --help`"),
        (["config", "shw"], "error: no such command 'shw'. Did you mean 'show'? See `farm config --help`"),
        (["up", "--workers", "0"], "error: cannot run so many workers (0)"),
        (["up", "--workers", "255"], "error: cannot run so many workers (255)"),
    ],
)
def test_a_mistake_in_the_command_line_is_one_line_and_code_2(
    words: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capfd.readouterr()
    assert captured.err.startswith(said)
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `farm version` raise."""

    def version() -> None:
        raise error

    monkeypatch.setattr("farm.control.cli.version.version", version)


def test_an_error_of_ours_is_its_lines_and_its_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, BrokerFull(Problem("full", "test", "10 wait", "Try again"), "and so on"))
    assert main(["version"]) == 75
    assert capfd.readouterr().err == "error: full (test): 10 wait. Try again\nerror: and so on\n"


def test_anything_else_is_one_line_a_hint_and_code_70(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, ZeroDivisionError("by\x1b[2Jzero"))
    assert main(["version"]) == 70
    captured = capfd.readouterr()
    assert captured.err.count("\n") == 1
    assert "ZeroDivisionError: by\\x1b[2Jzero" in captured.err
    assert "--debug" in captured.err


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 74, "no room (/x): No space left on device. Free"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 74, "no room: Disk quota exceeded. Free"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x"),
            77,
            "cannot use a file or a folder (/x): Permission",
        ),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), 77, "cannot use a file or a folder: Not a directory"),
        (OSError(errno.EBADF, "Bad file descriptor"), 70, "a fault in farm itself: OSError: "),
    ],
)
def test_what_the_system_refuses_is_no_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: OSError, exit_code: int, said: str
) -> None:
    failing(monkeypatch, error)
    assert main(["version"]) == exit_code
    captured = capfd.readouterr().err
    assert captured.startswith(f"error: {said}")
    assert captured.count("\n") == 1


def test_debug_shows_where(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    failing(monkeypatch, BrokerFull("full"))
    assert main(["version", "--debug"]) == 75
    captured = capfd.readouterr()
    assert "Traceback" in captured.err
    assert captured.err.endswith("error: full\n")


def test_an_interrupt_is_130_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    assert main(["version"]) == 130
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("words", [["--help"], ["version"], ["config", "schema"], ["status", "--help"]])
def test_a_reader_that_has_seen_enough_is_no_error(words: list[str]) -> None:
    ended = unread(words)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_an_error_is_one_though_nobody_reads_what_is_printed() -> None:
    assert unread(["nonsense"]).returncode == 2


def unread(words: list[str]) -> subprocess.CompletedProcess[bytes]:
    """A command whose standard output nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [Path(sys.executable).with_name("farm"), *words], stdout=writer, stderr=subprocess.PIPE, timeout=60
        )
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["up", "--workers", "x"], {}, '"x" is no whole number'),
        (["up"], {"FARM_WORKERS": "x\x1b[2J"}, '"x\\x1b[2J" is no whole number'),
        (["up", "--log-level", "loud"], {}, "'loud' is not one of 'debug', 'info', 'warning', 'error'"),
        (["subscribe", "a", "--count", "0"], {}, '"0" is less than 1'),
        (["subscribe"], {}, "missing argument 'PATTERN'"),
    ],
)
def test_a_command_line_that_is_wrong_is_told_in_our_words(
    words: list[str],
    environment: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(words) == 2
    told = capfd.readouterr().err
    assert said in told
    assert told.endswith(f". See `farm {words[0]} --help`\n")
    assert not {"Input", "parse", "Value error"} & set(told.split()), "pydantic's words"


def test_debug_is_taken_from_anywhere_before_a_double_dash() -> None:
    assert take_debug(["publish", "--debug", "a"]) == (["publish", "a"], True)
    assert take_debug(["publish", "a", "--", "--debug"]) == (["publish", "a", "--", "--debug"], False)


@pytest.mark.parametrize("words", [["status"], ["status", "--json"], ["down"]])
def test_without_a_farm_the_code_is_69(
    words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FARM_STATE_DIR", str(folder / "state"))
    (folder / "farm.toml").touch()
    assert main([*words, "--app", str(folder)]) == 69
    assert capfd.readouterr().err == "error: no farm is running here. Start one with `farm up`\n"


def test_the_table_has_an_example_for_each_command() -> None:
    documented = [name for name in COMMANDS if "Examples" in (load(name).help or "")]
    assert set(documented) >= {"up", "down", "status", "build", "check", "version"}
    assert cli.EXAMPLES


def test_building_and_checking_load_no_wasm_engine_of_their_own() -> None:
    assert "wasmtime" not in loaded_by("check", "--help")
