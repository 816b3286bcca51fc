from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from farm.brokers.options.mqtt import MqttSpec, WillSpec
from farm.brokers.options.nats import JetStreamSpec, NatsSpec
from farm.brokers.options.redis import RedisSpec, RedisStreamsSpec
from farm.manifest.environment import OTHERS
from farm.manifest.keys import Setting, settings_of
from farm.manifest.read import read
from farm.manifest.schema import schema
from farm.manifest.show import as_toml
from farm.spec import (
    AppSpec,
    ComponentSpec,
    GatewaySpec,
    MemorySpec,
    PublishSpec,
    QueueSpec,
    Secret,
    TlsSpec,
    TriggerSpec,
)
from tests.manifest.example import write
from tests.sources import ROOT

SECTIONS = {
    "`[app]`": AppSpec,
    '`type = "memory"`': MemorySpec,
    '`type = "redis"`': RedisSpec,
    '`type = "redis-streams"`': RedisStreamsSpec,
    '`type = "nats"`': NatsSpec,
    '`type = "jetstream"`': JetStreamSpec,
    '`type = "mqtt"`': MqttSpec,
    "`will` of an MQTT broker": WillSpec,
    "`password` and other secrets": Secret,
    "`tls` of a broker": TlsSpec,
    "`gateway` of a broker": GatewaySpec,
    "`[components.NAME]`": ComponentSpec,
    "`triggers` of a component": TriggerSpec,
    "`publish` of a trigger": PublishSpec,
    "`queue` of a trigger": QueueSpec,
}


def page() -> str:
    return (ROOT / "docs" / "manifest.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return page().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def row(setting: Setting) -> str:
    shown = f"`{as_toml(setting.shown(setting.default))}`"
    default = "required" if setting.required else "-" if setting.default is None else shown
    return f"| `{setting.name}` | {default} | {setting.doc} | `{setting.name} = {setting.key.example}` |"


@pytest.mark.parametrize("title", SECTIONS)
def test_the_page_lists_each_table_as_it_is(title: str) -> None:
    rows = [line for line in section(title).splitlines() if line.startswith("| `")]
    assert rows == [row(setting) for setting in settings_of(SECTIONS[title]).values()]


def test_the_page_and_the_schema_list_the_same_keys() -> None:
    listed = {
        table.__name__: re.findall(r"^\| `(\w+)` \|", section(title), re.MULTILINE) for title, table in SECTIONS.items()
    }
    assert listed == {name: list(table["properties"]) for name, table in schema()["$defs"].items()}


def test_the_first_example_of_the_page_is_read(tmp_path: Path) -> None:
    example = page().partition("```toml\n")[2].partition("```")[0]
    assert list(read(write(tmp_path, example), {}).spec.components) == ["hello"]
    assert all(tomllib.loads(each) for each in re.findall(r"```toml\n(.*?)```", page(), re.DOTALL))


def test_the_page_names_the_variables_that_are_no_settings() -> None:
    assert all(f"`{name}`" in section("From the environment") for name in OTHERS)
