"""Every setting in force and where it came from, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, cast

from farm.errors import printable
from farm.manifest.keys import InForce, dotted, walk
from farm.manifest.read import Manifest

WIDTH_LIMIT: Final = 80  # one long value does not push every source off the screen


@dataclass(frozen=True)
class Row:
    """One setting.

    key: dotted, `brokers.test.gateway.port`; value: as farm.toml would have it, None where nothing is set and there is
    no default; absent: what that means; source: "farm.toml:12", the name of a FARM_* variable, or "default".
    """

    key: str
    value: object
    absent: str
    source: str


def rows(manifest: Manifest) -> Iterator[Row]:
    """The settings of a manifest, in its order."""
    for each in walk(manifest.spec):
        key = dotted(each.path)
        yield Row(key, _value(each), each.setting.key.absent, manifest.sources[key])


def as_lines(manifest: Manifest) -> list[str]:
    """The manifest's path, then a line a setting, `key = value   # source`, the sources below one another."""
    found = [(_assignment(row), row.source) for row in rows(manifest)]
    width = max(len(text) for text, _ in found)
    lines = [f"{text:<{min(width, WIDTH_LIMIT)}}   # {source}" for text, source in found]
    return [f"# {printable(str(manifest.spec.path))}", *lines]


def as_json(manifest: Manifest) -> str:
    """A JSON object: `path` of the manifest, and `settings`, a list of {"key", "value", "source"}."""
    settings = [{"key": row.key, "value": row.value, "source": row.source} for row in rows(manifest)]
    return json.dumps({"path": str(manifest.spec.path), "settings": settings}, indent=2)


def _value(each: InForce) -> object:
    entry = each.setting.kind == "open" and each.path[-1] != each.setting.name
    return each.value if entry else each.setting.shown(each.value)


def _assignment(row: Row) -> str:
    return f"{row.key} = {as_toml(row.value)}" if row.value is not None else f"{row.key} is not set: {row.absent}"


def as_toml(value: object) -> str:
    """A value in TOML's own writing, on one line; what does not print is escaped."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{"".join(_escaped(c) for c in value)}"'
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(as_toml(element) for element in cast('list[object]', value))}]"
    if isinstance(value, dict):
        pairs = [f"{as_toml(key)} = {as_toml(each)}" for key, each in cast("dict[str, object]", value).items()]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    return str(value)


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"
