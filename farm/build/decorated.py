"""The decorated functions of a handler's file: one handler, which takes one message; and nothing acts at import."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from typing import Final

from farm.build.files import sdk_folder
from farm.build.modules import Module
from farm.build.sources import Sources
from farm.errors import Problem

SDK: Final = "farm.sdk"
Function = ast.FunctionDef | ast.AsyncFunctionDef


def handler_problems(sources: Sources) -> Iterator[Problem]:
    """What is wrong with the use of the SDK in the handler's file and the modules beside it."""
    for module in sources.modules:
        tree = module.tree
        if tree is None:
            continue
        names = _Names(tree)
        yield from _unknown_names(sources, module, tree)
        if module is sources.modules[0]:
            yield from _handler_count(sources, module, tree, names)
        yield from _function_problems(sources, module, tree, names)
        yield from _call_problems(sources, module, tree, names)


class _Names:
    """What a file calls the SDK's things: `from farm.sdk import publish as p`, `import farm.sdk as s`, `farm.sdk.x`."""

    def __init__(self, tree: ast.Module) -> None:
        self._names: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and not node.level:
                prefix = node.module or ""
                self._names |= {each.asname or each.name: f"{prefix}.{each.name}" for each in node.names}
                if prefix == SDK and any(each.name == "*" for each in node.names):
                    self._names |= {name: f"{SDK}.{name}" for name in sdk_names()}
            elif isinstance(node, ast.Import):
                self._names |= {
                    each.asname or each.name.partition(".")[0]: each.name
                    if each.asname
                    else each.name.partition(".")[0]
                    for each in node.names
                }

    def of(self, node: ast.expr) -> str:
        """The full dotted name of an expression, as far as imports tell; empty if it is none."""
        if isinstance(node, ast.Name):
            return self._names.get(node.id, "")
        if isinstance(node, ast.Attribute):
            before = self.of(node.value)
            return f"{before}.{node.attr}" if before else ""
        return ""


def sdk_names() -> list[str]:
    """What `farm.sdk` offers."""
    tree = ast.parse((sdk_folder() / "__init__.py").read_bytes())
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def _unknown_names(sources: Sources, module: Module, tree: ast.Module) -> Iterator[Problem]:
    offered = sdk_names()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == SDK and not node.level:
            for each in node.names:
                if each.name not in (*offered, "*", "testing"):
                    close = difflib.get_close_matches(each.name, offered, 1, 0.6)
                    todo = f"Did you mean {close[0]}?" if close else f"There are {', '.join(offered)}"
                    yield Problem(f"farm.sdk has no {each.name}", sources.shown(module, node.lineno), todo=todo)


def _handler_count(sources: Sources, module: Module, tree: ast.Module, names: _Names) -> Iterator[Problem]:
    handlers = [each for each in _functions(tree) if _mark(each, names) == "message_component"]
    if not handlers:
        todo = "Put @message_component, from farm.sdk, over the function that takes messages"
        yield Problem("no handler", sources.shown(module, None), todo=todo)
    for extra in handlers[1:]:
        where = sources.shown(module, extra.lineno)
        first = handlers[0]
        todo = "Put it into a file of its own"
        yield Problem("a second @message_component", where, f"{first.name} in line {first.lineno} is one already", todo)
    for each in handlers:
        if each not in tree.body:
            where = sources.shown(module, each.lineno)
            yield Problem(
                f"handler {each.name} is inside of something", where, todo="Define it at the module's top level"
            )


def _function_problems(sources: Sources, module: Module, tree: ast.Module, names: _Names) -> Iterator[Problem]:
    for function in _functions(tree):
        mark = _mark(function, names)
        where = sources.shown(module, function.lineno)
        if mark == "message_component" and not _takes(function, 1):
            todo = f"Write `def {function.name}(message: Message)`"
            yield Problem(f"handler {function.name} does not take exactly one message", where, todo=todo)
        if mark == "on_start" and not _takes(function, 0):
            yield Problem(f"{function.name} runs at start, and is given no arguments", where, todo="Take none")
        if mark and isinstance(function, ast.AsyncFunctionDef) and _yields(function):
            yield Problem(
                f"yield in async def {function.name}", where, todo="Collect the messages in a list, and return it"
            )
        for each in function.decorator_list:
            if isinstance(each, ast.Call) and _sdk_name(each.func, names) in ("message_component", "on_start"):
                name = _sdk_name(each.func, names)
                yield Problem(f"@{name}()", sources.shown(module, each.lineno), todo=f"Write @{name}, without ()")


def _call_problems(sources: Sources, module: Module, tree: ast.Module, names: _Names) -> Iterator[Problem]:
    for call in _calls_at_import(tree):
        name = _sdk_name(call.func, names)
        if name in ("publish", "variable"):
            why = "a module's own code runs when the component is built"
            todo = "Call it in the handler or in a function marked @on_start"
            yield Problem(f"{name}() at import", sources.shown(module, call.lineno), why, todo)
    for function in _functions(tree):
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and names.of(node.func) == "asyncio.run":
                where = sources.shown(module, node.lineno)
                yield Problem(
                    "asyncio.run()", where, "a component runs no loop but the handler's", "Make it `async def`"
                )


def _functions(tree: ast.Module) -> list[Function]:
    return sorted(
        (node for node in ast.walk(tree) if isinstance(node, Function)), key=lambda node: (node.lineno, node.col_offset)
    )


def _mark(function: Function, names: _Names) -> str:
    """`message_component`, `on_start` or nothing."""
    for each in function.decorator_list:
        name = _sdk_name(each.func if isinstance(each, ast.Call) else each, names)
        if name in ("message_component", "on_start"):
            return name
    return ""


def _sdk_name(node: ast.expr, names: _Names) -> str:
    before, _, name = names.of(node).rpartition(".")
    return name if before == SDK else ""


def _takes(function: Function, count: int) -> bool:
    """Whether it can be called with `count` positional arguments."""
    every = function.args
    positional = len(every.posonlyargs) + len(every.args)
    needed = positional - len(every.defaults)
    room = every.vararg is not None or positional >= count
    return needed <= count and room and all(default is not None for default in every.kw_defaults)


def _yields(function: Function) -> bool:
    return any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in _shallow(function.body))


def _calls_at_import(tree: ast.Module) -> list[ast.Call]:
    return [node for node in _shallow(tree.body) if isinstance(node, ast.Call)]


def _shallow(nodes: list[ast.stmt]) -> Iterator[ast.AST]:
    """These nodes and all in them, but for the bodies of functions and of `if __name__ == "__main__"`."""
    waiting: list[ast.AST] = list(reversed(nodes))
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or _is_main(node):
            continue
        yield node
        waiting.extend(reversed(list(ast.iter_child_nodes(node))))


def _is_main(node: ast.AST) -> bool:
    if not (isinstance(node, ast.If) and isinstance(node.test, ast.Compare)):
        return False
    return isinstance(node.test.left, ast.Name) and node.test.left.id == "__name__"
