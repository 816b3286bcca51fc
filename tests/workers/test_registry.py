"""What a component exports and imports, and what farm says of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from farm.wire import lifeline
from farm.workers import compiler
from farm.workers.imports.registry import OFFERS
from tests.guests import wat


def exporting(name: str, function: str = "f", rest: str = "") -> str:
    """A component that exports an instance of one function; with no function's name, a function of the world."""
    export = f'(instance $h (export "{function}" (func $f))) (export "{name}" (instance $h))'
    if not function:
        export = f'(export "{name}" (func $f))'
    return f"""(component {rest}
      (core module $m (func (export "f"))) (core instance $i (instantiate $m))
      (func $f (canon lift (core func $i "f"))) {export})"""


def problems_of(text: str, folder: Path) -> list[str]:
    wasm = folder / "x.wasm"
    wasm.write_bytes(wat.from_text(text))
    return [str(problem).replace(str(wasm), "x.wasm") for problem in compiler.check(wasm)]


def test_no_known_export_names_what_was_found_and_what_is_known(tmp_path: Path) -> None:
    assert problems_of(exporting("say-hello", ""), tmp_path) == [
        "no known export (x.wasm): it exports say-hello. "
        "Export one of farm:messaging/handler@0.1.0, leeorr:spin-message-trigger@0.2.0"
    ]


def test_a_component_that_exports_nothing_says_so(tmp_path: Path) -> None:
    assert "it exports nothing" in problems_of("(component)", tmp_path)[0]


def test_two_known_handlers_are_one_too_many(tmp_path: Path) -> None:
    (problem,) = problems_of(wat.text("two-handlers"), tmp_path)
    assert problem == (
        "more than one known handler (x.wasm): "
        "it exports farm:messaging/handler@0.1.0 and leeorr:spin-message-trigger@0.2.0. Export one of them"
    )


@pytest.mark.parametrize(
    "text",
    [
        "".join(f'(import "acme:shop/i{n}@1.0.0" (instance (export "f" (func))))' for n in range(1000)),
        "(type $t0 (tuple u8 u8))"
        + "".join(f"(type $t{n} (tuple $t{n - 1} $t{n - 1}))" for n in range(1, 16))
        + '(import "farm:messaging/publisher@0.1.0" (instance (export "publish" (func (param "m" $t15)))))',
    ],
    ids=["imports", "types"],
)
def test_what_is_told_of_a_component_fits_into_a_word_of_the_lifeline(text: str, tmp_path: Path) -> None:
    problems = problems_of(f"(component {text})", tmp_path)
    assert len(problems) <= compiler.PROBLEMS_LIMIT + 1
    supervisor, child = lifeline.pair()
    assert child.send(lifeline.Inspected("c", "", b"", problems, compiled=True))
    [word] = supervisor.receive()
    assert isinstance(word, lifeline.Inspected)
    assert word.problems == problems


@pytest.mark.parametrize("name", ["farm:messaging/handler@0.1.0", "guest"])
def test_a_handler_of_another_shape_is_refused_with_both_shapes(name: str, tmp_path: Path) -> None:
    function = "handle" if name.startswith("farm") else "handle-message"
    (problem,) = problems_of(exporting(name, function), tmp_path)
    assert problem.startswith(
        f"export {name}/{function} has an unknown shape (x.wasm): expected func(message: record {{"
    )
    assert "found func()" in problem


@pytest.mark.parametrize(
    ("name", "function", "why"),
    [
        ("wasmcloud:messaging/handler@0.2.0", "handle-message", "farm does not call this interface yet"),
        ("wasi:messaging/incoming-handler@0.2.0-draft", "handle", "farm does not call this interface yet"),
        ("wasi:messaging/messaging-guest@0.2.0-draft", "handler", "an earlier interface under the same version"),
        ("fermyon:spin/inbound-redis", "handle-message", "farm does not call this interface yet"),
        ("handle-message", "", "farm does not call the interface of spin:mqtt-trigger yet"),
        ("handle-queue-message", "", "farm does not call the interface of fermyon:spin-sqs yet"),
        ("wasi:http/incoming-handler@0.2.3", "handle", "it answers HTTP requests, not messages"),
        ("wasi:cli/run@0.2.0", "run", "it is a program, not a handler of messages"),
        ("farm:messaging/handler@0.2.0", "handle", "farm knows version 0.1.0 of this package"),
        ("leeorr:spin-message-trigger/guest@0.1.0", "handle-message", "farm knows version 0.2.0 of this package"),
    ],
)
def test_a_handler_that_farm_does_not_call_is_refused_by_name(
    name: str, function: str, why: str, tmp_path: Path
) -> None:
    (problem,) = problems_of(exporting(name, function), tmp_path)
    assert problem.startswith(f"cannot run a component that exports {name} (x.wasm): {why}")
    assert "Build it " in problem


ASYNC_FUNCTION = """
  (core module $a-m (func (export "f") (result i32) i32.const 0)
    (func (export "cb") (param i32 i32 i32) (result i32) i32.const 0))
  (core instance $a-i (instantiate $a-m))
  (func $a (canon lift (core func $a-i "f") async (callback (core func $a-i "cb"))))"""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('(export "wasmcloud:messaging/handler@0.3.0" (instance $h))', "wasmcloud:messaging/handler@0.3.0"),
        ('(export "spin:redis/inbound-redis@3.0.0" (instance $h))', "spin:redis/inbound-redis@3.0.0"),
        (
            '(import "spin:mqtt-trigger/spin-mqtt-types@3.0.0" (instance)) (export "handle-message" (func $a))',
            "spin:mqtt-trigger/spin-mqtt-types@3.0.0",
        ),
    ],
)
def test_an_async_handler_is_refused_by_name(text: str, name: str, tmp_path: Path) -> None:
    component = f'(component {ASYNC_FUNCTION} (instance $h (export "handle-message" (func $a))) {text})'.replace(
        "(func $a (canon", "(func $a async (canon"
    )
    assert problems_of(component, tmp_path) == [
        f"cannot run an async component (x.wasm): {name} is async (WASI 0.3). "
        "Build it against the synchronous interfaces of WASI 0.2"
    ]


def test_a_stream_anywhere_is_refused(tmp_path: Path) -> None:
    text = '(component (import "a:b/c" (instance (export "f" (func (param "s" (stream u8)))))))'
    assert "it uses async functions or streams (WASI 0.3)" in problems_of(text, tmp_path)[0]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("farm:messaging/requester@0.1.0", "requests from a guest are not offered yet"),
        ("wasi:http/outgoing-handler@0.2.6", "outgoing HTTP is not offered"),
        ("fermyon:spin/variables@2.0.0", "what Spin offers its components is not offered yet"),
        ("wasi:keyvalue/store@0.2.0-draft2", "key-value stores are not offered yet"),
        ("wasi:cli/environment@0.2.0-rc-2023-10-18", "farm does not offer it"),
        ("wasi:cli/environment@0.3.0", "farm does not offer it"),
        ("wasi:filesystem/unheard-of@0.2.0", "farm does not offer it"),
        ("my:own/thing", "farm does not offer it"),
    ],
)
def test_an_import_that_is_not_offered_is_refused_by_name_with_what_is(name: str, why: str, tmp_path: Path) -> None:
    text = exporting("x", "", f'(import "{name}" (instance (export "f" (func))))')
    assert problems_of(text, tmp_path)[0] == (
        f"cannot offer the import {name} (x.wasm): {why}. "
        "Build it without; offered: farm:messaging/publisher@0.1.0, WASI 0.2"
    )


def test_the_world_that_others_build_against_imports_nothing_that_is_refused() -> None:
    wit = Path(__file__).parents[2] / "wit" / "farm-messaging-0.1.0" / "package.wit"
    world = wit.read_text().partition("world component {")[2].partition("}")[0]
    imported = {f"farm:messaging/{name}@0.1.0" for name in re.findall(r"import ([a-z-]+);", world)}
    assert imported
    assert imported == {offer.name for offer in OFFERS}


def test_an_offered_import_of_another_shape_is_refused(tmp_path: Path) -> None:
    rest = '(import "farm:messaging/publisher@0.1.0" (instance (export "publish" (func (param "message" string)))))'
    problem = problems_of(exporting("x", "", rest), tmp_path)[0]
    assert problem.startswith("import farm:messaging/publisher@0.1.0 has an unknown shape (x.wasm): publish is func(")


@pytest.mark.parametrize("name", ["request", "http"])
def test_guests_that_import_what_is_not_offered_have_no_other_fault(name: str, tmp_path: Path) -> None:
    (problem,) = problems_of(wat.text(name), tmp_path)
    assert problem.startswith("cannot offer the import ")


@pytest.mark.parametrize("version", ["0.2.0", "0.2.9", "0.2.99"])
def test_any_wasi_0_2_is_offered(version: str, tmp_path: Path) -> None:
    assert problems_of(wat.text("print").replace("@0.2.0", f"@{version}"), tmp_path) == []


def test_types_need_nobody_to_offer_them(tmp_path: Path) -> None:
    rest = '(import "my:own/types" (instance (type $t (record (field "a" u8))) (export "t" (type (eq $t)))))'
    assert [p for p in problems_of(exporting("x", "", rest), tmp_path) if "import" in p] == []
