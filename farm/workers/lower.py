"""From Python's values to wasmtime's: one writer for each node of a shape, with memory of its own.

wasmtime takes arguments as const, so they may live in memory that Python owns and uses again for the next call. Each
node of a shape has its place in that memory from the start; what never changes (kinds, field names, pointers between
the nodes) is written once, and a call writes only sizes and addresses. Hence one codec serves one call at a time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from struct import Struct
from typing import Any

from farm.workers import native
from farm.workers.shapes import Bytes, Enum, List, Option, Other, Plain, Record, Result, Shape, Tuple, Variant

Writer = Callable[[Any], None]

VAL_WORDS = native.VAL_BYTES // 8
ENTRY_WORDS = native.ENTRY_BYTES // 8
KEPT_CELLS = 1 << 14  # bytes of a list<u8> whose cells stay allocated between calls: 512 KiB


class Block:
    """A piece of memory in words, for wasmtime to read. What it points to, strings and other blocks, lives as long."""

    def __init__(self, words: int) -> None:
        self.inner: list[Block] = []
        self._memory = (ctypes.c_uint64 * words)()
        self.words = memoryview(self._memory).cast("B").cast("Q")
        self.bytes = memoryview(self._memory).cast("B")
        self.strings: Any = (ctypes.c_char_p * words).from_buffer(self._memory)  # an assignment keeps its bytes alive
        self.address = ctypes.addressof(self._memory)


Place = tuple[Block, int]  # a block and the index of a value's first word in it


def writer(shape: Shape, place: Place) -> Writer:
    """The writer of one shape into one place; also writes what is the same for every value.

    Raises:
      TypeError: the shape has a part that no codec carries.
    """
    match shape:
        case Plain("string"):
            return _string(native.STRING, place)
        case Plain(name):
            return _plain(name, place)
        case Bytes():
            return _bytes(place)
        case List(element):
            return _list(element, place)
        case Record(fields):
            return _record(fields, place)
        case Tuple(elements):
            return _tuple(elements, place)
        case Variant(cases):
            return _variant(cases, place)
        case Enum():
            return _string(native.ENUM, place)
        case Option(some):
            return _option(some, place)
        case Result(ok, err):
            return _result(ok, err, place)
        case Other(name):
            raise TypeError(f"no codec for {name}")


def values(shapes: list[Shape]) -> tuple[Block, list[Writer]]:
    """A block of values side by side, as a function takes its arguments, and their writers."""
    block = Block(VAL_WORDS * max(1, len(shapes)))
    return block, [writer(shape, (block, VAL_WORDS * i)) for i, shape in enumerate(shapes)]


def _plain(name: str, place: Place) -> Writer:
    kind, code = native.PLAIN_KINDS[name]
    block, at = place
    block.words[at] = kind
    pack, memory, offset = Struct("<" + code).pack_into, block.bytes, 8 * (at + 1)
    if name == "char":
        return lambda value: pack(memory, offset, ord(value))
    return lambda value: pack(memory, offset, value)


def _string(kind: int, place: Place) -> Writer:
    block, at = place
    words, strings = block.words, block.strings
    words[at] = kind
    size_at, data_at = at + 1, at + 2
    last: str | bytes | None = None

    def write(value: str | bytes) -> None:
        nonlocal last
        if value == last:  # a broker's name, often a subject too
            return
        text = value.encode() if isinstance(value, str) else value
        words[size_at] = len(text)
        strings[data_at] = text
        last = value

    return write


class _Cells:
    """One cell of 32 bytes for every byte of a list<u8>, tagged once: a call writes only the bytes."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.memory = bytearray(32 * count)
        self.memory[0::32] = bytes([native.U8]) * count
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))


def _bytes(place: Place) -> Writer:
    block, at = place
    words = block.words
    words[at] = native.LIST
    size_at, data_at = at + 1, at + 2
    kept = used = _Cells(256)

    def write(value: bytes) -> None:
        nonlocal kept, used
        size = len(value)
        used = kept
        if size > kept.count:
            used = _Cells(size)
            if size <= KEPT_CELLS:
                kept = used
        if size:
            used.memory[8 : 32 * size : 32] = value
        words[size_at] = size
        words[data_at] = used.address

    return write


def _list(element: Shape, place: Place) -> Writer:
    """Each element has a writer of its own; there are as many as the longest list so far needed."""
    block, at = place
    words = block.words
    words[at] = native.LIST
    size_at, data_at = at + 1, at + 2
    elements, writers = values([element])
    words[data_at] = elements.address

    def write(value: list[Any]) -> None:
        nonlocal elements, writers
        size = words[size_at] = len(value)
        if size > len(writers):
            elements, writers = values([element] * size)
            words[data_at] = elements.address
        for i in range(size):
            writers[i](value[i])

    return write


def _record(fields: tuple[tuple[str, Shape], ...], place: Place) -> Writer:
    block, at = place
    inner = Block(ENTRY_WORDS * len(fields))
    block.words[at] = native.RECORD
    block.words[at + 1] = len(fields)
    block.words[at + 2] = inner.address
    block.inner.append(inner)
    writers: list[Writer] = []
    for i, (name, shape) in enumerate(fields):
        text = name.encode()
        inner.words[ENTRY_WORDS * i] = len(text)
        inner.strings[ENTRY_WORDS * i + 1] = text
        writers.append(writer(shape, (inner, ENTRY_WORDS * i + 2)))
    return _each(writers)


def _tuple(elements: tuple[Shape, ...], place: Place) -> Writer:
    block, at = place
    inner, writers = values(list(elements))
    block.words[at] = native.TUPLE
    block.words[at + 1] = len(elements)
    block.words[at + 2] = inner.address
    block.inner.append(inner)
    return _each(writers)


def _each(writers: list[Writer]) -> Writer:
    def write(value: tuple[Any, ...]) -> None:
        for put, item in zip(writers, value, strict=True):
            put(item)

    return write


def _variant(cases: tuple[tuple[str, Shape | None], ...], place: Place) -> Writer:
    block, at = place
    words, strings = block.words, block.strings
    words[at] = native.VARIANT
    inners = {name: _maybe(shape, block) for name, shape in cases}
    size_at, data_at, inner_at = at + 1, at + 2, at + 3
    last: str | None = None
    put: Writer | None = None

    def write(value: tuple[str, Any]) -> None:
        nonlocal last, put
        case, payload = value
        if case != last:
            address, put = inners[case]
            text = case.encode()
            words[size_at], words[inner_at] = len(text), address
            strings[data_at] = text
            last = case
        if put is not None:
            put(payload)

    return write


def _option(some: Shape, place: Place) -> Writer:
    block, at = place
    words = block.words
    words[at] = native.OPTION
    inner_at = at + 1
    address, put = _pointed(some, block)

    def write(value: Any) -> None:
        if value is None:
            words[inner_at] = 0
        else:
            put(value)
            words[inner_at] = address

    return write


def _result(ok: Shape | None, err: Shape | None, place: Place) -> Writer:
    block, at = place
    words = block.words
    words[at] = native.RESULT
    flag_at, inner_at = at + 1, at + 2
    inners = {True: _maybe(ok, block), False: _maybe(err, block)}

    def write(value: tuple[bool, Any]) -> None:
        is_ok, payload = value
        address, put = inners[is_ok]
        if put is not None:
            put(payload)
        words[flag_at] = is_ok
        words[inner_at] = address

    return write


def _maybe(shape: Shape | None, block: Block) -> tuple[int, Writer | None]:
    """Address and writer of a payload that may be absent."""
    return (0, None) if shape is None else _pointed(shape, block)


def _pointed(shape: Shape, block: Block) -> tuple[int, Writer]:
    """Address and writer of a value that `block` points to."""
    inner, (put,) = values([shape])
    block.inner.append(inner)
    return inner.address, put
