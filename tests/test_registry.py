from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from farm import registry
from farm.errors import BadValue, ManifestError
from farm.manifest.read import read
from farm.registry import broker_types, options_of
from farm.spec import BrokerSpec, MemorySpec
from tests.manifest.example import SMALL, write
from tests.sources import ROOT

BROKER = SMALL.partition("[components")[0]
OURS = ["memory", "redis", "redis-streams", "nats", "jetstream", "mqtt"]

PACKAGE = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Annotated, Literal
from farm.spec import Key, ServerSpec

@dataclass(frozen=True, kw_only=True)
class KafkaSpec(ServerSpec):
    type: Annotated[Literal["kafka"], Key("What kind of broker this is.", '"kafka"')]
    brokers: Annotated[tuple[str, ...], Key("The servers.", '["h:9092"]')]

@dataclass(frozen=True, kw_only=True)
class Keyless(KafkaSpec):
    type: Annotated[str, Key("What kind of broker this is.", '"keyless"')]
    port: int

@dataclass(frozen=True, kw_only=True)
class Nameless(KafkaSpec):
    type: Annotated[str, Key("What kind of broker this is.", '"nameless"')]
    queue: Annotated[asyncio.Queue, Key("What nobody has imported.", "1")]

@dataclass(frozen=True, kw_only=True)
class Lone(KafkaSpec):
    type: Annotated[Literal["lone"], Key("What kind of broker this is.", '"lone"')]

NOTHING = 5
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a type "kafka", types that have no keys or do not load, and one that takes a name of ours."""
    (tmp_path / "farm_kafka.py").write_text(PACKAGE)
    (tmp_path / "farm_old.py").write_text("print 'of another Python'")
    monkeypatch.syspath_prepend(str(tmp_path))
    targets = {
        "kafka": "farm_kafka:KafkaSpec",
        "odd": "farm_kafka:NOTHING",
        "lost": "farm_kafka:GONE",
        "old": "farm_old:X",
        "other": "farm_kafka:KafkaSpec",
        "keyless": "farm_kafka:Keyless",
        "nameless": "farm_kafka:Nameless",
        "lone": "farm_kafka:Lone",
    }
    entries = [EntryPoint(name, target, registry.OPTIONS_GROUP) for name, target in targets.items()]
    entries.append(EntryPoint("nats", "farm_kafka:KafkaSpec", registry.OPTIONS_GROUP))
    entries += [EntryPoint(name, "farm_kafka:Gone", registry.BROKERS_GROUP) for name in targets if name != "lone"]
    monkeypatch.setattr(registry, "installed", lambda group: EntryPoints(entries).select(group=group))


def test_ours_are_those_of_the_documentation() -> None:
    assert broker_types()[: len(OURS)] == OURS
    for name in OURS:
        found = options_of(name)
        assert found is not None
        assert issubclass(found, BrokerSpec)
    assert options_of("memory") is MemorySpec
    assert options_of("kafka") is None


@pytest.mark.usefixtures("installed")
def test_an_installed_package_adds_a_type(tmp_path: Path) -> None:
    assert broker_types() == [*OURS, "kafka", "keyless", "lone", "lost", "nameless", "odd", "old", "other"]
    text = BROKER.replace('type = "memory"', 'type = "kafka"\nbrokers = ["h:9092"]\nrequired = true')
    broker = read(write(tmp_path, text), {}).spec.brokers["test"]
    assert (broker.type, vars(broker)["brokers"], vars(broker)["required"]) == ("kafka", ("h:9092",), True)


@pytest.mark.usefixtures("installed")
def test_a_name_of_ours_stays_ours() -> None:
    found = options_of("nats")
    assert found is not None
    assert found.__module__ == "farm.brokers.options.nats"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["odd", "lost", "old"])
def test_a_type_that_cannot_be_used_is_told_like_any_mistake(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadValue):
        options_of(name)
    with pytest.raises(ManifestError, match=f"brokers.test.type .*{name}"):
        read(write(tmp_path, SMALL.replace('"memory"', f'"{name}"')), {})


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("other", "KafkaSpec): their `type` is 'kafka', their entry point 'other'. Mend the package it is from"),
        ("keyless", "Keyless): field 'port' has neither a Key nor a default. "),
        ("nameless", "Nameless): NameError: name 'asyncio' is not defined. "),
        ("lone", "Lone): no package has an entry point 'lone' in farm.brokers. "),
    ],
)
def test_a_mistake_of_a_packages_author_is_not_told_as_one_of_the_manifest(name: str, why: str) -> None:
    with pytest.raises(BadValue) as caught:
        options_of(name)
    assert f"the keys of type '{name}' cannot be used ({why}" in str(caught.value)


READ = """
import sys
from pathlib import Path
from farm.manifest.read import read
from farm.manifest.schema import schema
read(Path(sys.argv[1]), {})
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"redis", "nats", "paho", "asyncio"}))
schema()
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"redis", "nats", "paho", "asyncio"}))
"""


def test_a_manifest_is_read_without_any_client_library(tmp_path: Path) -> None:
    text = BROKER.replace('type = "memory"', 'type = "nats"\nservers = ["h"]')
    text += '[brokers.r]\ntype = "redis-streams"\nurl = "redis://h"\n[brokers.m]\ntype = "mqtt"\nurl = "mqtt://h"\n'
    path = write(tmp_path, text)
    done = subprocess.run([sys.executable, "-c", READ, path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.split()) == ("", [])


def test_the_package_does_not_look_for_its_own_types(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: str) -> EntryPoints:
        raise AssertionError("all that is installed was looked through")

    monkeypatch.setattr(registry, "installed", never)
    for name in OURS:
        assert options_of(name) is not None
