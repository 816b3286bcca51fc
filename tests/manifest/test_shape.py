from __future__ import annotations

from pathlib import Path

import pytest

from tests.manifest.example import component, said, trigger


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('deadline = "1ms"', 'bad components.hello.deadline (farm.toml:7): "1ms" is out of range. Use "10ms" to "1h"'),
        (
            'deadline = "5 sec"',
            'bad components.hello.deadline (farm.toml:7): "5 sec" is no duration: the units are ms, s, m and h. '
            'Write it as a number and a unit, such as "5s"',
        ),
        ('memory = "5GiB"', 'bad components.hello.memory (farm.toml:7): "5GiB" is out of range. Use "1MiB" to "4GiB"'),
        ("concurrency = 0", "bad components.hello.concurrency (farm.toml:7): 0 is out of range. Use 1 to 65536"),
        (
            "concurrency = true",
            "bad components.hello.concurrency (farm.toml:7): true is no whole number. Write one, such as 1",
        ),
        (
            'concurrency = "4"',
            'bad components.hello.concurrency (farm.toml:7): "4" is no whole number. Write 4, without quotes',
        ),
        ("payload = true", "bad components.hello.payload (farm.toml:7): true is none of text, binary. "),
        (
            'payload = "txt"',
            'bad components.hello.payload (farm.toml:7): "txt" is none of text, binary. Did you mean "text"?',
        ),
        (
            "instances = 3",
            "bad components.hello.instances (farm.toml:7): 3 is none of reuse, fresh. "
            'Write it like instances = "fresh"',
        ),
        (
            'watch = "a"',
            "bad components.hello.watch (farm.toml:7): it is a string, not an array. "
            'Write it like watch = ["src/**/*.rs"]',
        ),
        (
            'watch = ["a", "/b"]',
            "bad components.hello.watch[1] (farm.toml:7): a glob is relative to the manifest's folder, and not empty",
        ),
        (
            "variables = { a = 1 }",
            "bad components.hello.variables.a (farm.toml:7): it is a number, not a string. "
            'Write it like variables = { greeting = "Hello" }',
        ),
        (
            'variables = { a-b = "1", A_B = "2" }',
            "bad components.hello.variables.A_B (farm.toml:7): to the component it is the same name as a-b. Rename one",
        ),
        (
            'environment = { FARM_X = "1" }',
            "bad components.hello.environment.FARM_X (farm.toml:7): names with FARM_ are farm's own. "
            "Use variables for settings",
        ),
        (
            'environment = { A = "\\u0000" }',
            "bad components.hello.environment.A (farm.toml:7): there is a NUL in it",
        ),
        (
            "payload = 1979-05-27",
            "bad components.hello.payload (farm.toml:7): 1979-05-27 is none of text, binary. "
            'Write it like payload = "binary"',
        ),
        ('build = " "', "bad components.hello.build (farm.toml:7): the command is empty"),
        ('digest = "x"', "unknown key components.hello.digest (farm.toml:7). The keys here are source, triggers, "),
        ('timeout = "5s"', "unknown key components.hello.timeout (farm.toml:7). The keys here are source, triggers, "),
        ('topic = "x"', "unknown key components.hello.topic (farm.toml:7). It belongs into triggers = { .. }"),
    ],
)
def test_a_bad_line_of_a_component_is_told_with_what_to_write(tmp_path: Path, line: str, problem: str) -> None:
    lines = said(tmp_path, component(line))
    assert any(each.startswith(problem) for each in lines), lines


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('backoff = "1s"', "bad components.hello.triggers[0].backoff (farm.toml:10): it is a string, not an array. "),
        ("backoff = []", "bad components.hello.triggers[0].backoff (farm.toml:10): it is empty. "),
        (
            'backoff = ["1s", 5]',
            "bad components.hello.triggers[0].backoff[1] (farm.toml:10): 5 is no duration: it has no unit. ",
        ),
        (
            "attempts = 101",
            "bad components.hello.triggers[0].attempts (farm.toml:10): 101 is out of range. Use 1 to 100",
        ),
        ("publish = 1", "bad components.hello.triggers[0].publish (farm.toml:10): it is a number, not a table. "),
        ("publish = {}", "components.hello.triggers[0].publish.subject is missing (farm.toml:10). Write subject = "),
        ('subject = "x"', "unknown key components.hello.triggers[0].subject (farm.toml:10). It belongs into publish"),
    ],
)
def test_a_bad_line_of_a_trigger_is_told_with_what_to_write(tmp_path: Path, line: str, problem: str) -> None:
    lines = said(tmp_path, trigger(f'broker = "test"\ntopic = "t"\n{line}'))
    assert len(lines) == 1
    assert lines[0].startswith(problem)


def test_a_table_where_an_array_of_tables_belongs_is_told_how_many_brackets(tmp_path: Path) -> None:
    assert said(tmp_path, component('[components.hello.triggers]\nbroker = "test"\n')) == [
        "bad components.hello.triggers (farm.toml:7): it is a table, not an array of tables. "
        "Write triggers = [{ .. }], or [[components.hello.triggers]]"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "[app] is missing (farm.toml)."),
        ("", "no brokers (farm.toml): a farm needs at least one."),
        ("app = 3", "bad app (farm.toml:1): it is a number, not a table. Write [app]"),
        ("[app]\n[brokers]", "no brokers (farm.toml:2)"),
        ("brokers = []", "bad brokers (farm.toml:1): it is an array, not a table. Write [brokers.NAME], one for each"),
        ("components.x = 1", "bad components.x (farm.toml:1): it is a number, not a table. Write [components.x]"),
        ('[brokers."a b"]', 'bad name of [brokers."a b"] (farm.toml:1): "a b" is no name'),
        ("[brokers.x]\ntype = 3", "unknown type 3 of broker x (farm.toml:2). The types are memory"),
        ("[brokers.x]\nport = 3", "unknown key brokers.x.port (farm.toml:2). It belongs into gateway = { .. }"),
        ("[brokers.x]\nname = 3", "unknown key brokers.x.name (farm.toml:2). "),
        (
            "[brokers.x.gateway]\nport = 65536",
            "bad brokers.x.gateway.port (farm.toml:2): 65536 is out of range. Use 0 to",
        ),
        ('[brokers.x.gateway]\nport = "80"', 'bad brokers.x.gateway.port (farm.toml:2): "80" is no whole number. '),
        ('[brokers.x.gateway]\nbind = ""', 'bad brokers.x.gateway.bind (farm.toml:2): "" is no IP address. '),
        (
            '[brokers.x.gateway]\nbind = "0.0.0.0"',
            "gateway on 0.0.0.0 refused (farm.toml:2): the gateway asks nobody who",
        ),
    ],
)
def test_a_bad_table_is_told_with_what_to_write(tmp_path: Path, text: str, problem: str) -> None:
    lines = said(tmp_path, text)
    assert any(each.startswith(problem) for each in lines), lines
