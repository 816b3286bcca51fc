"""What is done before the first fork of a family: every component built, compiled, and known by its digest.

    source -> (builder: a child of farm.build) -> .wasm -> (compiler: a child of ours) -> digest, cache entry
One at a time: the builder takes 440 MB, the compiler 760 MB. A warm start finds all made; its entries are checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from farm import log
from farm.build import child as builder
from farm.build import command as commands
from farm.build import python
from farm.build.command import Command
from farm.control.inspection import Inspector
from farm.control.roles import COMPILER
from farm.errors import BadComponent, FarmError, NoRoom, NotPermitted, Problem, SourceMissing
from farm.rundir import Rundir
from farm.spec import ComponentSpec, FarmSpec
from farm.wire.lifeline import Inspected

HANDLER_SUFFIX: Final = ".py"

Built = Literal["built", "unchanged", "taken"]  # taken: a .wasm that is nobody's to build


@dataclass(frozen=True)
class Prepared:
    """What a family runs on: the spec with each component's .wasm and digest, and what workers may map."""

    spec: FarmSpec
    entries: dict[str, bytes]


def prepare(spec: FarmSpec, rundir: Rundir, level: log.Level) -> Prepared:
    """Build what changed, compile what is not in the cache.

    Raises:
      BadComponent, SourceMissing: what is wrong with any of the components, all of it.
      NoRoom, NotPermitted: the disk is full, or a folder is not ours to use.
    """
    from farm.workers.cache import Cache, decoded  # wasmtime with it: not for `farm build` and `farm check`

    built = build_all(spec, list(spec.components), forced=False)
    cache = Cache(rundir)
    cache.clear_spares()
    inspector = Inspector(spec, rundir, COMPILER, level)
    components: dict[str, ComponentSpec] = {}
    entries: dict[str, bytes] = {}
    errors: list[FarmError] = []
    for name, (wasm, _) in built.items():
        found = inspector.inspect(name, wasm)
        for warning in found.warnings:
            log.get().warning("compiler", component=name, warning=warning)
        if found.problems:
            errors.append(error_of(found))
            continue
        if found.compiled:
            log.get().info("compiled", component=name, digest=found.digest[:12])
        components[name] = replace(spec.components[name], wasm=wasm, digest=found.digest)
        entries[name] = found.entry
    raise_all(errors)
    cache.prune(decoded(entry) for entry in entries.values())
    return Prepared(replace(spec, components=components), entries)


def error_of(found: Inspected) -> FarmError:
    """What is wrong with a component that was inspected, as an error."""
    others = {each.exit_code: each for each in (SourceMissing, NotPermitted, NoRoom)}
    kind = others.get(found.exit_code, BadComponent)
    return kind(*(Problem(text) for text in found.problems))


def build_all(spec: FarmSpec, names: Sequence[str], *, forced: bool) -> dict[str, tuple[Path, Built]]:
    """The .wasm of each named component, built when its sources changed, and what became of it.

    Args:
      forced: run a `build` command even where nothing seems to have changed.
    Raises:
      BadComponent, SourceMissing: what is wrong with any of them, all of it.
      NoRoom, NotPermitted: the folder for components cannot be written.
    """
    made: dict[str, tuple[Path, Built]] = {}
    errors: list[FarmError] = []
    for name in names:
        try:
            made[name] = _build_one(spec, spec.components[name], forced)
        except (BadComponent, SourceMissing) as error:
            errors.append(error)
    raise_all(errors)
    return made


def raise_all(errors: Sequence[FarmError]) -> None:
    """Raise one error with the problems of all, if there are any; of mixed kinds the guest's fault."""
    if errors:
        kinds = {type(error) for error in errors}
        kind = kinds.pop() if len(kinds) == 1 else BadComponent
        raise kind(*(problem for error in errors for problem in error.problems))


def _build_one(spec: FarmSpec, component: ComponentSpec, forced: bool) -> tuple[Path, Built]:
    source = component.source
    if component.build is not None:
        command = Command(component.build, source, spec.path.parent, component.watch)
        if forced or commands.stale(command):
            log.get().info("building", component=component.name, command=component.build)
            return commands.build(command), "built"
        return source, "unchanged"
    if source.suffix == HANDLER_SUFFIX:
        wanted = python.wanted(source, component.watch)
        if wanted.is_file():
            return wanted, "unchanged"
        log.get().info("building", component=component.name, source=source.name)
        return builder.build_in_child(source, component.watch), "built"
    return source, "taken"
