"""`farm down` and `farm status` against a family of stand-ins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from farm.control.cli.family import ready_line
from farm.control.cli.main import main
from farm.wire.admin import FamilyStatus, ProcessStatus
from tests.control.conftest import ROOT, Standins, wait_until


def test_down_waits_until_the_farm_is_gone(standins: Standins, capsys: pytest.CaptureFixture[str]) -> None:
    standins.up(workers=1)
    assert standins.process is not None
    assert main(["down", "--app", str(standins.folder)]) == 0
    assert standins.process.wait(0.5) == 0
    assert capsys.readouterr().out == f"stopped: example (pid {standins.process.pid})\n"
    assert main(["down", "--app", str(standins.folder)]) == 69


BUILDS = """
import sys, time
from pathlib import Path
from farm import rundir
found = rundir.of(Path(sys.argv[1]))
found.acquire("shop")
print("builds", flush=True)
time.sleep(600)
"""


def test_down_ends_a_farm_that_still_builds(standins: Standins, capsys: pytest.CaptureFixture[str]) -> None:
    words = [sys.executable, "-c", BUILDS, str(standins.folder / "farm.toml")]
    with subprocess.Popen(words, cwd=ROOT, env=standins.env, stdout=subprocess.PIPE) as builder:
        assert builder.stdout is not None
        builder.stdout.readline()
        assert main(["down", "--app", str(standins.folder)]) == 0
        assert builder.wait(10) == -signal.SIGTERM
    assert capsys.readouterr().out == f"stopped: shop (pid {builder.pid}), before it had started\n"


def test_status_is_json_with_its_promised_keys_and_1_when_not_ready(
    standins: Standins, capsys: pytest.CaptureFixture[str]
) -> None:
    standins.up(workers=1)
    assert main(["status", "--json", "--app", str(standins.folder)]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert {"app", "state", "pid", "processes", "brokers", "components"} <= shown.keys()
    assert shown["state"] == "degraded"  # these stand-ins have no relay
    assert {"role", "index", "pid", "state", "restarts"} <= shown["processes"][0].keys()


def test_status_is_a_screen_for_a_person(standins: Standins, capsys: pytest.CaptureFixture[str]) -> None:
    standins.up(workers=1)
    assert main(["status", "--app", str(standins.folder)]) == 1
    shown = capsys.readouterr().out
    assert "PROCESSES" in shown
    assert "ingest gave no answer" in shown


def test_status_of_a_child_that_is_away_has_no_pid(standins: Standins, capsys: pytest.CaptureFixture[str]) -> None:
    standins.up(workers=1)
    standins.does("worker-0", "crash")
    os.kill(standins.pid("worker-0"), signal.SIGKILL)

    def is_away() -> bool:
        main(["status", "--json", "--app", str(standins.folder)])
        worker = json.loads(capsys.readouterr().out)["processes"][-1]
        return worker["state"] == "restarting" and worker["pid"] is None and worker["restarts"] > 1

    wait_until(is_away, "a worker that is away")


def test_the_ready_line_says_what_runs_and_where() -> None:
    workers = [ProcessStatus("worker", index, 1, "ready", 0) for index in range(2)]
    status = FamilyStatus("example", "ready", 7, workers, {"test": "127.0.0.1:3005", "other": "127.0.0.1:1"}, {})
    assert (
        ready_line(status)
        == "ready: example, 2 workers, test on http://127.0.0.1:3005, other on http://127.0.0.1:1 (pid 7)"
    )
