from __future__ import annotations

import json
from pathlib import Path

import pytest

from farm.control.cli.main import main
from farm.manifest.schema import schema

MANIFEST = """\
[app]
name = "example"
[brokers.test]
gateway = { port = 3005 }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a manifest, in which the command is run."""
    (tmp_path / "farm.toml").write_text(MANIFEST, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FARM_APP", raising=False)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_show_says_each_value_and_its_source(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FARM_APP__NAME", "other")
    assert main(["config", "show"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert 'app.name = "other" # FARM_APP__NAME' in lines
    assert "brokers.test.gateway.port = 3005 # farm.toml:4" in lines


def test_show_json_is_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--json", "--app", str(folder)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {"key": "app.name", "value": "example", "source": "farm.toml:2"} in shown["settings"]


@pytest.mark.usefixtures("folder")
def test_schema_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


def test_a_bad_manifest_is_one_line_for_each_problem_and_78(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "farm.toml").write_text(MANIFEST.replace("3005", "70000") + "[component]\n", encoding="utf-8")
    assert main(["config", "show"]) == 78
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "error: bad brokers.test.gateway.port (farm.toml:4): 70000 is out of range. Use 0 to 65535",
        "error: unknown key component (farm.toml:5). Did you mean components?",
    ]


def test_no_manifest_is_66(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--app", str(folder / "none")]) == 66
    assert capsys.readouterr().err.startswith(
        f"error: no manifest ({folder}/none): no such file or folder. --app names"
    )
