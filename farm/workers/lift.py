"""From wasmtime's values to Python's: one generated function for each shape.

It takes the address of a `wasmtime_component_val_t` and reads through one view of the whole address space: a ctypes
object for each node would cost more than the call. A record is unpacked at once, with all that its fields hold inline.
Every address comes from wasmtime, in a value that it filled and that we have not given back yet.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Final

from farm.workers import native
from farm.workers.shapes import Bytes, Enum, List, Option, Other, Plain, Record, Result, Shape, Tuple, Variant
from farm.workers.source import Source

Reader = Callable[[int], Any]

CELLS_AT_ONCE = 1 << 16  # bytes of a list<u8> that are copied together: 2 MiB of cells

KIND: Final = f"{native.VAL_BYTES - native.UNION_BYTES}x"  # before the union of a value
NAME: Final = f"{native.ENTRY_BYTES - native.VAL_BYTES}x"  # before the value of a record's field

# What a value holds inline, as struct reads its union; the rest of it is behind the last word, a pointer.
SIZED: Final = "QQ8x"
FIXED: Final = "8xQ8x"
CASE: Final = "QQQ"
POINTER: Final = "Q16x"
FLAGGED: Final = "?7xQ8x"


class TooMany(Exception):
    """A guest handed over a longer list than its place allows."""

    def __init__(self, count: int, what: str, limit: int) -> None:
        super().__init__(f"{count} {what} exceed the limit of {limit}")


def reader(shape: Shape, memory: memoryview) -> Reader:
    """The reader of one shape.

    Args:
      memory: `native.whole_memory()`.
    Raises:
      TypeError: the shape has a part that no codec carries.
    """
    source = Source()
    source.constants |= {"memory": memory, "TooMany": TooMany, "cells": _cells}
    with source.block("def read(at):"):
        source.line(f"return {_value(source, shape, 'at')}")
    return source.made("read")


def _value(source: Source, shape: Shape, address: str) -> str:
    """The value at an address, as an expression."""
    ((names,), layout) = _inline(source, [shape], KIND)
    source.line(f"{_targets(names)} = {source.constant('unpack', layout)}(memory, {address})")
    return _read(source, shape, names)


def _inline(source: Source, shapes: Sequence[Shape], before: str) -> tuple[list[list[str]], Callable[..., Any]]:
    """Names for what values side by side hold inline, and what unpacks it all; `before` stands before each union."""
    names: list[list[str]] = []
    layout = "<"
    for shape in shapes:
        held = _held(shape)
        names.append([source.name("w") for letter in held if not (letter.isdigit() or letter == "x")])
        layout += before + held
    return names, Struct(layout).unpack_from


def _held(shape: Shape) -> str:
    match shape:
        case Plain("string") | Bytes() | List() | Enum():
            return SIZED
        case Plain(name):
            code = native.PLAIN_KINDS[name][1]
            return f"{code}{native.UNION_BYTES - Struct('<' + code).size}x"
        case Record() | Tuple():
            return FIXED
        case Variant():
            return CASE
        case Option():
            return POINTER
        case Result():
            return FLAGGED
        case Other(name):
            raise TypeError(f"no codec for {name}")


def _read(source: Source, shape: Shape, names: list[str]) -> str:
    """The value of what is inline in `names`, as an expression; adds the lines that it needs."""
    match shape:
        case Plain("string", True):
            return _string(names, "bytes({})")
        case Plain("string") | Enum():
            return _string(names, 'str({}, "utf-8")')
        case Plain(name):
            return f"chr({names[0]})" if name == "char" else names[0]
        case Bytes():
            return f"cells(memory, {names[0]}, {names[1]})"
        case List():
            return _list(source, shape, names)
        case Record(fields):
            return _fixed(source, [field for _, field in fields], names[0], NAME + KIND)
        case Tuple(elements):
            return _fixed(source, elements, names[0], KIND)
        case Variant(cases):
            return _variant(source, cases, names)
        case Option(some):
            return _option(source, some, names[0])
        case Result(ok, err):
            return _result(source, ok, err, names)
        case Other(name):
            raise TypeError(f"no codec for {name}")


def _string(names: list[str], made: str) -> str:
    size, data = names
    return made.format(f"memory[{data} : {data} + {size}]")


def _cells(memory: memoryview, size: int, data: int) -> bytes:
    """Cells of 32 bytes, the byte at 8: copied whole and then sliced, 5 times faster than through a strided view."""
    if size <= CELLS_AT_ONCE:
        return bytes(memory[data : data + 32 * size])[8::32]
    end = data + 32 * size
    step = 32 * CELLS_AT_ONCE
    return b"".join(bytes(memory[a : min(a + step, end)])[8::32] for a in range(data, end, step))


def _list(source: Source, shape: List, names: list[str]) -> str:
    size, data = names
    made, at = source.name("list"), source.name("at")
    source.line(f"{made} = []")
    with source.block(f"if {size}:"):
        limit = sys.maxsize if shape.limit is None else shape.limit
        with source.block(f"if {size} > {limit}:"):
            source.line(f"raise TooMany({size}, {shape.what!r}, {limit})")
        with source.block(f"for {at} in range({data}, {data} + {native.VAL_BYTES} * {size}, {native.VAL_BYTES}):"):
            source.line(f"{made}.append({_value(source, shape.element, at)})")
    return made


def _fixed(source: Source, shapes: Sequence[Shape], data: str, before: str) -> str:
    """Records and tuples: as many values as the type says, side by side."""
    if not shapes:
        return "()"
    names, layout = _inline(source, shapes, before)
    flat = [name for each in names for name in each]
    source.line(f"{_targets(flat)} = {source.constant('unpack', layout)}(memory, {data})")
    values = [_read(source, shape, each) for shape, each in zip(shapes, names, strict=True)]
    return f"({', '.join(values)},)"


def _variant(source: Source, cases: tuple[tuple[str, Shape | None], ...], names: list[str]) -> str:
    """Cases come by name: one byte of it, where it tells them all apart, is found faster than the whole."""
    size, data, inner = names
    made = source.name("case")
    told = _telling([name for name, _ in cases])
    if told is None:
        key = f"bytes(memory[{data} : {data} + {size}])"
        keys: list[object] = [name.encode() for name, _ in cases]
    else:
        offset, keys = told
        key = f"memory[{data} + {offset}]"
    source.line(f"{made} = {key}")
    for i, (name, shape) in enumerate(cases):
        with source.block(f"{'elif' if i else 'if'} {made} == {keys[i]!r}:"):
            payload = "None" if shape is None else _value(source, shape, inner)
            source.line(f"{made} = ({name!r}, {payload})")
    return made


def _telling(names: list[str]) -> tuple[int, list[object]] | None:
    """An offset at which every name has a byte of its own, and these bytes; None where there is none."""
    encoded = [name.encode() for name in names]
    for offset in range(min(map(len, encoded))):
        keys = [text[offset] for text in encoded]
        if len(set(keys)) == len(keys):
            return offset, list(keys)
    return None


def _option(source: Source, some: Shape, inner: str) -> str:
    made = source.name("some")
    source.line(f"{made} = None")
    with source.block(f"if {inner}:"):
        source.line(f"{made} = {_value(source, some, inner)}")
    return made


def _result(source: Source, ok: Shape | None, err: Shape | None, names: list[str]) -> str:
    is_ok, inner = names
    made = source.name("result")
    for head, shape in ((f"if {is_ok}:", ok), ("else:", err)):
        with source.block(head):
            source.line(f"{made} = {'None' if shape is None else _value(source, shape, inner)}")
    return f"({is_ok}, {made})"


def _targets(names: list[str]) -> str:
    return f"({', '.join(names)},)" if names else "()"
