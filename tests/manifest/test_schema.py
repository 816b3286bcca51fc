from __future__ import annotations

import tomllib
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from farm.manifest.keys import dotted, settings_of
from farm.manifest.schema import schema
from farm.spec import ComponentSpec
from tests.manifest.example import EXAMPLE


def faults(text: str) -> list[str]:
    """Where the schema finds something wrong."""
    return [
        dotted(tuple(error.absolute_path)) for error in Draft202012Validator(schema()).iter_errors(tomllib.loads(text))
    ]


def table(name: str) -> dict[str, Any]:
    return schema()["$defs"][name]["properties"]


def test_it_is_a_schema_of_the_dialect_it_names() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


def test_the_example_is_valid() -> None:
    assert faults(EXAMPLE) == []


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("3005", "70000", "brokers.test.gateway.port"),
        ("3005", '"3005"', "brokers.test.gateway.port"),
        ('"text"', '"txt"', "brokers.secondary.gateway.websockets"),
        ('type = "memory"', 'type = "memroy"', "brokers.test.type"),
        ('source = "hello.py"', "", "components.hello"),
        ('source = "hello.py"', 'source = "hello.py"\nmemory = 128', "components.hello.memory"),
        ('source = "hello.py"', 'source = "hello.py"\ndeadline = "5 sec"', "components.hello.deadline"),
        ('source = "hello.py"', 'source = "hello.py"\ndigest = "x"', "components.hello"),
        ("topic =", "topik =", "components.hello.triggers[0]"),
        ('name = "example"', 'name = "a b"', "app.name"),
        ("[app]", "[ap]", ""),
        ("brokers.test]", 'brokers."a b"]', "brokers"),
    ],
)
def test_what_farm_refuses_the_schema_refuses(old: str, new: str, where: str) -> None:
    assert where in faults(EXAMPLE.replace(old, new))


def test_publish_needs_no_broker() -> None:
    assert faults(EXAMPLE.replace('broker = "secondary", subject', "subject")) == []


def test_every_key_has_a_description_and_an_example_that_is_valid() -> None:
    whole = schema()
    for name, definition in whole["$defs"].items():
        for key, each in definition["properties"].items():
            assert each["description"].endswith("."), (name, key)
            alone = {"$defs": whole["$defs"], **each}
            assert list(Draft202012Validator(alone).iter_errors(each["examples"][0])) == [], (name, key)


def test_a_default_is_written_as_in_the_manifest_and_is_valid() -> None:
    assert table("ComponentSpec")["memory"]["default"] == "128MiB"
    assert table("TriggerSpec")["backoff"]["default"] == ["200ms", "1s", "5s", "25s"]
    for name, each in table("ComponentSpec").items():
        if "default" in each:
            assert list(Draft202012Validator(each).iter_errors(each["default"])) == [], name


def test_choices_are_listed_and_what_farm_fills_in_is_not() -> None:
    assert table("GatewaySpec")["websockets"]["enum"] == ["text", "binary", "json", "messagepack"]
    assert list(table("ComponentSpec")) == list(settings_of(ComponentSpec))
    assert not {"name", "wasm", "digest"} & set(table("ComponentSpec"))
