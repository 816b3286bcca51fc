from __future__ import annotations

import string
import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from farm.manifest.lines import KeyPath, Position, scan


def paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from paths(inner, (*path, key))


NAMES = st.sampled_from(["a", "b", "c-d", "1", "a.b", "", "#", "]", "é", '"', "'", "\\", "="])
SPACE = st.sampled_from(["", " ", "\t", "  "])
LINES = st.sampled_from(["", " ", "\n", ' # it\'s "one" [x] {y}\n', "\n\n\t"])


def as_basic(text: str) -> str:
    return '"' + "".join(f"\\u{ord(c):04X}" if c in '"\\' or not c.isprintable() else c for c in text) + '"'


@st.composite
def keys(draw: st.DrawFn) -> str:
    name = draw(NAMES)
    ways = [as_basic(name)]
    if name and all(c in string.ascii_letters + string.digits + "-_" for c in name):
        ways.append(name)
    if "'" not in name:
        ways.append(f"'{name}'")
    return draw(st.sampled_from(ways))


@st.composite
def dotted_keys(draw: st.DrawFn) -> str:
    parts = draw(st.lists(keys(), min_size=1, max_size=3))
    return (draw(SPACE) + "." + draw(SPACE)).join(parts)


SCALARS = st.sampled_from(
    [
        "1", "-1_000", "0xFF", "1.5e3", "inf", "true",
        "1979-05-27", "1979-05-27 07:32:00", "07:32:00", "1979-05-27T00:00:00Z",
        '""', '"a # ] } , = b"', '"\\" \\\\"', "''", "'a \" # \\'",
        '""""""', '"""a\n"b" ""c\\"""" \\\n  d"""', '"""x""""', '"""x"""""', '"""\n[a]\nb = 1 # """',
        "''''''", "'''a\n'b' ''c''' ", "'''x''''", "'''x'''''", "'''\n[a]\nb = 1 # '''",
    ]
)  # fmt: skip


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    elements = draw(st.lists(inner, max_size=3))
    text = "".join(draw(LINES) + element + draw(LINES) + "," for element in elements)
    if elements and draw(st.booleans()):
        text = text[:-1]
    return "[" + text + draw(LINES) + "]"


@st.composite
def inline_tables(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    pairs = [f"{draw(SPACE)}{draw(dotted_keys())} = {draw(inner)}{draw(SPACE)}" for _ in range(draw(st.integers(0, 3)))]
    return "{" + ",".join(pairs) + "}"


VALUES = st.recursive(SCALARS, lambda inner: arrays(inner) | inline_tables(inner), max_leaves=8)


@st.composite
def statements(draw: st.DrawFn) -> str:
    space, end = draw(SPACE), draw(SPACE) + draw(st.sampled_from(["", "# [not] = a 'key'"]))
    kind = draw(st.sampled_from(["pair", "pair", "table", "array", "comment"]))
    if kind == "comment":
        return f"{space}# a = {{"
    key = draw(dotted_keys())
    if kind == "pair":
        return f"{space}{key}{draw(SPACE)}={draw(SPACE)}{draw(VALUES)}{end}"
    inside = f"{draw(SPACE)}{key}{draw(SPACE)}"
    return f"{space}[{inside}]{end}" if kind == "table" else f"{space}[[{inside}]]{end}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Statement after statement, those left out that TOML does not allow there."""
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    text = ""
    for statement in draw(st.lists(statements(), max_size=8)):
        longer = text + statement.replace("\n", newline) + newline
        try:
            tomllib.loads(longer)
        except tomllib.TOMLDecodeError:
            continue
        text = longer
    return text.removesuffix(newline) if draw(st.booleans()) else text


@settings(max_examples=400, deadline=None)
@given(documents())
def test_the_scanner_has_the_key_paths_that_tomllib_has_and_no_others(text: str) -> None:
    assert set(scan(text)) == set(paths(tomllib.loads(text)))


@settings(max_examples=200, deadline=None)
@given(documents())
def test_where_the_scanner_says_a_key_is_it_is_written(text: str) -> None:
    lines = text.replace("\r\n", "\n").split("\n")
    for path, position in scan(text).items():
        rest = lines[position.line - 1][position.column - 1 :]
        name = path[-1]
        if isinstance(name, str):
            writings = [name] if name and name.isascii() and name.replace("-", "").isalnum() else []
            assert rest.startswith((*writings, as_basic(name), f"'{name}'"))


def test_a_manifest_is_found_line_by_line() -> None:
    text = """\
# the farm
[brokers.test]
gateway = { port = 1, bind = "x" }

[[components.hello.triggers]]
topic = '''
a'''
[[components.hello.triggers]]
backoff = [
  "1s",   # first
  "2s",
]
[components.hello.triggers.publish]
subject = "s"
"""
    found = scan(text)
    triggers = ("components", "hello", "triggers")
    assert found[("brokers", "test")] == Position(2, 10)
    assert found[("brokers", "test", "gateway", "bind")] == Position(3, 23)
    assert found[(*triggers, 0)] == Position(5, 1)
    assert found[(*triggers, 1)] == Position(8, 1)
    assert found[(*triggers, 1, "backoff", 1)] == Position(11, 3)
    assert found[(*triggers, 1, "publish")] == Position(13, 28)
    assert found[(*triggers, 1, "publish", "subject")] == Position(14, 1)


def test_a_tables_own_header_is_its_place_even_when_a_deeper_one_came_first() -> None:
    assert scan("[a.b]\n[a]\n")[("a",)] == Position(2, 2)
