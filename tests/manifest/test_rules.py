from __future__ import annotations

from pathlib import Path

import pytest

from farm.errors import SourceMissing
from farm.manifest.read import read
from farm.spec import GatewaySpec
from tests.manifest.example import EXAMPLE, SMALL, said, trigger, write


def test_wildcards_of_a_topic_are_those_of_its_broker(tmp_path: Path) -> None:
    text = trigger('broker = "test"\ntopic = "a.b*"')
    read(write(tmp_path, text), {})
    nats = text.replace('type = "memory"', 'type = "memory"\nwildcards = "nats"')
    assert said(tmp_path, nats) == [
        "bad components.hello.triggers[0].topic (farm.toml:10): invalid pattern 'a.b*': `*` and `>` are whole tokens"
    ]


def test_two_gateways_on_one_address_are_refused(tmp_path: Path) -> None:
    text = '[app]\nname = "x"\n'
    for name, bind in (("a", "127.0.0.1"), ("b", "127.0.0.2"), ("c", "127.0.0.1")):
        text += f'[brokers.{name}]\ngateway = {{ port = 3005, bind = "{bind}" }}\n'
    assert said(tmp_path, text) == [
        "two gateways on port 3005 (farm.toml:8): brokers a and c both want 127.0.0.1:3005. Give each its own port"
    ]
    read(write(tmp_path, text.replace("3005", "0")), {})


def test_loopback_of_both_kinds_may_be_bound(tmp_path: Path) -> None:
    text = '[app]\nname = "x"\n[brokers.a]\ngateway = { port = 3005, bind = "::1" }\n'
    assert read(write(tmp_path, text), {}).spec.brokers["a"].gateway == GatewaySpec(3005, "::1")


def test_missing_sources_alone_are_missing_files_each_with_the_nearest_that_is_there(tmp_path: Path) -> None:
    text = EXAMPLE.replace('"hello.py"', '"helo.py"').replace('"goodbye.py"', '"away/x.wasm"')
    assert said(tmp_path, text, SourceMissing) == [
        "helo.py is missing (farm.toml:13): components.hello.source names it. Did you mean hello.py?",
        "away/x.wasm is missing (farm.toml:17): components.goodbye.source names it. Create it, or correct the name",
    ]


def test_a_missing_source_beside_another_fault_is_a_bad_manifest(tmp_path: Path) -> None:
    lines = said(tmp_path, EXAMPLE.replace('"hello.py"', '"helo.py"').replace("3006", "3005"))
    assert [line.partition(" (")[0] for line in lines] == ["two gateways on port 3005", "helo.py is missing"]


def test_a_folder_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "x.py").mkdir()
    (line,) = said(tmp_path, SMALL.replace("hello.py", "x.py") + "triggers = []\n", SourceMissing)
    assert line == "x.py is no file (farm.toml:6): components.hello.source names it. Create it, or correct the name"


@pytest.mark.parametrize("source", ["a" * 5000 + ".py", "hello.py/x.py", "loop.py"])
def test_a_source_that_cannot_be_looked_at_is_a_missing_file(tmp_path: Path, source: str) -> None:
    (tmp_path / "loop.py").symlink_to("loop.py")
    said(tmp_path, SMALL.replace("hello.py", source) + "triggers = []\n", SourceMissing)


def test_a_source_that_farm_cannot_build_needs_a_command_and_the_command_makes_a_wasm(tmp_path: Path) -> None:
    text = SMALL.replace("hello.py", "hello.rs") + "triggers = []\n"
    assert said(tmp_path, text) == [
        'bad components.hello.source (farm.toml:6): farm cannot build "hello.rs". '
        'Name a .py or a .wasm, or say how it is built: build = "command"'
    ]
    assert said(tmp_path, text + 'build = "make"\n') == [
        'bad components.hello.source (farm.toml:6): "hello.rs" is no .wasm. '
        "With build, source is the .wasm that the command makes"
    ]
    made = read(write(tmp_path, text.replace(".rs", ".wasm") + 'build = "make"\n'), {})
    assert made.spec.components["hello"].build == "make"


def test_a_key_of_tls_needs_its_certificate(tmp_path: Path) -> None:
    text = '[app]\nname = "x"\n[brokers.b]\ntype = "nats"\nservers = ["h"]\ntls = { key = "farm.key" }\n'
    assert said(tmp_path, text) == [
        'bad brokers.b.tls.key (farm.toml:6): a key needs its certificate. Write certificate = ".."'
    ]
