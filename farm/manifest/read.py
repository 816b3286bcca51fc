"""farm.toml and FARM_* variables -> FarmSpec, or every problem at once.

load (document)  ->  merge (environment)  ->  Shape (types)  ->  rules  ->  Manifest
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from farm.errors import ManifestError, SourceMissing
from farm.manifest import abilities
from farm.manifest.document import Document, load
from farm.manifest.environment import merge
from farm.manifest.keys import dotted, walk
from farm.manifest.rules import check
from farm.manifest.shape import Shape
from farm.spec import FarmSpec, Table
from farm.subject import Grammar

T = TypeVar("T", bound=Table)


@dataclass(frozen=True)
class Manifest:
    """A manifest that farm can do.

    sources: for each setting in force, by its dotted key, where its value came from: "farm.toml:12", the name of a
    FARM_* variable, or "default".
    """

    spec: FarmSpec
    sources: Mapping[str, str]


def read(path: Path, environ: Mapping[str, str]) -> Manifest:
    """Read a manifest.

    Args:
      path: the file. Relative names in it are relative to the folder of its real path.
      environ: FARM_* variables in it win over the file.
    Raises:
      ManifestError: holds every problem, in the order of the file.
      SourceMissing: the manifest is missing; or nothing is wrong but that files it names are.
      NotPermitted: it may not be read.
    """
    loaded = load(path)
    merged = merge(loaded.table, environ)
    document = replace(loaded, table=merged.table, origins=merged.origins)
    shape = Shape(merged.table)
    folder = path.resolve().parent
    components = {name: replace(each, source=folder / each.source) for name, each in shape.components.items()}
    grammars: dict[str, Grammar] = {name: broker.grammar for name, broker in shape.brokers.items()}
    findings = [*shape.findings, *check(merged.table, folder, grammars), *abilities.check(shape.brokers, components)]
    problems = [*document.problems(findings), *merged.problems]
    if problems and not merged.problems and all(finding.missing for finding in findings):
        raise SourceMissing(*problems)
    if problems or shape.app is None:
        raise ManifestError(*problems)
    brokers = {name: absolute(each, folder) for name, each in shape.brokers.items()}
    spec = FarmSpec(path=path.resolve(), app=shape.app, brokers=brokers, components=components)
    return Manifest(spec, _sources(document, spec))


def absolute(table: T, folder: Path) -> T:
    """The dataclass with every path in it, and in those that it holds, made absolute."""
    changed: dict[str, object] = {}
    fields_of = cast("Any", table)  # a Table is always a dataclass, which its type does not say
    for each in fields(fields_of):
        value: object = getattr(table, each.name)
        if isinstance(value, Path):
            changed[each.name] = folder / value
        elif isinstance(value, Table):
            changed[each.name] = absolute(value, folder)
    return cast("T", replace(fields_of, **changed)) if changed else table


def _sources(document: Document, spec: FarmSpec) -> dict[str, str]:
    return {dotted(each.path): document.source(each.path) for each in walk(spec)}
