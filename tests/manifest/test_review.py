from __future__ import annotations

from pathlib import Path

import pytest

from farm.manifest.read import read
from farm.manifest.review import review
from tests.manifest.example import EXAMPLE, SMALL, write


def warnings(folder: Path, text: str) -> list[str]:
    return [str(problem) for problem in review(read(write(folder, text), {}))]


def trigger(topic: str, subject: str) -> str:
    return f'[[components.hello.triggers]]\nbroker = "test"\ntopic = "{topic}"\npublish = {{ subject = "{subject}" }}\n'


def test_nothing_is_said_of_the_example(tmp_path: Path) -> None:
    assert warnings(tmp_path, EXAMPLE) == []


def test_a_trigger_that_feeds_itself_is_told(tmp_path: Path) -> None:
    assert warnings(tmp_path, SMALL + trigger("a.*", "a.b")) == [
        'components.hello.triggers[0] feeds itself (farm.toml:9): what it publishes to "a.b" comes back to it; '
        "farm ends such a message after 16 hops. Publish to a subject that its topic does not match"
    ]


def test_wildcards_are_those_of_the_broker(tmp_path: Path) -> None:
    text = SMALL + trigger("a.*", "a.b.c")
    assert len(warnings(tmp_path, text)) == 1
    assert warnings(tmp_path, text.replace('"memory"', '"memory"\nwildcards = "nats"')) == []


def test_a_circle_is_told_once_with_its_way(tmp_path: Path) -> None:
    text = SMALL + trigger("a", "b") + trigger("b", "c") + trigger("c", "a") + trigger("x", "a")
    (line,) = warnings(tmp_path, text)
    assert line.startswith("components.hello.triggers[0] feeds itself (farm.toml:9)")
    assert "comes back to it by way of components.hello.triggers[1], components.hello.triggers[2];" in line


def test_a_trigger_that_is_there_twice_is_told(tmp_path: Path) -> None:
    (line,) = warnings(tmp_path, SMALL + trigger("a", "b") + trigger("a", "c"))
    assert line == (
        "components.hello.triggers[1] is triggers[0] once more (farm.toml:13): hello runs twice on each message. "
        "Remove one"
    )


def test_a_component_without_triggers_and_a_broker_without_use_are_told(tmp_path: Path) -> None:
    assert warnings(tmp_path, SMALL + "triggers = []\n") == [
        "broker test is not used (farm.toml:4): it has no gateway, and no trigger listens or publishes there",
        "component hello never runs (farm.toml:7): it has no triggers",
    ]


def test_an_output_that_no_stream_of_an_embedded_server_takes_in_is_told(tmp_path: Path) -> None:
    text = SMALL.replace('"memory"', '"jetstream"\nserver = "embedded"') + trigger("a.*", "out") + trigger("b", "a.x")
    assert warnings(tmp_path, text) == [
        'components.hello.triggers[0] publishes to no stream (farm.toml:11): nothing of test takes in "out": each '
        "message will be a dead letter. Add it to `subjects` of test, beside what triggers listen to"
    ]
    named = text.replace('"embedded"', '"embedded"\nsubjects = ["a.*", "b", "out"]')
    assert warnings(tmp_path, named) == []
    other = text.replace('server = "embedded"', 'servers = ["localhost"]')
    assert warnings(tmp_path, other) == [], "it may have streams that farm knows nothing of"


def test_a_wildcard_of_another_broker_is_told(tmp_path: Path) -> None:
    assert warnings(tmp_path, SMALL + trigger("a.>", "b")) == [
        "components.hello.triggers[0].topic has a wildcard of another broker (farm.toml:9): "
        '> in "a.>" stands for itself on test. Write * or ?, or give the broker wildcards = "nats"'
    ]
    (line,) = warnings(tmp_path, SMALL + trigger("a/#", "b"))
    assert line.endswith("Write * or ?")


@pytest.mark.parametrize(
    ("broker", "topic"),
    [
        ('"memory"\nwildcards = "nats"', "a.>"),
        ('"mqtt"\nurl = "mqtt://h"', "a.+.#"),
        ('"redis"\nurl = "redis://h"', "a\\\\>"),
    ],
)
def test_of_what_the_broker_knows_or_what_is_meant_so_nothing_is_said(tmp_path: Path, broker: str, topic: str) -> None:
    assert warnings(tmp_path, SMALL.replace('"memory"', broker) + trigger(topic, "b")) == []
