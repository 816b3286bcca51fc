"""What must be true between the settings of a manifest, and beyond their types: names, subjects, files, addresses.

The rules look at the raw tables, each at the values it is about: what is no string is noted elsewhere (`shape`), and
keeps no other fault from being found.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Final, cast

from farm.errors import InvalidSubject
from farm.manifest.document import Finding
from farm.manifest.keys import Table, as_table, dotted
from farm.manifest.lines import KeyPath
from farm.spec import GatewaySpec
from farm.subject import Grammar, validate, validate_filter

SOURCES: Final = (".py", ".wasm")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def check(table: Table, folder: Path, grammars: Mapping[str, Grammar]) -> Iterator[Finding]:
    """Every rule that a manifest breaks.

    Args:
      folder: what its relative names are relative to.
      grammars: of those brokers that are as they should be.
    """
    brokers = as_table(table.get("brokers"))
    yield from _check_gateways(brokers)
    for name, broker in brokers.items():
        tls = as_table(as_table(broker).get("tls"))
        if "key" in tls and "certificate" not in tls:
            here: KeyPath = ("brokers", name, "tls", "key")
            yield Finding(here, f"bad {dotted(here)}", "a key needs its certificate", 'Write certificate = ".."')
    for name, component in as_table(table.get("components")).items():
        path: KeyPath = ("components", name)
        given = as_table(component)
        yield from _check_source(path, given, folder)
        for index, trigger in enumerate(_list(given, "triggers")):
            yield from _check_trigger((*path, "triggers", index), as_table(trigger), brokers, grammars)
        for index, glob in enumerate(_list(given, "watch")):
            if isinstance(glob, str) and (not glob or glob.startswith("/") or "\0" in glob):
                here = (*path, "watch", index)
                yield Finding(here, f"bad {dotted(here)}", "a glob is relative to the manifest's folder, and not empty")
        yield from _check_variables((*path, "variables"), as_table(given.get("variables")))
        yield from _check_environment((*path, "environment"), as_table(given.get("environment")))


def _check_gateways(brokers: Table) -> Iterator[Finding]:
    """Addresses: loopback only, and no two listeners on one."""
    taken: dict[tuple[str, int], str] = {}
    for name, broker in brokers.items():
        gateway = as_table(as_table(broker).get("gateway"))
        bind, port = gateway.get("bind", GatewaySpec.bind), gateway.get("port")
        path: KeyPath = ("brokers", name, "gateway")
        if isinstance(bind, str):
            yield from _check_bind((*path, "bind"), bind)
        if not isinstance(bind, str) or not isinstance(port, int) or port == 0:
            continue
        if (first := taken.setdefault((bind, port), name)) != name:
            why = f"brokers {first} and {name} both want {bind}:{port}"
            yield Finding((*path, "port"), f"two gateways on port {port}", why, "Give each its own port")


def _check_bind(path: KeyPath, bind: str) -> Iterator[Finding]:
    try:
        address = ipaddress.ip_address(bind)
    except ValueError:
        yield Finding(path, f"bad {dotted(path)}", f'"{bind}" is no IP address', 'Write bind = "127.0.0.1"')
        return
    if not address.is_loopback:
        yield Finding(
            path,
            f"gateway on {bind} refused",
            "the gateway asks nobody who they are, so anyone who reaches this address could publish",
            'Write bind = "127.0.0.1", and put a proxy that authenticates before it',
        )


def _check_source(path: KeyPath, component: Table, folder: Path) -> Iterator[Finding]:
    name, build = component.get("source"), component.get("build")
    here = (*path, "source")
    if isinstance(build, str) and not build.strip():
        yield Finding((*path, "build"), f"bad {dotted((*path, 'build'))}", "the command is empty")
    if not isinstance(name, str):
        return
    source = folder / name
    if "\0" in name:
        yield Finding(here, f"bad {dotted(here)}", "there is a NUL in it")
    elif build is not None:
        if source.suffix != ".wasm":
            why, todo = f'"{name}" is no .wasm', "With build, source is the .wasm that the command makes"
            yield Finding(here, f"bad {dotted(here)}", why, todo)
    elif source.suffix not in SOURCES:
        todo = 'Name a .py or a .wasm, or say how it is built: build = "command"'
        yield Finding(here, f"bad {dotted(here)}", f'farm cannot build "{name}"', todo)
    elif (fault := _file_fault(source)) is not None:
        yield _missing(here, f"{name} {fault}", source)


def _file_fault(source: Path) -> str | None:
    try:
        return None if stat.S_ISREG(source.stat().st_mode) else "is no file"
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError as error:
        return f"cannot be read ({os.strerror(error.errno or 0)})"


def _missing(path: KeyPath, what: str, source: Path) -> Finding:
    try:
        siblings = [each.name for each in source.parent.iterdir() if each.suffix in SOURCES and each != source]
    except OSError:
        siblings = []  # no such folder: then nothing is near
    nearest = get_close_matches(source.name, siblings, n=1)
    todo = f"Did you mean {nearest[0]}?" if nearest else "Create it, or correct the name"
    return Finding(path, what, f"{dotted(path)} names it", todo, missing=True)


def _check_trigger(path: KeyPath, trigger: Table, brokers: Table, grammars: Mapping[str, Grammar]) -> Iterator[Finding]:
    name = trigger.get("broker")
    yield from _check_broker((*path, "broker"), name, tuple(brokers))
    if "topic" in trigger and "queue" in trigger:
        here = (*path, "queue")
        yield Finding(here, f"bad {dotted(here)}", "the trigger has a topic already", "Write topic or queue")
    elif "topic" not in trigger and "queue" not in trigger:
        here = (*path, "topic")
        yield Finding(here, f"{dotted(here)} is missing", todo='Write topic = "hello.*", or a queue')
    grammar: Grammar = grammars.get(str(name), "reference")
    queue = as_table(trigger.get("queue"))
    for here, topic in (("topic",), trigger.get("topic")), (("queue", "topic"), queue.get("topic")):
        if isinstance(topic, str):
            yield from _check_subject((*path, *here), partial(validate_filter, topic, grammar))
    if trigger.get("backoff") == []:
        here = (*path, "backoff")
        yield Finding(here, f"bad {dotted(here)}", "it is empty", 'Write at least one wait, such as ["1s"]')
    publish = as_table(trigger.get("publish"))
    to, subject = publish.get("broker"), publish.get("subject")
    if to != name:
        yield from _check_broker((*path, "publish", "broker"), to, tuple(brokers))
    if isinstance(subject, str):
        yield from _check_subject((*path, "publish", "subject"), lambda: validate(subject))


def _check_broker(path: KeyPath, name: object, brokers: Sequence[str]) -> Iterator[Finding]:
    if isinstance(name, str) and name not in brokers:
        close = get_close_matches(name, brokers, n=1, cutoff=0.5)
        todo = f'Did you mean "{close[0]}"?' if close else f"The brokers are: {', '.join(brokers) or 'none'}"
        yield Finding(path, f'unknown broker "{name}"', f"{dotted(path)} names it", todo)


def _check_subject(path: KeyPath, refuse: Callable[[], None]) -> Iterator[Finding]:
    try:
        refuse()
    except InvalidSubject as error:
        problem = error.problems[0]
        yield Finding(path, f"bad {dotted(path)}", f"{problem.what}: {problem.why}", problem.todo)


def _check_variables(path: KeyPath, variables: Table) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name, value in variables.items():
        here = (*path, name)
        if _VARIABLE.fullmatch(name) is None:
            yield Finding(here, f"bad {dotted(here)}", "a variable's name is letters, digits, - and _, no digit first")
        elif (first := seen.setdefault(name.upper().replace("-", "_"), name)) != name:
            yield Finding(here, f"bad {dotted(here)}", f"to the component it is the same name as {first}", "Rename one")
        yield from _check_text(here, value)


def _check_environment(path: KeyPath, environment: Table) -> Iterator[Finding]:
    for name, value in environment.items():
        here = (*path, name)
        if not name or "=" in name or "\0" in name:
            yield Finding(here, f"bad {dotted(here)}", "a name has no = in it, and is not empty")
        elif name.startswith("FARM_"):
            yield Finding(here, f"bad {dotted(here)}", "names with FARM_ are farm's own", "Use variables for settings")
        yield from _check_text(here, value)


def _check_text(path: KeyPath, value: object) -> Iterator[Finding]:
    if isinstance(value, str) and "\0" in value:
        yield Finding(path, f"bad {dotted(path)}", "there is a NUL in it")


def _list(table: Table, key: str) -> list[object]:
    value = table.get(key)
    return cast("list[object]", value) if isinstance(value, list) else []
