"""How big things may get, and what they may not be called. Every rule first catches a sample that breaks it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

import pytest

from tests.sources import python_files, shown

FILE_LINES: Final = 400
FUNCTION_LINES: Final = 70
PARAMETERS: Final = 5
FLAGS: Final = 10  # of a command: its parameters are what a person types
UP_FLAGS: Final = 6  # of `farm up`: the rest is the manifest's

# They say nothing of what a thing is.
EMPTY_NAMES: Final = frozenset({"task", "job", "manager", "helper", "util", "utility", "common", "base"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


def file_faults(text: str) -> list[str]:
    """What is wrong with the file's length."""
    count = len(text.splitlines())
    return [f"{count} lines, {FILE_LINES} at most"] if count > FILE_LINES else []


def function_faults(text: str) -> list[str]:
    """What is wrong with the lengths and the parameters of its functions."""
    faults: list[str] = []
    flags = _flags(text)
    for function in _functions(text):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > FUNCTION_LINES:
            faults.append(f"{function.name}: {lines} lines, {FUNCTION_LINES} at most")
        count, limit = len(_parameters(function)), _parameters_limit(function, flags)
        if count > limit:
            faults.append(f"{function.name}: {count} parameters, {limit} at most")
    return faults


def name_faults(name: str, text: str) -> list[str]:
    """Names of the file and of what it defines that say nothing."""
    defined = [name, *(node.name for node in ast.walk(ast.parse(text)) if isinstance(node, Function | ast.ClassDef))]
    return [f"{one}: a name that says nothing" for one in defined if _words(one) & EMPTY_NAMES]


def _functions(text: str) -> Iterator[Function]:
    return (node for node in ast.walk(ast.parse(text)) if isinstance(node, Function))


def _parameters(function: Function) -> list[ast.arg]:
    every = function.args
    named = [*every.posonlyargs, *every.args, *every.kwonlyargs]
    return named[1:] if named and named[0].arg in {"self", "cls"} else named


def _flags(text: str) -> set[str]:
    """Names that a file gives to flags, `App = Annotated[.., typer.Option(..)]`."""
    assigned = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
    return {ast.unparse(node.targets[0]) for node in assigned if "typer." in ast.unparse(node.value)}


def _parameters_limit(function: Function, flags: set[str]) -> int:
    annotations = [ast.unparse(one.annotation) for one in _parameters(function) if one.annotation]
    if not any("typer." in one or one in flags for one in annotations):
        return PARAMETERS
    return UP_FLAGS if function.name == "up" else FLAGS


def _words(name: str) -> set[str]:
    words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)
    lower = {word.lower() for word in words}
    return lower | {word.removesuffix("s") for word in lower}


def test_no_file_is_longer_than_a_person_reads() -> None:
    faults = [f"{shown(path)}: {fault}" for path in python_files() for fault in file_faults(path.read_text())]
    assert faults == []


def test_no_function_is_too_long_or_takes_too_much() -> None:
    faults = [f"{shown(path)}: {fault}" for path in python_files() for fault in function_faults(path.read_text())]
    assert faults == []


def test_no_name_in_the_package_says_nothing() -> None:
    own = [path for path in python_files() if shown(path).startswith("farm/")]
    faults = [f"{shown(path)}: {fault}" for path in own for fault in name_faults(path.stem, path.read_text())]
    assert faults == []


def test_a_file_of_401_lines_is_caught_and_one_of_400_is_not() -> None:
    assert file_faults("x = 1\n" * 400) == []
    assert file_faults("x = 1\n" * 401) == ["401 lines, 400 at most"]


def test_a_function_of_71_lines_is_caught_and_one_of_70_is_not() -> None:
    assert function_faults("def f():\n" + "    x = 1\n" * 69) == []
    assert function_faults("async def f():\n" + "    x = 1\n" * 70) == ["f: 71 lines, 70 at most"]


FLAG: Final = "a: Annotated[str, typer.Option(help='which')]"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("def f(a, b, c, d, e): ...", []),
        ("def f(a, b, c, d, e, g): ...", ["f: 6 parameters, 5 at most"]),
        ("def f(a, /, b, c, *, d, e, g): ...", ["f: 6 parameters, 5 at most"]),
        ("class C:\n    def f(self, a, b, c, d, e): ...", []),
        ("class C:\n    async def f(self, a, b, c, d, e, g): ...", ["f: 6 parameters, 5 at most"]),
        (f"def f({FLAG}, b, c, d, e, g): ...", []),
        (f"def f({FLAG}, b, c, d, e, g, h, i, j, k, l): ...", ["f: 11 parameters, 10 at most"]),
        (f"A = {FLAG[3:]}\ndef f(a: A, b, c, d, e, g): ...", []),
        (f"A = {FLAG[3:]}\ndef f(a, b, c, d, e, g): ...", ["f: 6 parameters, 5 at most"]),
        (f"def up({FLAG}, b, c, d, e, g): ...", []),
        (f"def up({FLAG}, b, c, d, e, g, h): ...", ["up: 7 parameters, 6 at most"]),
    ],
)
def test_a_sixth_parameter_is_caught(text: str, faults: list[str]) -> None:
    assert function_faults(text) == faults


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("utils", ""),
        ("common", ""),
        ("settlement", "class BrokerBase: ..."),
        ("settlement", "class RetryManager: ..."),
        ("settlement", "class C:\n    def run_jobs(self): ..."),
        ("settlement", "async def task_of(x): ..."),
    ],
)
def test_a_name_that_says_nothing_is_caught(name: str, text: str) -> None:
    assert len(name_faults(name, text)) == 1


def test_a_name_that_only_contains_such_a_word_is_not_caught() -> None:
    assert name_faults("database", "class Basement: ...\ndef multitasking(): ...") == []
