"""Any value of any shape goes to a guest and comes back the same."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis
import pytest
import wasmtime
from hypothesis import strategies as st
from wasmtime import component as wt

from farm.workers import native, shapes
from farm.workers.codec import Codec, HostFunction
from farm.workers.engine import Engine
from farm.workers.lift import TooMany
from farm.workers.shapes import (
    Bytes,
    Enum,
    Function,
    List,
    Option,
    Plain,
    Record,
    Result,
    Shape,
    Tuple,
    Variant,
)

PAD = 17  # flat values: more than fit a call, so parameter and result are both a pointer to the same layout in memory
RANGES = {f"{sign}{bits}": (-(2 ** (bits - 1)) if sign == "s" else 0) for sign in "su" for bits in (8, 16, 32, 64)}


def padded(shape: Shape) -> Tuple:
    return Tuple((shape, *[Plain("u64")] * PAD))


class Wat:
    """A shape in WebAssembly's text: types with names are defined and exported ahead, as the component model wants."""

    def __init__(self) -> None:
        self.definitions: list[str] = []

    def of(self, shape: Shape | None) -> str:
        match shape:
            case None:
                return ""
            case Plain(name):
                return name
            case Bytes():
                return "(list u8)"
            case List(element):
                return f"(list {self.of(element)})"
            case Tuple(elements):
                return "(tuple " + " ".join(map(self.of, elements)) + ")"
            case Option(some):
                return f"(option {self.of(some)})"
            case Result(ok, err):
                return f"(result {self.of(ok)}" + (f" (error {self.of(err)}))" if err else ")")
            case Record(fields):
                return self._named("(record " + "".join(f'(field "{n}" {self.of(s)})' for n, s in fields) + ")")
            case Variant(cases):
                return self._named("(variant " + "".join(f'(case "{n}" {self.of(s)})' for n, s in cases) + ")")
            case Enum(names):
                return self._named("(enum " + " ".join(f'"{name}"' for name in names) + ")")
            case _:
                raise AssertionError(shape)

    def _named(self, text: str) -> str:
        n = len(self.definitions)
        self.definitions.append(f'(type $t{n} {text}) (export $n{n} "t{n}" (type $t{n}))')
        return f"$n{n}"


LIBC = """
  (core module $libc-m (memory (export "memory") 1) (global $top (mut i32) (i32.const 8))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
      (global.set $top (i32.add (local.get $at) (local.get 3)))
      (loop $more (if (i32.gt_u (global.get $top) (i32.shl (memory.size) (i32.const 16)))
        (then (drop (memory.grow (i32.const 1))) (br $more))))
      (local.get $at)))
  (core instance $libc (instantiate $libc-m))"""


def same(shape: Shape) -> str:
    """A component whose `same` answers with what it was given."""
    wat = Wat()
    value = wat.of(padded(shape))
    return f"""(component {LIBC} {" ".join(wat.definitions)}
      (core module $m (func (export "same") (param i32) (result i32) (local.get 0)))
      (core instance $i (instantiate $m))
      (func $same (param "value" {value}) (result {value}) (canon lift (core func $i "same")
        (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
      (export "same" (func $same)))"""


def through(shape: Shape) -> str:
    """A component whose `same` asks the host's, with what it was given."""
    value = Wat().of(padded(shape))
    return f"""(component {LIBC}
      (import "host" (instance $host (export "same" (func (param "value" {value}) (result {value})))))
      (core func $ask (canon lower (func $host "same")
        (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
      (core instance $env (export "ask" (func $ask)))
      (core module $m (import "env" "ask" (func $ask (param i32 i32)))
        (import "libc" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
        (func (export "same") (param i32) (result i32) (local $at i32)
          (local.set $at (call $realloc (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 4096)))
          (call $ask (local.get 0) (local.get $at))
          (local.get $at)))
      (core instance $i (instantiate $m (with "env" (instance $env)) (with "libc" (instance $libc))))
      (func $same (param "value" {value}) (result {value}) (canon lift (core func $i "same")
        (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
      (export "same" (func $same)))"""


class Called:
    """The function `same` of one component."""

    def __init__(self, engine: Engine, text: str, linker: wt.Linker) -> None:
        compiled = wt.Component(engine.raw, wasmtime.wat2wasm(text))
        function = shapes.exports_of(compiled, engine.raw)["same"]
        assert isinstance(function, Function)
        self.function = function
        self.codec = Codec(function, engine.memory)
        self.store = engine.store(64 << 20)
        self.store.set_epoch_deadline(1_000_000)
        func = linker.instantiate(self.store, compiled).get_func(self.store, "same")
        assert func is not None
        self.structure = native.func_of(func)
        self.target = self.codec.target(native.context_of(self.store), ctypes.addressof(self.structure))

    def __call__(self, value: Any) -> Any:
        return self.codec.call(self.target, ((value, *[7] * PAD),))[0]


@contextmanager
def calling(shape: Shape) -> Iterator[Called]:
    with Engine() as engine:
        called = Called(engine, same(shape), engine.linker())
        assert called.function == Function((("value", padded(shape)),), padded(shape))
        yield called
        called.store.close()


names = st.lists(st.from_regex(r"[a-z]{1,6}(-[a-z]{1,4})?", fullmatch=True), min_size=1, max_size=5, unique=True)
plain = st.sampled_from(["bool", *RANGES, "f32", "f64", "char", "string"]).map(Plain)
flat = st.one_of(plain, st.just(Bytes()), names.map(lambda found: Enum(tuple(found))))


def deeper(inner: st.SearchStrategy[Shape]) -> st.SearchStrategy[Shape]:
    maybe = st.one_of(st.none(), inner)
    return st.one_of(
        inner.filter(lambda shape: shape != Plain("u8")).map(List),
        st.lists(inner, min_size=1, max_size=3).map(lambda found: Tuple(tuple(found))),
        inner.filter(lambda shape: not isinstance(shape, Option)).map(Option),
        st.builds(Result, maybe, maybe),
        named(inner).map(Record),
        named(maybe).map(Variant),
    )


def named(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[tuple[str, Any], ...]]:
    return names.flatmap(
        lambda found: st.tuples(*[inner] * len(found)).map(lambda given: tuple(zip(found, given, strict=True)))
    )


any_shape: st.SearchStrategy[Shape] = st.recursive(flat, deeper, max_leaves=6)


ANY_CHARACTER = st.characters(exclude_categories=("Cs",))
PLAIN_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "char": ANY_CHARACTER,
    "string": st.text(ANY_CHARACTER, max_size=20),
    "f32": st.floats(width=32, allow_nan=False),
    "f64": st.floats(allow_nan=False),
    **{name: st.integers(low, low + 2 ** int(name[1:]) - 1) for name, low in RANGES.items()},
}


def values_of(shape: Shape | None) -> st.SearchStrategy[Any]:
    match shape:
        case None:
            return st.none()
        case Plain(name):
            return PLAIN_VALUES[name]
        case Bytes():
            return st.binary(max_size=40)
        case List(element):
            return st.lists(values_of(element), max_size=4)
        case Tuple(elements):
            return st.tuples(*map(values_of, elements))
        case Option(some):
            return st.one_of(st.none(), values_of(some))
        case Result(ok, err):
            return st.one_of(st.tuples(st.just(True), values_of(ok)), st.tuples(st.just(False), values_of(err)))
        case Record(fields):
            return st.tuples(*[values_of(s) for _, s in fields])
        case Variant(cases):
            return st.one_of(*[st.tuples(st.just(name), values_of(s)) for name, s in cases])
        case Enum(found):
            return st.sampled_from(found)
        case _:
            raise AssertionError(shape)


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=150)
def test_any_value_of_any_shape_comes_back(data: st.DataObject) -> None:
    shape = data.draw(any_shape)
    with calling(shape) as called:
        for value in data.draw(st.lists(values_of(shape), min_size=1, max_size=4)):
            assert called(value) == value


ASKED = Tuple(
    (
        Plain("string"),
        Bytes(),
        Option(Plain("s16")),
        Result(List(Plain("string")), Plain("char")),
        List(Tuple((Plain("bool"), Bytes(), Plain("u8")))),
    )
)


@hypothesis.given(st.lists(values_of(ASKED), min_size=1, max_size=5))
@hypothesis.settings(max_examples=20)
def test_any_value_goes_through_a_host_function_and_back(given: list[Any]) -> None:
    heard: list[Any] = []

    def run(value: tuple[Any, ...]) -> tuple[Any, ...]:
        heard.append(value[0])
        return value

    with Engine() as engine:
        linker = engine.linker()
        host = HostFunction(Function((("value", padded(ASKED)),), padded(ASKED)), run, engine.memory)
        with linker.root() as root, root.add_instance("host") as instance:
            native.add_function(instance, "same", host.callback)
        called = Called(engine, through(ASKED), linker)
        assert [called(value) for value in given] == given
        assert heard == given
        called.store.close()


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 16_384, 16_385, 70_000, 200_000])
def test_bytes_of_every_size_come_back(size: int) -> None:
    body = bytes(i * 7 % 251 for i in range(size))
    with calling(Bytes()) as called:
        assert called(body) == body
        assert called(b"short") == b"short"
        assert called(body) == body


def test_a_string_may_be_given_as_utf_8() -> None:
    with calling(Plain("string")) as called:
        assert called("grün".encode()) == "grün"


def test_a_string_may_be_read_as_utf_8() -> None:
    with calling(Plain("string")) as called:
        read = Function(called.function.params, padded(Plain("string", as_bytes=True)))
        assert read == called.function
        with Engine() as engine:
            codec = Codec(read, engine.memory)
        target = codec.target(native.context_of(called.store), ctypes.addressof(called.structure))
        for text in ("grün", ""):
            assert codec.call(target, ((text, *[7] * PAD),))[0] == text.encode()


def test_what_no_argument_may_be_is_an_error_and_the_next_call_works() -> None:
    shape = Variant((("name", Plain("string")), ("number", Plain("u8"))))
    with calling(shape) as called:
        for wrong in (("other", "x"), ("number", 256), ("name", "\ud800"), ("name",)):
            with pytest.raises((KeyError, ValueError, struct.error)):
                called(wrong)
            assert called(("name", "x")) == ("name", "x")
            assert called(("number", 255)) == ("number", 255)


def test_a_longer_list_than_allowed_is_not_read_and_the_guest_unharmed() -> None:
    with calling(List(Plain("u16"))) as called:
        limited = Function(called.function.params, padded(List(Plain("u16"), 3, "numbers")))
        assert limited == called.function
        with Engine() as engine:
            codec = Codec(limited, engine.memory)
        target = codec.target(native.context_of(called.store), ctypes.addressof(called.structure))
        with pytest.raises(TooMany, match="4 numbers exceed the limit of 3"):
            codec.call(target, (([1, 2, 3, 4], *[7] * PAD),))
        assert codec.call(target, (([1, 2, 3], *[7] * PAD),))[0] == [1, 2, 3]


def test_a_shape_that_no_codec_carries_is_refused_when_the_codec_is_made() -> None:
    with Engine() as engine, pytest.raises(TypeError, match="no codec for own"):
        Codec(Function((("value", shapes.Other("own")),), None), engine.memory)


def test_a_shape_reads_as_wit() -> None:
    shape = Function(
        (("a", Record((("b", Option(Bytes())), ("c", Variant((("d", None), ("e", Plain("u8")))))))),),
        Result(None, List(Tuple((Plain("string"), Enum(("f", "g")))))),
    )
    assert str(shape) == (
        "func(a: record { b: option<list<u8>>, c: variant { d, e(u8) } }) -> "
        "result<_, list<tuple<string, enum { f, g }>>>"
    )
