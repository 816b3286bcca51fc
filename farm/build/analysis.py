"""What is wrong with a handler, as far as its text tells: nothing is imported, run or installed.

A component takes seconds to build and then reports one error; this takes a millisecond and reports all.
"""

from __future__ import annotations

import difflib
import platform
from collections.abc import Iterator
from typing import Final

from farm.build import guest
from farm.build.decorated import handler_problems
from farm.build.files import shown
from farm.build.modules import Import, Module, imports_of, local_files
from farm.build.sources import Sources
from farm.errors import Problem

# Why a module of the standard library is not there, where there is more to say than that it is not.
INSTEAD: Final = {
    "ssl": "a component has no sockets",
    "ctypes": "a component has no native libraries",
    "bz2": "use zlib or gzip",
    "lzma": "use zlib or gzip",
}


def problems_of(sources: Sources, packages: frozenset[str] | None) -> list[Problem]:
    """Everything wrong, in the order of the files.

    Args:
      packages: the top-level names that requirements.txt brings; None: not known, for they are not installed yet.
    """
    broken = [*_name_problems(sources)]
    broken += [_syntax(sources, module, module.error) for module in sources.modules if module.error is not None]
    if broken:
        return broken
    problems = [each for module in sources.modules for each in _import_problems(sources, module, packages)]
    return [*handler_problems(sources), *problems]


def _name_problems(sources: Sources) -> Iterator[Problem]:
    source = sources.source
    where = shown(source, sources.root)
    if source.suffix != ".py" or not source.stem.isidentifier():
        name = "".join(c if c.isalnum() else "_" for c in source.stem)
        yield Problem("no name for a Python handler", where, "Python imports it by its name", f"Call it {name}.py")
    elif source.stem in guest.STANDARD | guest.RESERVED:
        why = f"a component has a module {source.stem} already, which would be imported in its place"
        yield Problem("no name for a handler", where, why, "Call it otherwise")


def _syntax(sources: Sources, module: Module, error: SyntaxError) -> Problem:
    reader = f"read by Python {platform.python_version()}"
    return Problem("syntax error", sources.shown(module, error.lineno), f"{error.msg} ({reader})")


def _import_problems(sources: Sources, module: Module, packages: frozenset[str] | None) -> Iterator[Problem]:
    for one in imports_of(module):
        if problem := _import_problem(sources, module, one, packages):
            yield problem


def _import_problem(sources: Sources, module: Module, one: Import, packages: frozenset[str] | None) -> Problem | None:
    where = sources.shown(module, one.line)
    local = () if one.top in guest.RESERVED else local_files(sources.folder, one.top)
    if one.level:
        if "/" in module.name:
            return None
        return Problem("relative import", where, f"{module.name} is in no package", "Write it without the dots")
    if local and one.top in guest.STANDARD:
        name = local[0].relative_to(sources.folder).parts[0]
        return Problem(f"{name} will not be imported", where, f"Python has a module {one.top} itself", "Rename yours")
    if local or one.guarded or one.top in guest.STANDARD or one.top.startswith("_"):
        return None
    if one.top == "farm":
        allowed = one.name == "farm" or one.name.split(".")[:2] == ["farm", "sdk"]
        return None if allowed else Problem(f"no module {one.name} in a component", where, "only farm.sdk is there")
    if packages is None or one.top in packages:
        return None
    return _missing(sources, one, where, packages)


def _missing(sources: Sources, one: Import, where: str, packages: frozenset[str]) -> Problem:
    what = f"no module {one.top}"
    if one.top in guest.ABSENT:
        why = INSTEAD.get(one.top, "it needs an operating system, and a component has none")
        return Problem(f"{what} in a component", where, why)
    if one.top in guest.REMOVED:
        return Problem(what, where, f"Python {guest.VERSION} no longer has it; components run on that one")
    beside = {path.stem for path in sources.folder.glob("*.py")} | {
        path.name for path in sources.folder.iterdir() if path.is_dir() and (path / "__init__.py").is_file()
    }
    close = difflib.get_close_matches(one.top, sorted(guest.STANDARD | beside | packages), 1, 0.7)
    why = f"neither in Python {guest.VERSION}, nor beside {sources.source.name}, nor in requirements.txt"
    return Problem(what, where, why, f"Did you mean {close[0]}?" if close else "Name its package in requirements.txt")
