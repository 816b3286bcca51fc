"""From Python's values to wasmtime's: one generated function for each shape, with memory of its own.

wasmtime takes arguments as const, so they may live in memory that Python owns and uses again for the next call. Each
node of a shape has its place in that memory from the start; what never changes (kinds, field names, pointers between
the nodes) is written once, and a call writes only sizes and addresses. Hence one codec serves one call at a time.

A value's first four words, its head, stand where who holds it wants them (arguments and elements stand side by side);
all heads of what it holds stand in one frame.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from farm.workers import native
from farm.workers.shapes import Bytes, Enum, List, Option, Other, Plain, Record, Result, Shape, Tuple, Variant
from farm.workers.source import Source

Writer = Callable[[Any], None]

VAL_WORDS: Final = native.VAL_BYTES // 8
ENTRY_WORDS: Final = native.ENTRY_BYTES // 8
KEPT_CELLS: Final = 1 << 14  # bytes of a list<u8> whose cells stay allocated between calls: 512 KiB
CELLS_LIMIT: Final = 4 << 20  # bytes of a list<u8>: with wasmtime's own copy each takes 86, and a worker has 512 MiB


class TooLarge(Exception):
    """A list<u8> that a worker has no memory for: more than CELLS_LIMIT."""

    def __init__(self, size: int) -> None:
        super().__init__(
            f"{size} bytes as list<u8> exceed the limit of {CELLS_LIMIT}: this component takes no larger ones"
        )


class Block:
    """A piece of memory in words, for wasmtime to read. What it points to, strings and other blocks, lives as long."""

    def __init__(self, words: int) -> None:
        self.inner: list[Block] = []
        self._memory = (ctypes.c_uint64 * max(1, words))()
        self.words = memoryview(self._memory).cast("B").cast("Q")
        self.bytes = memoryview(self._memory).cast("B")
        self.strings: Any = (ctypes.c_char_p * max(1, words)).from_buffer(self._memory)  # keeps what it is given alive
        self.address = ctypes.addressof(self._memory)


Place = tuple[Block, int]  # a block and the index of a value's first word in it


def writer(shape: Shape, place: Place) -> Writer:
    """The writer of one shape into one place; also writes what is the same for every value.

    Raises:
      TypeError: the shape has a part that no codec carries.
    """
    return Recipe([shape], alone=True).writer(place)


def arguments_writer(shapes: Sequence[Shape]) -> tuple[Block, Writer]:
    """A block of values side by side, as a function takes them, and the writer of them all, from a tuple.

    Raises:
      TypeError: a shape has a part that no codec carries.
    """
    block = Block(VAL_WORDS * len(shapes))
    return block, Recipe(shapes).writer((block, 0))


@dataclass(frozen=True)
class Spot:
    """Where a word is, while source is written: in the head, or in the frame."""

    at: int
    in_head: bool = False

    def __add__(self, words: int) -> Spot:
        return Spot(self.at + words, self.in_head)

    @property
    def word(self) -> str:
        """The word, as a target of an assignment."""
        return f"head[place + {self.at}]" if self.in_head else f"frame[{self.at}]"

    @property
    def string(self) -> str:
        """The word as the address of a string."""
        return f"head_strings[place + {self.at}]" if self.in_head else f"frame_strings[{self.at}]"

    @property
    def packed(self) -> str:
        """Memory and offset, as struct packs into them."""
        return f"head_bytes, 8 * (place + {self.at})" if self.in_head else f"frame_bytes, {8 * self.at}"


Fill = Callable[[Any], int]
"""Writes what a list holds into memory of its own; that memory's address."""


class Recipe:
    """How a tuple of values is written, their heads side by side: generated once, good for as many places as wanted.

    Args:
      alone: the one value comes by itself, not in a tuple.
    """

    def __init__(self, shapes: Sequence[Shape], *, alone: bool = False) -> None:
        self._frame_words = 0
        self._constant: list[tuple[Spot, int | bytes | Spot]] = []  # words that never change
        self._fills: list[Callable[[], Fill]] = []
        self._lasts = 0
        self._source = Source()
        views = "place, head, head_bytes, head_strings, address, frame, frame_bytes, frame_strings"
        with self._source.block(f"def make({views}, last, fills):"):
            with self._source.block("def write(value):"):
                heads = [(shape, Spot(VAL_WORDS * i, in_head=True)) for i, shape in enumerate(shapes)]
                if alone:
                    self._write(*heads[0], "value")
                else:
                    self._each(heads, "value")
            self._source.line("return write")
        self._make = self._source.made("make")

    def writer(self, place: Place) -> Writer:
        """A writer into `place`, with a frame of its own."""
        head, at = place
        frame = Block(self._frame_words)
        head.inner.append(frame)
        for spot, value in self._constant:
            block, index = (head, at + spot.at) if spot.in_head else (frame, spot.at)
            if isinstance(value, bytes):
                block.strings[index] = value
            else:
                block.words[index] = frame.address + 8 * value.at if isinstance(value, Spot) else value
        heads, frames = (head.words, head.bytes, head.strings), (frame.words, frame.bytes, frame.strings)
        fills = [fill() for fill in self._fills]
        return self._make(at, *heads, frame.address, *frames, [None] * self._lasts, fills)

    def _write(self, shape: Shape, spot: Spot, value: str) -> None:
        """Add the lines that write `value`, a name, at `spot`."""
        match shape:
            case Plain("string"):
                self._string(native.STRING, spot, value)
            case Plain(name):
                self._plain(name, spot, value)
            case Bytes():
                self._many(_Cells, spot, value)
            case List(element):
                recipe = Recipe([element], alone=True)
                self._many(lambda: _Elements(recipe), spot, value)
            case Record(fields):
                self._record(fields, spot, value)
            case Tuple(elements):
                frame = self._reserve(VAL_WORDS * len(elements))
                self._fix(spot, native.TUPLE, len(elements), frame)
                self._each([(element, frame + VAL_WORDS * i) for i, element in enumerate(elements)], value)
            case Variant(cases):
                self._variant(cases, spot, value)
            case Enum():
                self._string(native.ENUM, spot, value)
            case Option(some):
                self._option(some, spot, value)
            case Result(ok, err):
                self._result(ok, err, spot, value)
            case Other(name):
                raise TypeError(f"no codec for {name}")

    def _reserve(self, words: int) -> Spot:
        spot = Spot(self._frame_words)
        self._frame_words += words
        return spot

    def _fix(self, spot: Spot, *words: int | bytes | Spot) -> None:
        self._constant.extend((spot + i, word) for i, word in enumerate(words))

    def _last(self) -> str:
        self._lasts += 1
        return f"last[{self._lasts - 1}]"

    def _plain(self, name: str, spot: Spot, value: str) -> None:
        kind, code = native.PLAIN_KINDS[name]
        self._fix(spot, kind)
        pack = self._source.constant("pack", Struct("<" + code).pack_into)
        given = f"ord({value})" if name == "char" else value
        self._source.line(f"{pack}({(spot + 1).packed}, {given})")

    def _string(self, kind: int, spot: Spot, value: str) -> None:
        self._fix(spot, kind)
        source, text, last = self._source, self._source.name("text"), self._last()
        with source.block(f"if {value} != {last}:"):  # a broker's name, often a subject too
            source.line(f"{text} = {value}.encode() if {value}.__class__ is str else {value}")
            source.line(f"{(spot + 1).word} = len({text})")
            source.line(f"{(spot + 2).string} = {text}")
            source.line(f"{last} = {value}")

    def _many(self, fill: Callable[[], Fill], spot: Spot, value: str) -> None:
        self._fix(spot, native.LIST, 0, Spot(0))  # an empty list has an address too
        self._fills.append(fill)
        size = self._source.name("size")
        self._source.line(f"{size} = {(spot + 1).word} = len({value})")
        with self._source.block(f"if {size}:"):
            self._source.line(f"{(spot + 2).word} = fills[{len(self._fills) - 1}]({value})")

    def _record(self, fields: tuple[tuple[str, Shape], ...], spot: Spot, value: str) -> None:
        frame = self._reserve(ENTRY_WORDS * len(fields))
        self._fix(spot, native.RECORD, len(fields), frame)
        parts: list[tuple[Shape, Spot]] = []
        for i, (name, shape) in enumerate(fields):
            entry = frame + ENTRY_WORDS * i
            self._fix(entry, len(name.encode()), name.encode())
            parts.append((shape, entry + 2))
        self._each(parts, value)

    def _each(self, parts: list[tuple[Shape, Spot]], value: str) -> None:
        names = [self._source.name("v") for _ in parts]
        if names:
            self._source.line(f"{', '.join(names)}, = {value}")
        for name, (shape, spot) in zip(names, parts, strict=True):
            self._write(shape, spot, name)

    def _variant(self, cases: tuple[tuple[str, Shape | None], ...], spot: Spot, value: str) -> None:
        self._fix(spot, native.VARIANT)
        source, last = self._source, self._last()
        case, content = source.name("case"), source.name("v")
        inners = {name: None if shape is None else self._reserve(VAL_WORDS) for name, shape in cases}
        texts = {name: (name.encode(), len(name.encode())) for name, _ in cases}
        source.line(f"{case}, {content} = {value}")
        with source.block(f"if {case} != {last}:"):
            source.line(f"{(spot + 2).string}, {(spot + 1).word} = {source.constant('texts', texts)}[{case}]")
            source.line(f"{last} = {case}")
        for i, (name, shape) in enumerate(cases):
            with source.block(f"{'elif' if i else 'if'} {case} == {name!r}:"):
                self._behind(shape, inners[name], spot + 3, content)

    def _option(self, some: Shape, spot: Spot, value: str) -> None:
        self._fix(spot, native.OPTION)
        with self._source.block(f"if {value} is None:"):
            self._source.line(f"{(spot + 1).word} = 0")
        with self._source.block("else:"):
            self._behind(some, self._reserve(VAL_WORDS), spot + 1, value)

    def _result(self, ok: Shape | None, err: Shape | None, spot: Spot, value: str) -> None:
        self._fix(spot, native.RESULT)
        is_ok, content = self._source.name("ok"), self._source.name("v")
        self._source.line(f"{is_ok}, {content} = {value}")
        self._source.line(f"{(spot + 1).word} = {is_ok}")
        for head, shape in ((f"if {is_ok}:", ok), ("else:", err)):
            with self._source.block(head):
                self._behind(shape, None if shape is None else self._reserve(VAL_WORDS), spot + 2, content)

    def _behind(self, shape: Shape | None, inner: Spot | None, pointer: Spot, value: str) -> None:
        """A payload in the frame, and the pointer to it: 0 where there is none."""
        if shape is None or inner is None:
            self._source.line(f"{pointer.word} = 0")
        else:
            self._write(shape, inner, value)
            self._source.line(f"{pointer.word} = address + {8 * inner.at}")


class _Cells:
    """The bytes of a list<u8>, each in a cell of 32 bytes that is tagged once: a call writes only the bytes."""

    def __init__(self) -> None:
        self._kept = self._used = _tagged(256)

    def __call__(self, value: bytes) -> int:
        size = len(value)
        self._used = self._kept
        if 32 * size > len(self._kept):
            if size > CELLS_LIMIT:
                raise TooLarge(size)
            self._used = _tagged(size)
            if size <= KEPT_CELLS:
                self._kept = self._used
        self._used[8 : 32 * size : 32] = value
        return ctypes.addressof(ctypes.c_char.from_buffer(self._used))


def _tagged(count: int) -> bytearray:
    cells = bytearray(32 * count)
    cells[0::32] = bytes([native.U8]) * count
    return cells


class _Elements:
    """The elements of a list, each with a writer of its own: as many as the longest list so far needed."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._make(1)

    def __call__(self, value: list[Any]) -> int:
        if len(value) > len(self._writers):
            self._make(len(value))
        for write, element in zip(self._writers, value, strict=False):
            write(element)
        return self._block.address

    def _make(self, count: int) -> None:
        self._block = Block(VAL_WORDS * count)
        self._writers = [self._recipe.writer((self._block, VAL_WORDS * i)) for i in range(count)]
