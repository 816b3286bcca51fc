"""The JSON Schema (draft 2020-12) of farm.toml, with which editors complete and check it.

Pydantic gives the types, from the adapters that read the manifest; names, descriptions, defaults and examples are those
of the spec's keys.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter

from farm.manifest.keys import SECTIONS, Setting, settings_of
from farm.registry import broker_types, options_of
from farm.spec import AppSpec, ComponentSpec
from farm.units import NAME_PATTERN

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def schema() -> Schema:
    """The schema of a whole manifest."""
    types = {name: table for name in broker_types() if (table := options_of(name)) is not None}
    tables = _tables_under(AppSpec, *types.values(), ComponentSpec)
    return {
        "$schema": DIALECT,
        "title": "farm.toml",
        "description": "What a farm runs: brokers, and the components that run on their messages.",
        "type": "object",
        "properties": {
            "app": {"description": SECTIONS["app"], **_reference(AppSpec)},
            "brokers": {
                **_by_name(SECTIONS["brokers"], _by_type(types)),
                "minProperties": 1,
            },
            "components": _by_name(SECTIONS["components"], _reference(ComponentSpec)),
        },
        "required": ["app", "brokers"],
        "additionalProperties": False,
        "$defs": {table.__name__: _table(table) for table in tables},
    }


def _by_type(types: Mapping[str, type]) -> Schema:
    """A broker's table, by what its `type` says; without one it is the first. An editor tells what is wrong where."""
    first, *others = types
    conditions: Schema = {name: {"properties": {"type": {"const": name}}, "required": ["type"]} for name in others}
    conditions[first] = {"properties": {"type": {"const": first}}}
    return {
        "properties": {"type": {"enum": list(types)}},
        "allOf": [{"if": conditions[name], "then": _reference(table)} for name, table in types.items()],
    }


def _by_name(description: str, entry: Schema) -> Schema:
    return {
        "description": description,
        "type": "object",
        "propertyNames": {"pattern": NAME_PATTERN},
        "additionalProperties": entry,
    }


def _tables_under(*tables: type) -> list[type]:
    found: list[type] = []
    for table in tables:
        inner = [each.table for each in settings_of(table).values() if each.table is not None]
        found += [each for each in (table, *_tables_under(*inner)) if each not in found]
    return found


def _table(table: type) -> Schema:
    raw: Schema = TypeAdapter(table).json_schema()
    properties: Mapping[str, Schema] = raw["properties"]
    settings = settings_of(table)
    return {
        "description": (table.__doc__ or "").partition("\n")[0],
        "type": "object",
        "properties": {name: _property(setting, properties[name]) for name, setting in settings.items()},
        "required": [name for name, setting in settings.items() if setting.required],
        "additionalProperties": False,
    }


def _property(setting: Setting, raw: Schema) -> Schema:
    kept = next((each for each in raw.get("anyOf", ()) if each.get("type") != "null"), raw)  # TOML has no null
    found: Schema = {"description": setting.doc}
    found |= {name: value for name, value in kept.items() if name not in ("title", "default", "description")}
    if found.get("format") == "path":
        del found["format"]  # pydantic's own word, which editors do not know
    if setting.default is not None:
        found["default"] = setting.shown(setting.default)
    found["examples"] = [tomllib.loads(f"example = {setting.key.example}")["example"]]
    return found


def _reference(table: type) -> Schema:
    return {"$ref": f"#/$defs/{table.__name__}"}
