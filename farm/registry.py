"""Which types of brokers there are: ours, and those of installed packages; each is loaded when a manifest names it.

[project.entry-points."farm.broker_options"]   its-type = "package.module:ItsSpec"      a subclass of BrokerSpec
[project.entry-points."farm.brokers"]          its-type = "package.other:ItsBroker"     a subclass of Broker
The first is read with the manifest, by every command, so its module imports no client library. The second is loaded by
ingest alone, after the fork. Ours stand here: looking through what is installed takes longer than all else at start.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, get_args, get_type_hints

from farm.errors import BadValue, Problem
from farm.spec import BrokerSpec, Key, MemorySpec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

OPTIONS_GROUP: Final = "farm.broker_options"
BROKERS_GROUP: Final = "farm.brokers"

_OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "memory": "farm.spec:MemorySpec",
        "redis": "farm.brokers.options.redis:RedisSpec",
        "redis-streams": "farm.brokers.options.redis:RedisStreamsSpec",
        "nats": "farm.brokers.options.nats:NatsSpec",
        "jetstream": "farm.brokers.options.nats:JetStreamSpec",
        "mqtt": "farm.brokers.options.mqtt:MqttSpec",
    }
)
_BROKERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "memory": "farm.brokers.memory:MemoryBroker",
        "redis": "farm.brokers.redis:RedisBroker",
        "redis-streams": "farm.brokers.redis_streams:RedisStreamsBroker",
        "nats": "farm.brokers.nats:NatsBroker",
        "jetstream": "farm.brokers.jetstream:JetStreamBroker",
        "mqtt": "farm.brokers.mqtt:MqttBroker",
    }
)


def broker_types() -> list[str]:
    """Every type that a manifest may name, ours first."""
    others = sorted({entry.name for entry in installed(OPTIONS_GROUP)} - _OPTIONS.keys())
    return [*_OPTIONS, *others]


def options_of(type_name: str) -> type[BrokerSpec] | None:
    """The dataclass of a type's keys; None: there is no such type.

    Raises: BadValue: an installed package has it, and it is unusable.
    """
    if type_name == "memory":
        return MemorySpec
    found = _load(type_name, _OPTIONS, OPTIONS_GROUP)
    if found is None:
        return None
    if not (isinstance(found, type) and issubclass(found, BrokerSpec)):
        raise BadValue(Problem(f"the keys of type {type_name!r} are no BrokerSpec", todo="Mend the package it is from"))
    if type_name not in _OPTIONS and (why := _mistake(type_name, found)):
        what = f"the keys of type {type_name!r} cannot be used"
        raise BadValue(Problem(what, where=found.__qualname__, why=why, todo="Mend the package it is from"))
    return found


def broker_class(type_name: str) -> object:
    """The class of a type, not looked at yet; None: there is none.

    Raises: BadValue: it cannot be loaded.
    """
    return _load(type_name, _BROKERS, BROKERS_GROUP)


def _mistake(type_name: str, table: type[BrokerSpec]) -> str:
    """What an author has got wrong that would only confuse whoever writes a manifest; empty: nothing."""
    try:
        hints = get_type_hints(table, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:  # of an annotation, which is text
        return f"{type(error).__name__}: {error}"
    literals = [each for kind in get_args(hints["type"])[:1] for each in get_args(kind)]
    if literals and type_name not in literals:
        return f"their `type` is {literals[0]!r}, their entry point {type_name!r}"
    for field in fields(table):
        has_key = any(isinstance(note, Key) for note in get_args(hints[field.name])[1:])
        if field.name != "name" and not has_key and field.default is field.default_factory is MISSING:
            return f"field {field.name!r} has neither a Key nor a default"
    if not installed(BROKERS_GROUP).select(name=type_name):
        return f"no package has an entry point {type_name!r} in {BROKERS_GROUP}"
    return ""


def installed(group: str) -> EntryPoints:
    """What installed packages offer."""
    from importlib.metadata import entry_points  # 30 ms, which a manifest of our own types does not need

    return entry_points(group=group)


def _load(type_name: str, ours: Mapping[str, str], group: str) -> object:
    if (target := ours.get(type_name)) is not None:
        module, _, name = target.partition(":")
        return getattr(importlib.import_module(module), name)
    for entry in installed(group):
        if entry.name != type_name:
            continue
        try:
            return entry.load()
        except Exception as error:  # a module of somebody else's may raise anything
            why = f"{type(error).__name__}: {error}"
            problem = Problem(f"cannot load type {type_name!r}", where=entry.value, why=why)
            raise BadValue(problem) from error
    return None
