"""The example's handlers, tested as their users would: plain pytest, no component."""

from __future__ import annotations

import importlib.util
import tomllib
from types import ModuleType

import pytest

from farm.build.python import check
from farm.sdk import Message
from tests.sources import ROOT

EXAMPLE = ROOT / "example-app"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_hello_answers_with_a_goodbye() -> None:
    assert load("hello").handle(Message("Ada", "hello.world")) == Message("Goodbye")


def test_goodbye_passes_on_what_it_heard() -> None:
    assert load("goodbye").handle(Message("Goodbye", "good.bye")) == Message("heard: Goodbye")


@pytest.mark.parametrize("name", ["hello", "goodbye"])
def test_the_manifest_names_handlers_that_can_be_built(name: str) -> None:
    components = tomllib.loads((EXAMPLE / "farm.toml").read_text())["components"]
    assert check(EXAMPLE / components[name]["source"]) == []
