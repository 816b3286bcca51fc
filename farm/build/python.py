"""Make a component of a Python handler.

    check     milliseconds   what the text alone tells
    wanted    milliseconds   where the component of the present sources lies, made or not
    build     seconds        makes it, if it is not there; run it in a child (`farm.build.child`): code at import may
                             never end, and the tool can die

The same sources give different bytes each time (hash seeds), so what was built is kept under the key of its sources.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

from farm.build.analysis import problems_of
from farm.build.files import build_folder, new_prefix, refuse_if_full, shown
from farm.build.packages import drop_packages, install_packages, installed_packages, package_names
from farm.build.sources import Sources, read_sources
from farm.build.staging import ENTRY_MODULE, PARTS, stage
from farm.errors import BadComponent, Internal, Problem

KEPT: Final = 5
LEFT_S: Final = 3600.0  # what builders leave that died with their parents is older than any build takes
NAMES: Final = (("farm:messaging/types@0.1.0", "farm_types"),)


def check(source: Path) -> list[Problem]:
    """What is wrong with the handler `source`; empty: a build may succeed. Runs and installs nothing.

    Raises:
      SourceMissing: there is no such file.
    """
    sources = read_sources(source)
    packages = installed_packages(sources)
    if sources.requirements is None:
        return problems_of(sources, frozenset())
    return problems_of(sources, None if packages is None else package_names(packages))


def wanted(source: Path, watch: Sequence[str] = ()) -> Path:
    """Where the component of the present sources lies, whether or not it was built.

    Args:
      watch: globs, from the manifest's folder, of what else the handler reads at import.
    Raises:
      SourceMissing: there is no such file.
      BadComponent: `watch` is no glob.
    """
    return _wanted(read_sources(source, watch))


def build(source: Path, watch: Sequence[str] = ()) -> Path:
    """The component of the present sources, built if need be.

    Raises:
      SourceMissing: there is no such file.
      BadComponent: the handler is wrong; each problem with its file and line.
      NoRoom: the disk is full.
    """
    sources = read_sources(source, watch)
    wasm = _wanted(sources)
    if wasm.is_file():
        return wasm
    refuse_if_any(problems_of(sources, frozenset() if sources.requirements is None else None))
    packages = install_packages(sources)
    if packages is not None:
        refuse_if_any(problems_of(sources, package_names(packages)))
    wasm.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=new_prefix(os.getpid()), dir=wasm.parent) as new:
        stage(sources, packages, Path(new))
        made = Path(new) / "component.wasm"
        _componentize(sources, Path(new), made)
        made.replace(wasm)
    _drop_old(sources, wasm)
    return wasm


def refuse_if_any(problems: Sequence[Problem]) -> None:
    """Raise BadComponent if there are any."""
    if problems:
        raise BadComponent(*problems)


def _wanted(sources: Sources) -> Path:
    return build_folder(sources.root) / f"{_name(sources)}-{sources.key}.wasm"


def _name(sources: Sources) -> str:
    return shown(sources.source.with_suffix(""), sources.root).replace("/", ".")


def _componentize(sources: Sources, folder: Path, out: Path) -> None:
    # 48 MB of native code, which starts threads: only where it is used.
    run = cast("Callable[..., None]", importlib.import_module("componentize_py").componentize)
    wit, world, paths = [str(folder / "wit")], ["handler"], [str(folder / part) for part in PARTS]
    try:
        run(wit, world, [], False, None, paths, [], ENTRY_MODULE, str(out), False, list(NAMES), [], False, None)
    except AssertionError as error:
        refuse_if_full(str(error), sources.root)
        raise BadComponent(refusal(sources, str(error))) from error


def refusal(sources: Sources, said: str) -> Problem:
    """What componentize-py's text means for the handler's author.

    It is a traceback from inside of the component, then `Caused by:` with the error, then its own stack.
    """
    trace, _, rest = said.partition("\nCaused by:\n")
    reason = " ".join(rest.partition("\nStack backtrace:")[0].split()).rstrip(":")[:500]
    if own := re.findall(r'File "/0/([^"\n]+)", line (\d+)', trace):
        where = f"{shown(sources.folder / own[-1][0], sources.root)}:{own[-1][1]}"
        todo = "It runs when the component is built: move what must run later into the handler or @on_start"
        if reason.startswith("FileNotFoundError"):
            todo = "Name the file in `watch`, and read it by Path(__file__).with_name(..)"
        return Problem("code at import failed", where, reason, todo)
    if packages := re.findall(r'File "/2/([^"\n]+)", line (\d+)', trace):
        return Problem("a package fails at import", ":".join(packages[-1]), reason, "Use another")
    if "wasm backtrace" in reason:
        why = "it ends the process, as os._exit() and os.abort() do"
        return Problem("code at import failed", shown(sources.source, sources.root), why)
    raise Internal(Problem("componentize-py failed", why=reason or trace[:500]))


def _drop_old(sources: Sources, newest: Path) -> None:
    """Keep the newest few components of this handler: going back to an older text then costs nothing."""
    pattern = f"{_name(sources)}-{'[0-9a-f]' * 32}.wasm"
    others = [path for path in newest.parent.glob(pattern) if path != newest]
    # Another builder may remove the same ones at the same time.
    with suppress(FileNotFoundError):
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for old in others[KEPT - 1 :]:
            old.unlink()
        for left in (*newest.parent.glob(".new-*"), *newest.parent.glob(".child-*")):
            if left.stat().st_mtime < newest.stat().st_mtime - LEFT_S:
                shutil.rmtree(left, ignore_errors=True)
        drop_packages(sources.root)
