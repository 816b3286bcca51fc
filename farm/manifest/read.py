"""farm.toml and FARM_* variables -> FarmSpec, or every problem at once.

load (document)  ->  merge (environment)  ->  Shape (types)  ->  rules  ->  Manifest
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from farm.errors import ManifestError, SourceMissing
from farm.manifest.document import Document, load
from farm.manifest.environment import merge
from farm.manifest.keys import dotted, walk
from farm.manifest.rules import check
from farm.manifest.shape import Shape
from farm.spec import FarmSpec


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
    findings = [*shape.findings, *check(merged.table, folder)]
    problems = [*document.problems(findings), *merged.problems]
    if problems and not merged.problems and all(finding.missing for finding in findings):
        raise SourceMissing(*problems)
    if problems or shape.app is None:
        raise ManifestError(*problems)
    spec = FarmSpec(path=path.resolve(), app=shape.app, brokers=shape.brokers, components=components)
    return Manifest(spec, _sources(document, spec))


def _sources(document: Document, spec: FarmSpec) -> dict[str, str]:
    return {dotted(each.path): document.source(each.path) for each in walk(spec)}
