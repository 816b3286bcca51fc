"""From a raw table to the dataclasses of `farm.spec`: keys, types, units and ranges, every fault noted.

Pydantic's adapters do it, one for each table, so that a broker's faults are those of its own type only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from farm.errors import BadValue
from farm.manifest.document import Finding
from farm.manifest.keys import SECTIONS, Setting, Table, as_table, broker_table, dotted, settings_of
from farm.manifest.lines import KeyPath
from farm.registry import broker_types
from farm.spec import AppSpec, BrokerSpec, ComponentSpec, Secret
from farm.units import Name


class Shape:
    """What could be made of one table; `findings` says what could not.

    A broker or component with a fault is absent from `brokers` and `components`.
    """

    def __init__(self, table: Table) -> None:
        self.findings: list[Finding] = []
        self.app: AppSpec | None = None
        self.brokers: dict[str, BrokerSpec] = {}
        self.components: dict[str, ComponentSpec] = {}
        self._unknown((), table, SECTIONS, {})
        self._read_app(table)
        for name, broker in self._named_tables(table, "brokers"):
            self._read_broker(name, broker)
        for name, component in self._named_tables(table, "components"):
            self._read_component(name, component)

    def _read_app(self, table: Table) -> None:
        if "app" not in table:
            self.findings.append(Finding(("app",), "[app] is missing", todo='Write [app] with name = "example"'))
        elif (app := self._validated(("app",), AppSpec, table["app"])) is not None:
            self.app = cast("AppSpec", app)

    def _read_broker(self, name: str, broker: object) -> None:
        path: KeyPath = ("brokers", name, "type")
        try:
            table = broker_table(broker)
        except BadValue as error:
            self._refused(path, f"bad {dotted(path)}", error)
            return
        if table is None:
            self.findings.append(_unknown_type(path, as_table(broker).get("type")))
            return
        spec = self._validated(("brokers", name), table, broker, name=name)
        if spec is not None:
            self.brokers[name] = cast("BrokerSpec", spec)
            for fault in self.brokers[name].faults():
                here = ("brokers", name, *fault.key.split("."))
                self.findings.append(Finding(here, f"bad {dotted(here)}", fault.why, fault.todo))

    def _read_component(self, name: str, component: object) -> None:
        _fill_publish(as_table(component))
        spec = self._validated(("components", name), ComponentSpec, component, name=name)
        if spec is not None:
            self.components[name] = cast("ComponentSpec", spec)

    def _named_tables(self, table: Table, section: str) -> Iterator[tuple[str, object]]:
        given = table.get(section, {})
        if not isinstance(given, dict):
            why = f"it is {_kind_of(given)}, not a table"
            todo = f"Write [{section}.NAME], one for each"
            self.findings.append(Finding((section,), f"bad {section}", why, todo))
            return
        if section == "brokers" and not given:
            todo = 'Write [brokers.test] with type = "memory"'
            self.findings.append(Finding((section,), "no brokers", "a farm needs at least one", todo))
        for name, entry in cast("Table", given).items():
            try:
                Name().parse(name)
            except BadValue as error:
                self._refused((section, name), f"bad name of [{dotted((section, name))}]", error)
            yield name, entry

    def _validated(self, path: KeyPath, of: type, given: object, **filled: str) -> object | None:
        """The dataclass `of` made of a table, or None when there are findings."""
        before = len(self.findings)
        if not isinstance(given, dict):
            what, why = f"bad {dotted(path)}", f"it is {_kind_of(given)}, not a table"
            self.findings.append(Finding(path, what, why, f"Write [{dotted(path)}]"))
            return None
        table = self._pruned(path, of, cast("Table", given))
        try:
            spec: object = _adapter(of).validate_python({**table, **filled})
        except ValidationError as error:
            self.findings += [_finding(path, of, details) for details in error.errors(include_url=False)]
            return None
        return spec if len(self.findings) == before else None

    def _pruned(self, path: KeyPath, of: type, given: Table) -> Table:
        """The table without the keys it may not have, which are noted."""
        settings = settings_of(of)
        self._unknown(path, given, {name: setting.name for name, setting in settings.items()}, settings)
        table: Table = {}
        for name, value in given.items():
            if (setting := settings.get(name)) is None:
                continue
            here = (*path, name)
            if setting.table is not None and isinstance(value, dict) and setting.kind == "table":
                value = self._pruned(here, setting.table, cast("Table", value))
            elif setting.table is not None and isinstance(value, list) and setting.kind == "tables":
                elements = enumerate(cast("list[object]", value))
                value = [
                    self._pruned((*here, i), setting.table, cast("Table", each)) if isinstance(each, dict) else each
                    for i, each in elements
                ]
            table[name] = value
        return table

    def _unknown(self, path: KeyPath, given: Table, known: Mapping[str, str], settings: Mapping[str, Setting]) -> None:
        for name in given:
            if name not in known:
                todo = _meant(name, known, settings)
                self.findings.append(Finding((*path, name), f"unknown key {dotted((*path, name))}", todo=todo))

    def _refused(self, path: KeyPath, what: str, error: BadValue) -> None:
        problem = error.problems[0]
        self.findings.append(Finding(path, what, _reason(error), problem.todo))


@cache
def _adapter(of: type) -> TypeAdapter[Any]:
    return TypeAdapter(of)


def _fill_publish(component: Table) -> None:
    """`publish` without a broker means the trigger's."""
    triggers = component.get("triggers")
    for trigger in cast("list[object]", triggers) if isinstance(triggers, list) else []:
        broker, publish = as_table(trigger).get("broker"), as_table(trigger).get("publish")
        if isinstance(broker, str) and isinstance(publish, dict):
            cast("Table", publish).setdefault("broker", broker)


def _meant(name: str, known: Mapping[str, str], settings: Mapping[str, Setting]) -> str:
    """What to do about an unknown key: the nearest one, the table it belongs into, or the list of those there are."""
    if close := get_close_matches(name.lower(), list(known), n=1, cutoff=0.6):
        return f"Did you mean {close[0]}?"
    for setting in settings.values():
        if setting.table is not None and name in settings_of(setting.table):
            return f"It belongs into {setting.name} = {{ .. }}"
    return f"The keys here are {', '.join(known)}"


def _unknown_type(path: KeyPath, type_name: object) -> Finding:
    types = broker_types()
    close = get_close_matches(str(type_name).lower(), types, n=1, cutoff=0.5)
    todo = f'Did you mean "{close[0]}"?' if close else f"The types are {', '.join(types)}"
    return Finding(path, f"unknown type {_shown(type_name)} of broker {path[1]}", todo=todo)


def _finding(path: KeyPath, of: type, details: ErrorDetails) -> Finding:
    here = (*path, *details["loc"])
    setting = _setting_at(of, details["loc"])
    example = f"{setting.name} = {setting.key.example}" if setting is not None else ""
    what, why, todo = f"bad {dotted(here)}", "", f"Write it like {example}" if example else ""
    given: object = details["input"]
    error = details.get("ctx", {}).get("error")
    match details["type"]:
        case "missing":
            what = f"{dotted(here)} is missing"
            todo = f"Write {example}"
        case "value_error" if isinstance(error, BadValue):
            why, todo = _reason(error), error.problems[0].todo or todo
        case "literal_error":
            why, todo = _choices(given, details["ctx"]["expected"] if "ctx" in details else "", todo)
        case "tuple_type" if setting is not None and setting.kind == "tables" and isinstance(given, dict):
            why, todo = "it is a table, not an array of tables", f"Write {here[-1]} = [{{ .. }}], or [[{dotted(here)}]]"
        case "string_type" | "path_type":
            why = f"it is {_kind_of(given)}, not a string"
        case "tuple_type":
            why = f"it is {_kind_of(given)}, not an array"
        case "dataclass_type" if setting is not None and setting.table is Secret:
            why = "a secret does not stand in farm.toml"
            todo = f'Write {setting.name} = {{ file = ".." }} or {{ env = ".." }}'
        case "dict_type" | "dataclass_type":
            why = f"it is {_kind_of(given)}, not a table"
        case _:
            why = details["msg"]
    return Finding(here, what, why, todo)


def _setting_at(of: type, loc: tuple[int | str, ...]) -> Setting | None:
    table: type | None = of
    found: Setting | None = None
    for part in loc:
        if isinstance(part, str) and table is not None:
            found = settings_of(table).get(part)
            table = found.table if found is not None else None
    return found


def _choices(given: object, expected: str, todo: str) -> tuple[str, str]:
    choices = re.findall(r"'([^']*)'", expected)
    close = get_close_matches(str(given).lower(), choices, n=1, cutoff=0.6)
    why = f"{_shown(given)} is none of {', '.join(choices)}"
    return why, f'Did you mean "{close[0]}"?' if close else todo


def _reason(error: BadValue) -> str:
    problem = error.problems[0]
    return f"{problem.what}: {problem.why}" if problem.why else problem.what


def _kind_of(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    kinds = ((str, "a string"), ((int, float), "a number"), (list, "an array"), (dict, "a table"))
    return next((kind for types, kind in kinds if isinstance(value, types)), "a date or a time")


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
