"""What is said of a handler before it is built: every mistake at once, each at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.build.python import check
from farm.errors import SourceMissing
from tests.build.conftest import write_files

GOOD = """\
from farm.sdk import Message, message_component

@message_component
def handle(message: Message) -> Message:
    return message
"""


def said(folder: Path, text: str, **others: str) -> list[str]:
    """The problems of hello.py with this text, in a folder with these others (`a__b` is a/b.py)."""
    files = {f"{name.replace('__', '/')}.py": content for name, content in others.items()}
    write_files(folder, {"farm.toml": "", "hello.py": text, **files})
    return [str(problem) for problem in check(folder / "hello.py")]


def test_a_good_handler_has_no_problem(tmp_path: Path) -> None:
    assert said(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    "text",
    [
        "import farm.sdk\n@farm.sdk.message_component\ndef handle(message): pass\n",
        "import farm.sdk as s\n@s.message_component\ndef handle(message, more=1): pass\n",
        "from farm import sdk\n@sdk.message_component\nasync def handle(*messages): pass\n",
        "from farm.sdk import *\n@message_component\ndef handle(message): pass\n",
        "from farm.sdk import message_component as component\n@component\ndef handle(message): yield message\n",
    ],
)
def test_the_sdk_may_be_imported_in_any_way(tmp_path: Path, text: str) -> None:
    assert said(tmp_path, text) == []


def test_a_syntax_error_has_its_line_and_the_python_that_read_it(tmp_path: Path) -> None:
    [problem] = said(tmp_path, GOOD + "def broken(:\n    pass\n")
    assert problem.startswith("syntax error (hello.py:6): invalid syntax (read by Python 3.")


@pytest.mark.parametrize("text", ["x = '\0'", "x = " + "(" * 500 + ")" * 500, "\ttab\n  x\n", "# coding: nothing\n"])
def test_what_cannot_be_parsed_is_a_syntax_error(tmp_path: Path, text: str) -> None:
    [problem] = said(tmp_path, text)
    assert problem.startswith("syntax error (hello.py")


def test_a_syntax_error_in_a_module_beside_it_is_found(tmp_path: Path) -> None:
    [problem] = said(tmp_path, "import rates\n" + GOOD, rates="def (")
    assert problem.startswith("syntax error (rates.py:1)")


def test_a_very_long_expression_is_read(tmp_path: Path) -> None:
    assert said(tmp_path, GOOD + "x = " + " + ".join(["1"] * 2000) + "\n") == []


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    text = GOOD + "import jsn\n\n@message_component\ndef again(message): pass\n\ndef run():\n    import ssl\n"
    assert said(tmp_path, text) == [
        "a second @message_component (hello.py:9): handle in line 4 is one already. Put it into a file of its own",
        "no module jsn (hello.py:6): neither in Python 3.14, nor beside hello.py, nor in requirements.txt. "
        "Did you mean json?",
        "no module ssl in a component (hello.py:12): a component has no sockets",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "x = 1\n",
            "no handler (hello.py). Put @message_component, from farm.sdk, over the function that takes messages",
        ),
        (
            "from farm.sdk import message_component\n@message_component\ndef handle(): pass\n",
            "handler handle does not take exactly one message (hello.py:3). Write `def handle(message: Message)`",
        ),
        (
            "from farm.sdk import message_component\n@message_component\ndef handle(a, b): pass\n",
            "handler handle does not take exactly one message (hello.py:3). Write `def handle(message: Message)`",
        ),
        (
            "from farm.sdk import message_component\n@message_component\ndef handle(a, *, b): pass\n",
            "handler handle does not take exactly one message (hello.py:3). Write `def handle(message: Message)`",
        ),
        (
            "from farm.sdk import message_component\nclass A:\n    @message_component\n    def handle(self): pass\n",
            "handler handle is inside of something (hello.py:4). Define it at the module's top level",
        ),
        (
            "from farm.sdk import message_component\n@message_component()\ndef handle(m): pass\n",
            "@message_component() (hello.py:2). Write @message_component, without ()",
        ),
        (
            "from farm.sdk import message_component\n@message_component\nasync def handle(m):\n    yield m\n",
            "yield in async def handle (hello.py:3). Collect the messages in a list, and return it",
        ),
        (
            GOOD + "from farm.sdk import on_start\n@on_start\ndef begin(host): pass\n",
            "begin runs at start, and is given no arguments (hello.py:8). Take none",
        ),
        (
            GOOD + "from farm.sdk import publsh\n",
            "farm.sdk has no publsh (hello.py:6). Did you mean publish?",
        ),
        (
            GOOD + "from farm.sdk import variable\nLEVEL = variable('level')\n",
            "variable() at import (hello.py:7): a module's own code runs when the component is built. "
            "Call it in the handler or in a function marked @on_start",
        ),
        (
            GOOD + "import farm.sdk\nclass A:\n    x = farm.sdk.publish(1)\n",
            "publish() at import (hello.py:8): a module's own code runs when the component is built. "
            "Call it in the handler or in a function marked @on_start",
        ),
        (
            GOOD + "import asyncio\ndef run():\n    asyncio.run(None)\n",
            "asyncio.run() (hello.py:8): a component runs no loop but the handler's. Make it `async def`",
        ),
        (
            GOOD + "from . import rates\n",
            "relative import (hello.py:6): hello.py is in no package. Write it without the dots",
        ),
        (GOOD + "import farm.errors\n", "no module farm.errors in a component (hello.py:6): only farm.sdk is there"),
        (
            GOOD + "import cgi\n",
            "no module cgi (hello.py:6): Python 3.14 no longer has it; components run on that one",
        ),
        (
            GOOD + "import numpyy\n",
            "no module numpyy (hello.py:6): neither in Python 3.14, nor beside hello.py, nor in requirements.txt. "
            "Name its package in requirements.txt",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_to_do(tmp_path: Path, text: str, problem: str) -> None:
    assert said(tmp_path, text) == [problem]


def test_a_name_close_to_a_file_beside_it_is_proposed(tmp_path: Path) -> None:
    [problem] = said(tmp_path, GOOD + "import ratess\n", rates="")
    assert problem.endswith("Did you mean rates?")


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    import ujson as json\nexcept ImportError:\n    import json\n",
        "try:\n    import ujson\nexcept (OSError, ModuleNotFoundError):\n    pass\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import nothing\n",
        "import typing\nif typing.TYPE_CHECKING:\n    import nothing\n",
        "if __name__ == '__main__':\n    import pytest\n    from farm.sdk import publish\n    publish(1)\n",
        "import asyncio\nif __name__ == '__main__':\n    asyncio.run(None)\n",
        "import compression.zstd, annotationlib, _thread\n",
        "from farm.sdk.testing import Outside\n",
        "from farm.sdk import variable\ndef f():\n    return variable('x')\n",
    ],
)
def test_what_does_no_harm_is_let_through(tmp_path: Path, text: str) -> None:
    assert said(tmp_path, GOOD + text) == []


def test_a_file_named_like_a_module_of_python_is_told(tmp_path: Path) -> None:
    [problem] = said(tmp_path, "import random\n" + GOOD, random="")
    assert problem == "random.py will not be imported (hello.py:1): Python has a module random itself. Rename yours"


@pytest.mark.parametrize("name", ["json", "farm", "wit_world", "my-handler", "a.b"])
def test_a_handler_needs_a_name_of_its_own(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, {f"{name}.py": GOOD})
    [problem] = check(tmp_path / f"{name}.py")
    assert problem.what in {"no name for a handler", "no name for a Python handler"}


def test_packages_that_are_not_installed_yet_are_not_judged(tmp_path: Path) -> None:
    write_files(tmp_path, {"requirements.txt": "pyyaml\n"})
    assert said(tmp_path, GOOD + "import yaml\n") == []


def test_modules_are_followed_through_packages(tmp_path: Path) -> None:
    [problem] = said(tmp_path, "import shop.tax\n" + GOOD, shop____init__="", shop__tax="import vatt", vat="")
    assert problem.startswith("no module vatt (shop/tax.py:1)")


def test_a_missing_handler_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"no such handler"):
        check(tmp_path / "hello.py")


def test_nothing_is_run_by_the_check(tmp_path: Path) -> None:
    assert said(tmp_path, GOOD + f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit\n") == []
    assert not (tmp_path / "ran").exists()
