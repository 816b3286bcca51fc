"""`farm build` and `farm check`: what `farm up` would do, and what it would complain of."""

from __future__ import annotations

import os
import sys
from collections.abc import Sized
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final

import typer

from farm import log, rundir
from farm.control.cli.options import App, manifest_path
from farm.control.prepare import HANDLER_SUFFIX, Built, build_all, error_of, raise_all
from farm.errors import BadComponent, BadValue, FarmError, Problem, SourceMissing
from farm.manifest.files import look, refuse
from farm.manifest.read import read
from farm.manifest.review import review
from farm.spec import ComponentSpec, FarmSpec

WORDS: Final[dict[Built, str]] = {"built": "built", "unchanged": "unchanged", "taken": "nothing to build"}


def build(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Components. Default: all.")] = None,
    app: App = None,
) -> None:
    """Build the components whose sources changed.

    A Python handler is built when one of its files changed; a `build` command of the manifest runs each time. Exit code
    0 when all are built, 65 when one cannot be, else as `farm check`.

    \b
    Examples:
      farm build
      farm build hello goodbye
    """
    spec = read(manifest_path(app), os.environ).spec
    log.configure("info", "build")
    chosen = names or list(spec.components)
    for name in chosen:
        if name not in spec.components:
            raise _unknown(name, spec)
    folder = spec.path.parent
    for name, (wasm, how) in build_all(spec, chosen, forced=True).items():
        shown = wasm.relative_to(folder) if wasm.is_relative_to(folder) else wasm
        print(f"{name}: {WORDS[how]}, {shown}")


def _unknown(name: str, spec: FarmSpec) -> BadValue:
    near = get_close_matches(name, list(spec.components), n=1)
    todo = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(spec.components) or 'none'}"
    return BadValue(Problem(f"no component {name!r}", where=str(spec.path), todo=todo))


def check(app: App = None) -> None:
    """Say all that is wrong with the manifest, the handlers and the .wasm files, without building anything.

    Secrets and certificates that are not on this machine are warnings: `farm up` refuses to start without them. Exit
    code 0 when nothing is wrong, 78 for the manifest, 65 for a component, 66 for a file that is not there, 77 for one
    that may not be read.

    \b
    Examples:
      farm check
      farm check --app services/orders
    """
    manifest = read(manifest_path(app), os.environ)
    spec = manifest.spec
    log.configure("warning", "check")
    for warning in review(manifest):
        _warn(warning)
    lacks = look(manifest, os.environ)
    for lack in lacks:
        if lack.elsewhere or lack.kind == "open":
            _warn(lack.warning)
    refuse([lack for lack in lacks if not lack.elsewhere])
    errors: list[FarmError] = []
    for component in spec.components.values():
        try:
            _check_one(spec, component)
        except (BadComponent, SourceMissing) as error:
            errors.append(error)
    raise_all(errors)
    print(f"ok: {spec.app.name}, {_count(spec.brokers, 'broker')}, {_count(spec.components, 'component')}")


def _check_one(spec: FarmSpec, component: ComponentSpec) -> None:
    """Raise what is wrong with a component; say what is only doubtful."""
    source = component.source
    if component.build is None and source.suffix == HANDLER_SUFFIX:
        from farm.build import python

        problems = python.check(source)
        if problems:
            raise BadComponent(*problems)
    elif component.build is not None and not source.is_file():
        _warn(Problem("not built yet", where=component.name, why=f"no {source}", todo="`farm build` makes it"))
    else:
        _inspect(spec, component, source)


def _inspect(spec: FarmSpec, component: ComponentSpec, wasm: Path) -> None:
    from farm.control.inspection import Inspector
    from farm.control.roles import CHECKER

    found = Inspector(spec, rundir.of(spec.path), CHECKER, "warning").inspect(component.name, wasm)
    for warning in found.warnings:
        _warn(Problem(warning, where=component.name))
    if found.problems:
        raise error_of(found)


def _warn(problem: Problem) -> None:
    print(f"warning: {problem}", file=sys.stderr)


def _count(things: Sized, word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"
