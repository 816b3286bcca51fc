"""`make load` as a person runs it: a farm driven through every door, a summary, a ledger that holds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from farm.errors import InputError
from tests.bench import load, load_farm
from tests.conftest import RequireProgram
from tests.guests import wat
from tests.system.family import family

LOAD = [sys.executable, "-m", "tests.bench.load"]
SHORT = ["--seconds", "1", "--connections", "8", "--listeners", "3", "--workers", "1"]

OTHER = """
[app]
name = "other"
[brokers.quiet]
type = "memory"
[brokers.loud]
type = "memory"
gateway = { port = 0 }
[components.one]
source = "echo.wasm"
triggers = [{ broker = "loud", topic = "hello.*", publish = { broker = "quiet", subject = "out" } }]
[components.two]
source = "echo.wasm"
triggers = [{ broker = "loud", topic = "hello.*", publish = { broker = "quiet", subject = "out" } }]
"""


def run(*words: str, folder: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command, environment = [*LOAD, *words, "--json", str(folder / "load.json")], {**os.environ, **(env or {})}
    return subprocess.run(command, cwd=load_farm.ROOT, env=environment, capture_output=True, text=True, timeout=100)


def test_every_door_of_a_farm_is_driven_and_nothing_is_lost(tmp_path: Path, require_program: RequireProgram) -> None:
    for program in ("wrk", "hey"):
        require_program(program)
    done = run(*SHORT, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "load.json").read_text())["phases"]
    assert list(found) == ["wrk", "hey", "relay", "websocket"]
    for phase in found.values():
        assert phase["ledger"]["taken"] == phase["ledger"]["handled"] >= phase["ledger"]["accepted"] > 0
        assert 0 < phase["result"]["latency"]["p50_ms"] <= phase["result"]["latency"]["max_ms"]
    hearing = found["websocket"]["result"]["hearing"]
    assert hearing["heard"] == 3 * hearing["expected"] > 0
    assert done.stderr.startswith("phase")
    assert "websocket: 3 listeners" in done.stdout


def test_ctrl_c_ends_a_phase_and_the_summary_comes_all_the_same(tmp_path: Path) -> None:
    words = [*LOAD, *SHORT, "--seconds", "600", "--phases", "relay,websocket", "--json", str(tmp_path / "load.json")]
    with subprocess.Popen(
        words, cwd=load_farm.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.startswith("relay"))
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "holds" in out
    assert "websocket" not in out.split("\n\n", 1)[1]


def test_a_missing_program_is_named_in_one_line_and_fails_in_ci(tmp_path: Path) -> None:
    path = str(tmp_path)
    skipped = run(*SHORT, "--phases", "hey,relay", folder=tmp_path, env={"PATH": path, "CI": ""})
    assert "hey is not installed (Debian, Ubuntu: apt install hey): that phase is skipped\n" in skipped.stderr
    assert skipped.returncode == 0, skipped.stderr
    failed = run(*SHORT, "--phases", "hey,relay", folder=tmp_path, env={"PATH": path, "CI": "true"})
    assert "error: hey is not installed (Debian, Ubuntu: apt install hey): CI skips nothing\n" in failed.stderr
    assert failed.returncode == 2


def test_a_farm_that_runs_is_driven_where_its_triggers_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with family(tmp_path, OTHER, {"echo": wat.wasm("echo")}) as other:
        other.up(1)
        monkeypatch.setenv("FARM_STATE_DIR", other.env["FARM_STATE_DIR"])
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        url = f"http://{other.status()['brokers']['loud']['gateway']}"
        place = load_farm.running(tmp_path, url, None)
        assert (place.broker, place.subject, dict(place.components)) == ("loud", "hello.load", {"one": 1, "two": 1})
        assert not place.listens
        with pytest.raises(InputError, match="no trigger matches"):
            load_farm.running(tmp_path, url, "bye")
        with pytest.raises(InputError, match="no gateway of this farm"):
            load_farm.running(tmp_path, "http://127.0.0.1:1", None)
        words = ("--url", url, "--farm", str(tmp_path), "--phases", "relay,websocket", "--seconds", "1")
        done = run(*words, folder=tmp_path, env={"CI": ""})
        assert done.returncode == 0, done.stdout + done.stderr
        assert "no text or binary WebSockets" in done.stderr
        ledger = json.loads((tmp_path / "load.json").read_text())["phases"]["relay"]["ledger"]
        assert ledger["taken"] == 2 * ledger["accepted"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--url", "http://127.0.0.1:1"], "--url and --farm go together"),
        (["--phases", "wrk,http"], "no phase 'http': wrk, hey, relay, websocket"),
        (["--seconds", "0"], "argument --seconds: '0' is no number from 1"),
    ],
)
def test_a_bad_argument_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load.arguments(words)
    assert said in capsys.readouterr().err


def test_a_folder_without_a_farm_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no farm\.toml"):
        load_farm.running(tmp_path, "http://127.0.0.1:3005", None)
