"""The demonstration of the README, on the example application with its Python handlers, built by farm."""

from __future__ import annotations

import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.conftest import RequireProgram
from tests.sources import ROOT
from tests.system.family import FARM, Family, family

BUILDS_S = 300


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    """The example on ports that the system chooses, built into a folder of its own."""
    folder = tmp_path_factory.mktemp("example")
    for name in ("hello.py", "goodbye.py"):
        shutil.copy(ROOT / "example-app" / name, folder)
    manifest = (ROOT / "example-app" / "farm.toml").read_text()
    with family(folder, manifest.replace("port = 3005", "port = 0").replace("port = 3006", "port = 0"), {}) as farm:
        farm.up(workers=8)
        yield farm


def gateway(farm: Family, broker: str) -> str:
    return farm.status()["brokers"][broker]["gateway"]


@pytest.mark.timeout(BUILDS_S)
def test_a_message_by_http_arrives_as_goodbye_on_a_websocket(example: Family) -> None:
    with connect(f"ws://{gateway(example, 'secondary')}/subscribe/good.*") as heard:
        request = urllib.request.Request(
            f"http://{gateway(example, 'test')}/publish/hello.world", b"Ada", method="POST"
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 202
        assert heard.recv(timeout=20) == "Goodbye"


def test_a_message_by_command_arrives_at_a_subscriber_of_each_broker(example: Family) -> None:
    words = (("good.*", "secondary"), ("sink", "test"))
    listeners = [
        subprocess.Popen(
            [FARM, "subscribe", pattern, "--broker", broker, "--count", "1"],
            cwd=example.folder,
            env=example.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for pattern, broker in words
    ]
    for listener in listeners:
        assert listener.stderr is not None
        assert listener.stderr.readline() == b"subscribed\n"
    published = example.run("publish", "hello.world", "Ada")
    assert published.returncode == 0, published.stderr.decode()
    said = [listener.communicate(timeout=20)[0].decode() for listener in listeners]
    assert "Goodbye" in said[0]
    assert "heard: Goodbye" in said[1]


def test_a_second_start_builds_nothing_and_compiles_nothing(example: Family) -> None:
    built = {path: path.stat().st_mtime_ns for path in built_files(example)}
    assert len(built) == 2, "each component was built once"
    assert compiled_count(example) == 2, "each component was compiled once, not once for each worker"
    assert example.down() == 0
    example.up(workers=8)
    assert {path: path.stat().st_mtime_ns for path in built_files(example)} == built
    assert compiled_count(example) == 2


def test_the_second_manifest_runs_on_a_server_that_farm_brings_along(
    example: Family, tmp_path: Path, require_program: RequireProgram
) -> None:
    require_program("nats-server")
    folder = tmp_path / "durable"
    shutil.copytree(example.folder, folder, ignore=shutil.ignore_patterns("farm.toml", "farm.log"))
    manifest = (ROOT / "example-app" / "durable.toml").read_text()
    with family(folder, manifest.replace("port = 3005", "port = 0"), {}) as farm:
        for name in ("cache", "cache.key"):  # compiled by the first one
            made, there = example.rundir.state / name, farm.rundir.state / name
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(made, there) if made.is_dir() else shutil.copy2(made, there)
        farm.up()
        assert compiled_count(farm) == 0
        broker = farm.status()["brokers"]["test"]
        assert (broker["type"], broker["state"]) == ("jetstream", "up")
        assert len(farm.pids("server")) == 1
        listener = subprocess.Popen(
            [FARM, "subscribe", "sink", "--count", "1"],
            cwd=folder,
            env=farm.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert listener.stderr is not None
        assert listener.stderr.readline() == b"subscribed\n"
        assert farm.run("publish", "hello.world", "Ada").returncode == 0
        assert "heard: Goodbye" in listener.communicate(timeout=20)[0].decode()
        assert farm.down() == 0


def built_files(example: Family) -> list[Path]:
    return sorted((example.folder / ".farm" / "build").rglob("*.wasm"))


def compiled_count(example: Family) -> int:
    return example.log_text().count('"event": "compiled"')


def test_the_example_in_the_readme_is_the_example_in_the_folder() -> None:
    readme = (ROOT / "README.md").read_text()
    for words in ("ws://localhost:3006/subscribe/good.*", "http://localhost:3005/publish/hello.world", "`Goodbye`"):
        assert words in readme
    assert "farm up --app durable.toml" in readme
