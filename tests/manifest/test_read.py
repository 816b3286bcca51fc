from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import FarmError, Problem
from farm.manifest.read import read
from farm.spec import AppSpec, GatewaySpec, PublishSpec, TriggerSpec
from tests.manifest.example import EXAMPLE, component, said, trigger, write


def test_the_example_is_read_in_full(tmp_path: Path) -> None:
    spec = read(write(tmp_path, EXAMPLE), {}).spec
    assert spec.path == tmp_path / "farm.toml"
    assert spec.app == AppSpec("example")
    assert list(spec.brokers) == ["test", "secondary"]
    assert spec.brokers["secondary"].gateway == GatewaySpec(3006, "127.0.0.1", "text")
    hello = spec.components["hello"]
    assert (hello.name, hello.source, hello.wasm) == ("hello", tmp_path / "hello.py", None)
    assert hello.triggers == (TriggerSpec("test", "hello.*", PublishSpec("secondary", "good.bye")),)


def test_every_key_arrives_with_its_unit_taken_off(tmp_path: Path) -> None:
    text = component("""\
build = "make"
watch = ["src/*.rs"]
variables = { greeting = "hi" }
environment = { LANG = "C" }
memory = "64MiB"
deadline = "200ms"
concurrency = 3
instances = "fresh"
payload = "binary"
triggers = [{ broker = "test", topic = "t", attempts = 2, backoff = ["100ms", "1m"] }]""")
    hello = read(write(tmp_path, text.replace("hello.py", "hello.wasm")), {}).spec.components["hello"]
    assert (hello.build, hello.watch) == ("make", ("src/*.rs",))
    assert (hello.variables, hello.environment) == ({"greeting": "hi"}, {"LANG": "C"})
    assert (hello.memory_bytes, hello.deadline_s, hello.concurrency) == (64 << 20, 0.2, 3)
    assert (hello.instances, hello.payload) == ("fresh", "binary")
    assert hello.triggers == (TriggerSpec("test", "t", None, 2, (0.1, 60.0)),)


def test_triggers_may_be_written_as_an_array_of_tables_and_publish_means_the_triggers_broker(tmp_path: Path) -> None:
    text = trigger('broker = "test"\ntopic = "a"\npublish = { subject = "b" }\n[[components.hello.triggers]]\n')
    text += 'broker = "test"\ntopic = "c"\n'
    first, second = read(write(tmp_path, text), {}).spec.components["hello"].triggers
    assert first.publish == PublishSpec("test", "b")
    assert (second.topic, second.publish) == ("c", None)


def test_a_manifest_without_components_is_a_gateway(tmp_path: Path) -> None:
    text = '[app]\nname = "x"\n[brokers.test]\ngateway = { port = 0 }\n'
    assert read(write(tmp_path, text), {}).spec.components == {}


def test_each_value_has_its_source(tmp_path: Path) -> None:
    sources = read(write(tmp_path, EXAMPLE), {"FARM_BROKERS__TEST__GATEWAY__PORT": "4000"}).sources
    assert sources["app.name"] == "farm.toml:2"
    assert sources["brokers.test.gateway.port"] == "FARM_BROKERS__TEST__GATEWAY__PORT"
    assert sources["components.hello.triggers[0].publish.subject"] == "farm.toml:14"
    assert sources["components.hello.memory"] == "default"


def test_a_link_to_a_manifest_is_read_where_it_really_is(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = write(tmp_path / "real", EXAMPLE)
    link = tmp_path / "farm.toml"
    link.symlink_to(real)
    spec = read(link, {}).spec
    assert spec.path == real
    assert spec.components["hello"].source == tmp_path / "real" / "hello.py"


def test_every_problem_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
[app]
name = "a b"
[brokers.test]
type = "memroy"
[brokers.two]
gatway = { port = 1 }
wildcards = "nats"
[components.hello]
sorce = "hello.py"
memory = 128
[[components.hello.triggers]]
broker = "tow"
topic = "a.b*"
attempts = 0
[[components.hello.triggers]]
broker = "two"
topic = "a..b"
publish = { broker = "three", subject = "a.*" }
[component.x]
"""
    assert said(tmp_path, text) == [
        'bad app.name (farm.toml:2): "a b" is no name: a name is 1 to 64 letters, digits, - and _. '
        'Write it like name = "example"',
        'unknown type "memroy" of broker test (farm.toml:4). Did you mean "memory"?',
        "unknown key brokers.two.gatway (farm.toml:6). Did you mean gateway?",
        'components.hello.source is missing (farm.toml:8). Write source = "hello.py"',
        "unknown key components.hello.sorce (farm.toml:9). Did you mean source?",
        "bad components.hello.memory (farm.toml:10): 128 is no size: it has no unit. "
        'Write it as a number and a unit, such as "128MiB"',
        'unknown broker "tow" (farm.toml:12): components.hello.triggers[0].broker names it. Did you mean "two"?',
        "bad components.hello.triggers[0].attempts (farm.toml:14): 0 is out of range. Use 1 to 100",
        "bad components.hello.triggers[1].topic (farm.toml:17): invalid pattern 'a..b': an empty token (two dots "
        "together, or a dot at an end)",
        'unknown broker "three" (farm.toml:18): components.hello.triggers[1].publish.broker names it. '
        "The brokers are: test, two",
        "bad components.hello.triggers[1].publish.subject (farm.toml:18): invalid subject 'a.*': a wildcard in it; "
        "publish to one subject",
        "unknown key component (farm.toml:19). Did you mean components?",
    ]


def test_a_name_with_a_control_character_does_not_reach_the_terminal(tmp_path: Path) -> None:
    lines = said(tmp_path, '[app]\nname = "\\u001b[2J"\n"\\u001b]0;x" = 1\n[brokers.test]\n')
    assert all(line.isprintable() for line in lines)


def problems_of(path: Path, environ: dict[str, str]) -> Sequence[Problem]:
    """What is wrong with a manifest; any other error than ours gets out."""
    try:
        read(path, environ)
    except FarmError as error:
        return error.problems
    return ()


@given(st.text(alphabet='[]{}=.,"#\n abx1', max_size=60) | st.text(max_size=30))
def test_whatever_stands_in_the_file_it_is_read_or_refused_in_our_format(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    problems = problems_of(path, {})
    assert all(str(problem).isprintable() for problem in problems)


VALUES = st.sampled_from(
    ["1", "true", '""', '"test"', "[]", "{}", "[{}]", "{ a = 1 }", '["1s"]', "1979-05-27", "1.5", "inf"]
)
KEYS = st.sampled_from(
    [
        "app", "app.name", "brokers", "brokers.x", "brokers.x.type", "brokers.x.gateway", "brokers.x.gateway.port",
        "brokers.x.gateway.bind", "brokers.x.wildcards", "components", "components.x", "components.x.source",
        "components.x.triggers", "components.x.build", "components.x.watch", "components.x.variables",
        "components.x.variables.y", "components.x.environment", "components.x.memory", "components.x.concurrency",
    ]
)  # fmt: skip


@given(st.dictionaries(KEYS, VALUES, max_size=8), st.dictionaries(KEYS, VALUES, max_size=4))
def test_whatever_a_key_holds_it_is_read_or_refused_in_our_format(
    tmp_path_factory: pytest.TempPathFactory, given_keys: dict[str, str], variables: dict[str, str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "keys.toml"
    path.write_text("\n".join(f"{key} = {value}" for key, value in given_keys.items()), encoding="utf-8")
    environ = {f"FARM_{key.upper().replace('.', '__')}": value for key, value in variables.items()}
    assert all(problem.what for problem in problems_of(path, environ))
