from __future__ import annotations

import json
from pathlib import Path

import pytest

from farm.control.cli.main import main

MANIFEST = """\
[app]
name = "example"
[brokers.test]
[brokers.secondary]
[components.hello]
source = "hello.py"
triggers = [{ broker = "test", topic = "hello.*", publish = { broker = "secondary", subject = "good.bye" } }]
[components.bye]
source = "bye.py"
triggers = [{ broker = "secondary", queue = { topic = "good.*", group = "all" } }]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "farm.toml").write_text(MANIFEST, encoding="utf-8")
    for name in ("hello.py", "bye.py"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FARM_APP", raising=False)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_it_says_what_runs_and_where_outputs_go(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "hello.world"]) == 0
    assert lines(capsys) == [
        'hello.world on test (type "memory", wildcards "reference")',
        "hello hello.* runs; outputs go to good.bye on secondary (bye runs on it), unless they say otherwise",
    ]


def test_it_says_why_nothing_runs_and_what_would_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "good.bye"]) == 0
    assert lines(capsys)[1:] == [
        "hello hello.* does not run: token 1 is 'good', not 'hello'",
        "nothing runs on it",
        "on secondary it would run bye",
    ]


def test_a_broker_may_be_named_and_a_queue_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "good.bye", "--broker", "secondary"]) == 0
    assert lines(capsys)[1].startswith("bye good.* (queue all) runs; each output says where it goes")


def test_json_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "hello.world", "--json"]) == 0
    [trigger] = json.loads(capsys.readouterr().out)["triggers"]
    assert trigger["matches"] is True
    assert trigger["outputs"] == {"broker": "secondary", "subject": "good.bye", "components": ["bye"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a..b"], "invalid subject 'a..b': an empty token"),
        (["a.*"], "invalid subject 'a.*': a wildcard in it"),
        (["a", "--broker", "secondry"], "no broker 'secondry'"),
    ],
)
def test_what_cannot_be_explained_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
