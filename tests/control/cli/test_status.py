"""`farm status` beside its screen: where dead letters are."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.control.cli.overview import Overview
from farm.control.cli.status import where_letters_are


def overview(*types: str) -> Overview:
    kept = ("jetstream", "redis-streams", "queue-of-theirs")
    brokers = {each[:4]: {"type": each, "keeps_letters": each in kept} for each in types}
    return Overview("example", "ready", 99, 1.0, [], brokers, {})


@pytest.mark.parametrize(
    ("types", "has_file", "said"),
    [
        (("memory",), True, "dead letters are kept in {}"),
        (("mqtt", "nats", "redis"), True, "dead letters are kept in {}"),
        (("of-somebody-else",), True, "dead letters are kept in {}"),
        (("queue-of-theirs",), False, "dead letters are kept in farm.dlq.<subject> of queu"),
        (("jetstream",), False, "dead letters are kept in farm.dlq.<subject> of jets"),
        (("redis-streams",), False, "dead letters are kept in farm:dlq of redi"),
        (("memory", "jetstream"), True, "dead letters are kept in {} or farm.dlq.<subject> of jets"),
    ],
)
def test_it_names_no_file_that_is_not_there(tmp_path: Path, types: tuple[str, ...], has_file: bool, said: str) -> None:
    file = tmp_path / "dead-letters.jsonl"
    if has_file:
        file.touch()
    assert where_letters_are(overview(*types), file) == said.format(file)
