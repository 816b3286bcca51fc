"""A handler's file and the modules beside it, read and parsed; nothing of them is run.

hello.py            import prices         -> prices.py
prices.py           from shop import vat  -> shop/, all of its .py files
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.build import files, guest


@dataclass(frozen=True)
class Module:
    """One file. name is its path from the handler's folder, with slashes; tree is None where it does not parse."""

    path: Path
    name: str
    data: bytes
    tree: ast.Module | None
    error: SyntaxError | None


@dataclass(frozen=True)
class Import:
    """One imported name.

    name: dotted, without a relative import's dots. level: how many of these. late: inside a function. guarded: the code
    catches the error if it is not there.
    """

    name: str
    line: int
    level: int
    late: bool
    guarded: bool

    @property
    def top(self) -> str:
        """The first part of the name: a file or folder."""
        return self.name.partition(".")[0]


def read_modules(source: Path) -> list[Module]:
    """The handler's module first, then what it imports from its folder, transitively; a package with all its files.

    Raises:
      NotPermitted: one of them cannot be read.
    """
    folder = source.absolute().parent
    modules = [_read(source.absolute(), folder)]
    seen = {modules[0].path}
    for module in modules:
        for one in imports_of(module):
            if one.level or one.top in guest.STANDARD or one.top in guest.RESERVED:
                continue
            for path in local_files(folder, one.top):
                if path not in seen:
                    seen.add(path)
                    modules.append(_read(path, folder))
    return modules


def local_files(folder: Path, top: str) -> Sequence[Path]:
    """The files of the module `top` in `folder`: one, or those of a package in the order of their names; or none."""
    package = folder / top
    if top.isidentifier() and package.is_dir():
        inside = sorted(each for each in package.rglob("*.py") if each.is_file())
        if inside:
            return inside
    alone = folder / f"{top}.py"
    return [alone] if alone.is_file() else []


def imports_of(module: Module) -> list[Import]:
    """All that the file imports when it runs as a component, wherever in it."""
    return [] if module.tree is None else list(_imports(module.tree.body, late=False, guarded=False))


def _read(path: Path, folder: Path) -> Module:
    data = files.read(path, files.root_of(path))
    name = path.relative_to(folder).as_posix()
    try:
        return Module(path, name, data, ast.parse(data, filename=str(path)), None)
    except SyntaxError as error:
        return Module(path, name, data, None, error)
    except (ValueError, RecursionError, MemoryError) as error:
        # A NUL byte, or nested deeper than the parser goes.
        return Module(path, name, data, None, SyntaxError(str(error) or "too deeply nested", (str(path), 1, 1, None)))


def _imports(nodes: Sequence[ast.AST], *, late: bool, guarded: bool) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(each.name, node.lineno, 0, late, guarded) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield Import(node.module or "", node.lineno, node.level, late, guarded)
            # What is imported from a package may be a module of it; if it is not, importing it so does no harm.
            names = [each.name for each in node.names if each.name != "*"] if node.module and not node.level else []
            yield from (Import(f"{node.module}.{each}", node.lineno, 0, late, guarded=True) for each in names)
        elif isinstance(node, ast.If) and _is_never(node.test):
            yield from _imports(node.orelse, late=late, guarded=guarded)
        elif isinstance(node, (ast.Try, ast.TryStar)):
            yield from _imports(node.body, late=late, guarded=guarded or _catches(node.handlers))
            rest = [*node.handlers, *node.orelse, *node.finalbody]
            yield from _imports(rest, late=late, guarded=guarded)
        elif not isinstance(node, ast.expr):
            # Expressions hold no imports, and a long one is nested deeper than this may go.
            inside = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            yield from _imports(list(ast.iter_child_nodes(node)), late=inside, guarded=guarded)


def _is_never(test: ast.expr) -> bool:
    """`TYPE_CHECKING` and `__name__ == "__main__"`: false in a component."""
    if isinstance(test, ast.Compare):
        return isinstance(test.left, ast.Name) and test.left.id == "__name__"
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"


def _catches(handlers: Sequence[ast.ExceptHandler]) -> bool:
    names = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
    for handler in handlers:
        caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        if any(each is None or (isinstance(each, ast.Name) and each.id in names) for each in caught):
            return True
    return False
