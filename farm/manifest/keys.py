"""Which keys farm.toml may have, read off the dataclasses of `farm.spec`; no list of them stands anywhere else.

[app]                AppSpec
[brokers.NAME]       the dataclass that `type` names, by `farm.registry`
[components.NAME]    ComponentSpec
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin, get_type_hints

from farm.manifest.lines import KeyPath
from farm.registry import options_of
from farm.spec import AppSpec, BrokerSpec, ComponentSpec, FarmSpec, Key, MemorySpec, key_of
from farm.units import Duration, Size, Whole, format_duration, format_size

Table = dict[str, Any]  # a table of TOML, as tomllib has it
Kind = Literal["text", "value", "list", "open", "table", "tables"]

SECTIONS: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "app": "The farm itself.",
        "brokers": "Where messages come from and go to, by name; the first is the one meant when none is named.",
        "components": "What runs on messages, by name.",
    }
)


@dataclass(frozen=True)
class Setting:
    """One key of one table.

    kind: "text" is a string in TOML, "value" another scalar, "list" an array of scalars, "open" a table of strings with
    any keys, "table" and "tables" one or an array of `table`.
    """

    name: str
    field: str
    key: Key
    kind: Kind
    required: bool
    default: object
    unit: Duration | Size | Whole | None
    table: type | None

    @property
    def doc(self) -> str:
        """What an editor and the documentation say of it, limits and absence included."""
        limits = f" {self.unit.least} to {self.unit.most}." if self.unit is not None else ""
        absent = f" Absent: {self.key.absent}." if self.key.absent else ""
        return f"{self.key.doc}{limits}{absent}"

    def shown(self, value: object) -> object:
        """A field's value as farm.toml would have it: 134217728 -> "128MiB"."""
        if self.key.absent and value == "":
            return None
        if isinstance(value, tuple):
            return [self.shown(element) for element in cast("tuple[object, ...]", value)]
        if isinstance(self.unit, Duration) and isinstance(value, (int, float)):
            return format_duration(value)
        if isinstance(self.unit, Size) and isinstance(value, int):
            return format_size(value)
        return str(value) if isinstance(value, Path) else value


@cache
def settings_of(table: type) -> Mapping[str, Setting]:
    """The keys of a table, by name, in the order of the dataclass."""
    hints = get_type_hints(table, include_extras=True)
    found = (_setting(each, hints[each.name]) for each in fields(table))
    return types.MappingProxyType({each.name: each for each in found if each is not None})


def broker_table(broker: object) -> type[BrokerSpec] | None:
    """The dataclass that reads a broker's table, by its type; None: there is no such type.

    Raises: BadValue: an installed package has it, and it is unusable.
    """
    type_name = as_table(broker).get("type", MemorySpec.type)
    return options_of(type_name) if isinstance(type_name, str) else None


def _setting(field: Field[Any], hint: Any) -> Setting | None:
    notes = getattr(hint, "__metadata__", ())
    key = next((note for note in notes if isinstance(note, Key)), None)
    if key is None:
        return None
    bare = _without_none(get_args(hint)[0])
    default: object = field.default if field.default is not MISSING else None
    if field.default_factory is not MISSING:
        default = field.default_factory()
    if key.absent and default == "":
        default = None  # nothing is written like this
    no_default = field.default is MISSING and field.default_factory is MISSING
    kind, table, inner_notes = _kind(bare)
    unit = next((note for note in (*notes, *inner_notes) if isinstance(note, (Duration, Size, Whole))), None)
    return Setting(
        name=key_of(field.name),
        field=field.name,
        key=key,
        kind="text" if isinstance(unit, (Duration, Size)) and kind == "value" else kind,
        required=no_default and not key.absent,
        default=default,
        unit=unit,
        table=table,
    )


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return next(arg for arg in get_args(hint) if arg is not type(None))
    return hint


def _kind(bare: Any) -> tuple[Kind, type | None, tuple[object, ...]]:
    if get_origin(bare) is tuple:
        inner = get_args(bare)[0]
        if isinstance(inner, type) and hasattr(inner, "__dataclass_fields__"):
            return "tables", inner, ()
        return "list", None, getattr(inner, "__metadata__", ()) if get_origin(inner) is Annotated else ()
    if get_origin(bare) is dict:
        return "open", None, ()
    if isinstance(bare, type) and hasattr(bare, "__dataclass_fields__"):
        return "table", bare, ()
    return ("value" if bare in (int, float, bool) else "text"), None, ()


@dataclass(frozen=True)
class InForce:
    """A setting of one manifest, with the value it has there (as the field has it)."""

    path: KeyPath
    setting: Setting
    value: object


def walk(spec: FarmSpec) -> Iterator[InForce]:
    """Every setting in force, tables taken apart, in the order of the manifest."""
    yield from _walk_table(("app",), settings_of(AppSpec), spec.app)
    for name, broker in spec.brokers.items():
        yield from _walk_table(("brokers", name), settings_of(type(broker)), broker)
    for name, component in spec.components.items():
        yield from _walk_table(("components", name), settings_of(ComponentSpec), component)


def _walk_table(path: KeyPath, settings: Mapping[str, Setting], table: object) -> Iterator[InForce]:
    for setting in settings.values():
        value = getattr(table, setting.field)
        here = (*path, setting.name)
        if setting.table is not None and setting.kind == "table" and value is not None:
            yield from _walk_table(here, settings_of(setting.table), value)
        elif setting.table is not None and setting.kind == "tables" and value:
            for index, element in enumerate(value):
                yield from _walk_table((*here, index), settings_of(setting.table), element)
        elif setting.kind == "open" and value:
            for name, text in value.items():
                yield InForce((*here, name), setting, text)
        else:
            yield InForce(here, setting, value)


def as_table(value: object) -> Table:
    """`value` where it is a table, else an empty one: for who looks into a manifest that may be wrong."""
    return cast("Table", value) if isinstance(value, dict) else {}


def dotted(path: KeyPath) -> str:
    """A path as people read it: `components.hello.triggers[0].topic`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _is_bare(part) else f'"{part}"')
    return text


def _is_bare(part: str) -> bool:
    return bool(part) and all(c.isascii() and (c.isalnum() or c in "-_") for c in part)
