"""FARM_* variables that set what farm.toml could: FARM_BROKERS__TEST__GATEWAY__PORT=4000.

A key path in capitals, `__` between its keys, `-` as `_`, an index for an element of an array. Names of brokers and
components are those of the file: the environment changes what is there and adds no table of its own.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final, cast

from farm.errors import BadValue, Problem
from farm.manifest.keys import Setting, Table, as_table, broker_table, dotted, settings_of
from farm.manifest.lines import KeyPath
from farm.spec import AppSpec, BrokerSpec, ComponentSpec

PREFIX: Final = "FARM_"

OTHERS: Final = frozenset(
    {
        "FARM_APP",
        "FARM_STATE_DIR",
        "FARM_LOG_LEVEL",
        "FARM_WORKERS",
    }
)
"""What stands for a command's flag or for a directory: no setting of the manifest."""

# What Kubernetes puts into every container for a service whose name is or begins with "farm", with the value: a plain
# FARM_.._PORT is a misspelt setting unless it holds an address.
_SERVICE_LINK: Final = re.compile(
    r"FARM_(?:[A-Z0-9]+_)*"
    r"(?:SERVICE_(?:HOST|PORT(?:_\w+)?)=|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?=|PORT=(?:tcp|udp|sctp)://)"
)


@dataclass
class Merged:
    """The table with what the environment sets, which variable set which path, and what could not be set."""

    table: Table
    origins: dict[KeyPath, str] = field(default_factory=dict[KeyPath, str])
    problems: list[Problem] = field(default_factory=list[Problem])


def merge(table: Table, environ: Mapping[str, str]) -> Merged:
    """Set in a copy of the manifest's table what FARM_* variables say; shorter paths first, in the order of names."""
    merged = Merged(deepcopy(table))
    ours = sorted(name for name in environ if name.startswith(PREFIX) and not _is_other(name, environ[name]))
    for name in sorted(ours, key=lambda each: (each.count("__"), each)):
        targets = _targets(merged.table)
        target = targets.get(name) or _new_open_key(name, targets)
        if target is None:
            merged.problems.append(_unknown(name, targets))
        elif target.clash:
            merged.problems.append(
                Problem(
                    f"{name} is ambiguous",
                    where="environment",
                    why=f"{dotted(target.path)} and {dotted(target.clash)} are both written so",
                    todo="Rename one of them, or set it in the file",
                )
            )
        else:
            _set(merged, name, target, environ[name])
    return merged


@dataclass(frozen=True)
class _Target:
    path: KeyPath
    setting: Setting | None  # None: an entry of an open table
    clash: KeyPath = ()


def _is_other(name: str, value: str) -> bool:
    return name in OTHERS or _SERVICE_LINK.match(f"{name}={value}") is not None


def _set(merged: Merged, name: str, target: _Target, text: str) -> None:
    value: object = text
    if target.setting is not None and target.setting.kind != "text":
        value = _parsed(text)
        if value is None:
            value = text  # what this key takes is said where every other value is checked
    spot: object = merged.table
    for part in target.path[:-1]:
        if isinstance(spot, dict):
            spot = as_table(cast("object", spot)).setdefault(str(part), {})
        elif isinstance(spot, list) and isinstance(part, int):
            spot = cast("list[object]", spot)[part]
    if isinstance(spot, dict):  # else the file has no table there, which is an error of its own
        cast("Table", spot)[str(target.path[-1])] = value
        merged.origins[target.path] = name


def _parsed(text: str) -> object:
    """The TOML value that `text` is, or None."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return None
    return table["value"] if len(table) == 1 else None


def _targets(table: Table) -> dict[str, _Target]:
    """Every variable that would set something, given the brokers and components there are."""
    targets: dict[str, _Target] = {}
    _collect(targets, ("app",), AppSpec, table.get("app"))
    for name, broker in as_table(table.get("brokers")).items():
        _collect(targets, ("brokers", name), _table_of(broker), broker)
    for name, component in as_table(table.get("components")).items():
        _collect(targets, ("components", name), ComponentSpec, component)
    return targets


def _table_of(broker: object) -> type:
    """Its dataclass; of a type that is not there, which is an error of its own, the keys that every broker has."""
    try:
        return broker_table(broker) or BrokerSpec
    except BadValue:
        return BrokerSpec


def _collect(targets: dict[str, _Target], path: KeyPath, of: type, given: object) -> None:
    present = as_table(given)
    for setting in settings_of(of).values():
        here = (*path, setting.name)
        value = present.get(setting.name)
        _add(targets, _Target(here, setting))
        if setting.table is not None and setting.kind == "table":
            _collect(targets, here, setting.table, value)
        elif setting.table is not None and isinstance(value, list):
            for index, element in enumerate(cast("list[object]", value)):
                _collect(targets, (*here, index), setting.table, element)
        elif setting.kind == "open":
            for name in as_table(value):
                _add(targets, _Target((*here, name), None))


def _add(targets: dict[str, _Target], target: _Target) -> None:
    name = variable_of(target.path)
    earlier = targets.get(name)
    targets[name] = target if earlier is None else _Target(earlier.path, earlier.setting, clash=target.path)


def _new_open_key(name: str, targets: Mapping[str, _Target]) -> _Target | None:
    """A further entry of a table with any keys: variables are lower-case then, environment names stay as they are."""
    for prefix, target in targets.items():
        if target.setting is None or target.setting.kind != "open" or not name.startswith(f"{prefix}__"):
            continue
        key = name.removeprefix(f"{prefix}__")
        if key:
            return _Target((*target.path, key if target.setting.name == "environment" else key.lower()), None)
    return None


def _unknown(name: str, targets: Mapping[str, _Target]) -> Problem:
    close = get_close_matches(name, [*targets, *sorted(OTHERS)], n=1, cutoff=0.7)
    return Problem(
        f"unknown variable {name}",
        where="environment",
        why="it sets nothing that this manifest has",
        todo=f"Did you mean {close[0]}?" if close else "Unset it; `farm config show` lists the keys there are",
    )


def variable_of(path: KeyPath) -> str:
    """The variable that sets a path: ("app", "name") -> "FARM_APP__NAME"."""
    return PREFIX + "__".join(str(part).upper().replace("-", "_") for part in path)
