from __future__ import annotations

import re
from pathlib import Path

import pytest

from farm.errors import ManifestError
from farm.manifest.environment import OTHERS
from farm.manifest.read import read
from farm.spec import ComponentSpec, GatewaySpec, TriggerSpec
from tests.manifest.example import EXAMPLE, write
from tests.sources import ROOT


def hello(folder: Path, **variables: str) -> ComponentSpec:
    return read(write(folder, EXAMPLE), variables).spec.components["hello"]


def refused(folder: Path, text: str = EXAMPLE, **variables: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read(write(folder, text), variables)
    return [str(problem) for problem in caught.value.problems]


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    spec = read(write(tmp_path, EXAMPLE), {"FARM_APP__NAME": "other", "FARM_BROKERS__TEST__GATEWAY__PORT": "4000"}).spec
    assert spec.app.name == "other"
    assert spec.brokers["test"].gateway == GatewaySpec(4000)


def test_a_variable_sets_what_the_file_leaves_out(tmp_path: Path) -> None:
    found = hello(tmp_path, FARM_COMPONENTS__HELLO__MEMORY="1GiB", FARM_COMPONENTS__HELLO__CONCURRENCY="3")
    assert (found.memory_bytes, found.concurrency) == (1 << 30, 3)


def test_a_string_needs_no_quotes_and_keeps_those_it_has(tmp_path: Path) -> None:
    assert hello(tmp_path, FARM_COMPONENTS__HELLO__VARIABLES__X='"1"').variables == {"x": '"1"'}


def test_an_array_is_written_as_in_toml_and_one_element_by_its_index(tmp_path: Path) -> None:
    found = hello(
        tmp_path,
        FARM_COMPONENTS__HELLO__WATCH='["a", "b"]',
        FARM_COMPONENTS__HELLO__TRIGGERS__0__TOPIC="other",
    )
    assert (found.watch, found.triggers[0].topic) == (("a", "b"), "other")


def test_a_whole_array_comes_before_its_elements(tmp_path: Path) -> None:
    found = hello(
        tmp_path,
        FARM_COMPONENTS__HELLO__TRIGGERS__1__TOPIC="second",
        FARM_COMPONENTS__HELLO__TRIGGERS='[{broker = "test", topic = "a"}, {broker = "test", topic = "b"}]',
    )
    assert found.triggers == (TriggerSpec("test", "a"), TriggerSpec("test", "second"))


def test_a_dash_in_a_name_is_written_as_an_underscore(tmp_path: Path) -> None:
    text = EXAMPLE.replace("components.hello", "components.my-hello")
    found = read(write(tmp_path, text), {"FARM_COMPONENTS__MY_HELLO__DEADLINE": "1s"}).spec.components["my-hello"]
    assert found.deadline_s == 1


def test_a_new_variable_of_a_component_is_lower_case_and_a_new_environment_name_is_not(tmp_path: Path) -> None:
    found = hello(tmp_path, FARM_COMPONENTS__HELLO__VARIABLES__NEW="1", FARM_COMPONENTS__HELLO__ENVIRONMENT__LANG="C")
    assert (found.variables, found.environment) == ({"new": "1"}, {"LANG": "C"})


def test_a_variable_of_a_component_that_the_file_has_keeps_its_name(tmp_path: Path) -> None:
    text = EXAMPLE + '[components.hello.variables]\nMy-Name = "file"\n'
    environ = {"FARM_COMPONENTS__HELLO__VARIABLES__MY_NAME": "set"}
    assert read(write(tmp_path, text), environ).spec.components["hello"].variables == {"My-Name": "set"}


def test_a_bad_value_is_told_with_the_variables_name_after_what_is_wrong_in_the_file(tmp_path: Path) -> None:
    lines = refused(
        tmp_path,
        EXAMPLE.replace("3006", "70000"),
        FARM_BROKERS__TEST__GATEWAY__PORT="x",
        FARM_COMPONENTS__HELLO__TRIGGERS__0__TOPIC="a..b",
    )
    assert [line.split(")")[0].rpartition("/")[2] for line in lines] == [
        "farm.toml:10",
        "bad brokers.test.gateway.port (FARM_BROKERS__TEST__GATEWAY__PORT",
        "bad components.hello.triggers[0].topic (FARM_COMPONENTS__HELLO__TRIGGERS__0__TOPIC",
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("FARM_BROKERS__TEST__GATEWAY__PROT", "Did you mean FARM_BROKERS__TEST__GATEWAY__PORT?"),
        ("FARM_BROKERS_TEST_GATEWAY_PORT", "Did you mean FARM_BROKERS__TEST__GATEWAY__PORT?"),
        ("FARM_COMPONENTS__HELLO__TRIGGERS__1__TOPIC", "Did you mean FARM_COMPONENTS__HELLO__TRIGGERS__0__TOPIC?"),
        ("FARM_BROKERS__NEW__TYPE", "Did you mean FARM_BROKERS__"),
        ("FARM_WORKER", "Did you mean FARM_WORKERS?"),
        ("FARM_XYZZY", "Unset it; `farm config show` lists the keys there are"),
    ],
)
def test_a_variable_that_sets_nothing_is_an_error(tmp_path: Path, name: str, meant: str) -> None:
    (line,) = refused(tmp_path, **{name: "1"})
    what = f"unknown variable {name} (environment): it sets nothing that this manifest has. {meant}"
    assert line.startswith(what)


def test_a_variable_that_could_mean_two_keys_is_an_error(tmp_path: Path) -> None:
    text = EXAMPLE + '[brokers.te_st]\n[brokers."te-st"]\n'
    (line,) = refused(tmp_path, text, FARM_BROKERS__TE_ST__WILDCARDS="nats")
    assert line.startswith("FARM_BROKERS__TE_ST__WILDCARDS is ambiguous (environment): brokers.te_st.wildcards and ")


def test_variables_of_commands_and_of_kubernetes_are_no_settings(tmp_path: Path) -> None:
    hello(
        tmp_path,
        FARM_APP="x",
        FARM_STATE_DIR="x",
        FARM_WORKERS="8",
        FARM_LOG_LEVEL="debug",
        FARM_SERVICE_HOST="10.0.0.1",
        FARM_SERVICE_PORT_HTTP="3005",
        FARM_PORT="tcp://10.0.0.1:3005",
        FARM_PORT_3005_TCP_ADDR="10.0.0.1",
        FARM_GATEWAY_PORT_3005_TCP="tcp://10.0.0.1:3005",
        PATH="/bin",
    )


def test_every_variable_that_farm_itself_reads_is_no_setting() -> None:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "farm").rglob("*.py"))
    read_there = {
        name for text in sources for name in re.findall(r'(?:envvar=|environ\.get\(|environ\[)"(FARM_\w+)"', text)
    }
    assert read_there == OTHERS


def test_a_variable_adds_no_table_where_the_file_has_something_else(tmp_path: Path) -> None:
    text = EXAMPLE.replace("{ port = 3005 }", "3005")
    assert [line.split(" (")[0] for line in refused(tmp_path, text, FARM_BROKERS__TEST__GATEWAY__PORT="1")] == [
        "bad brokers.test.gateway"
    ]


def test_a_value_with_a_second_line_sets_one_key_only(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, FARM_BROKERS__TEST__GATEWAY__PORT="1\nother = 2")
    assert "is no whole number" in line
