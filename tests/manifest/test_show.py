from __future__ import annotations

import json
import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from farm.manifest.read import read
from farm.manifest.show import as_json, as_lines, as_toml
from tests.manifest.example import EXAMPLE, write


def lines_of(folder: Path, text: str = EXAMPLE, **variables: str) -> dict[str, str]:
    """key -> the rest of its line, runs of spaces made one."""
    lines = as_lines(read(write(folder, text), variables))
    pairs = [" ".join(line.split()) for line in lines[1:]]
    return {pair.split(" ")[0]: pair.partition(" ")[2] for pair in pairs}


def test_the_first_line_is_the_manifests_path(tmp_path: Path) -> None:
    assert as_lines(read(write(tmp_path, EXAMPLE), {}))[0] == f"# {tmp_path}/farm.toml"


def test_each_value_in_force_is_shown_with_where_it_came_from(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, FARM_COMPONENTS__HELLO__MEMORY="1GiB")
    assert lines["brokers.test.gateway.port"] == "= 3005 # farm.toml:6"
    assert lines["components.hello.triggers[0].publish.subject"] == '= "good.bye" # farm.toml:14'
    assert lines["components.hello.memory"] == '= "1GiB" # FARM_COMPONENTS__HELLO__MEMORY'
    assert lines["components.goodbye.memory"] == '= "128MiB" # default'
    assert lines["components.hello.triggers[0].backoff"] == '= ["200ms", "1s", "5s", "25s"] # default'


def test_what_is_not_set_says_what_that_means(tmp_path: Path) -> None:
    assert lines_of(tmp_path)["brokers.test.gateway.websockets"] == "is not set: no WebSockets # default"


def test_a_table_with_any_keys_is_shown_key_by_key(tmp_path: Path) -> None:
    text = EXAMPLE + '[components.hello.variables]\ngreeting = "hi"\n'
    lines = lines_of(tmp_path, text)
    assert lines["components.hello.variables.greeting"] == '= "hi" # farm.toml:20'
    assert lines["components.goodbye.variables"] == "= {} # default"


def test_a_default_inside_what_a_variable_set_is_a_default(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, FARM_BROKERS__TEST__GATEWAY="{ port = 1 }")
    assert lines["brokers.test.gateway.port"] == "= 1 # FARM_BROKERS__TEST__GATEWAY"
    assert lines["brokers.test.gateway.bind"] == '= "127.0.0.1" # default'


def test_json_has_the_same_values(tmp_path: Path) -> None:
    shown = json.loads(as_json(read(write(tmp_path, EXAMPLE), {})))
    assert shown["path"] == str(tmp_path / "farm.toml")
    settings = {each["key"]: (each["value"], each["source"]) for each in shown["settings"]}
    assert settings["brokers.test.gateway.port"] == (3005, "farm.toml:6")
    assert settings["brokers.test.gateway.websockets"] == (None, "default")
    assert settings["components.hello.deadline"] == ("5s", "default")
    assert list(settings) == list(lines_of(tmp_path))


@given(st.recursive(st.text() | st.booleans() | st.integers(), lambda inner: st.lists(inner, max_size=3)))
def test_what_is_shown_is_toml_that_prints(value: object) -> None:
    text = as_toml(value)
    assert text.isprintable()
    assert tomllib.loads(f"x = {text}")["x"] == value
