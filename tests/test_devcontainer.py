"""What a developer's container offers is what the example and the documentation speak of."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]


def compose(path: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / path).read_text())


def test_each_server_is_there_on_loopback_alone_and_says_when_it_is_ready() -> None:
    services = compose("compose.yaml")["services"]
    assert set(services) == {"redis", "nats", "mqtt"}
    for service in services.values():
        assert service["ports"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["healthcheck"]["test"]


def test_the_workspace_waits_for_all_of_them() -> None:
    workspace = compose(".devcontainer/compose.yaml")["services"]["workspace"]
    assert set(workspace["depends_on"]) == set(compose("compose.yaml")["services"])


def test_the_ports_of_the_example_are_forwarded() -> None:
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    brokers = tomllib.loads((ROOT / "example-app/farm.toml").read_text())["brokers"]
    assert container["forwardPorts"] == [broker["gateway"]["port"] for broker in brokers.values()]
    assert container["service"] in compose(".devcontainer/compose.yaml")["services"]
