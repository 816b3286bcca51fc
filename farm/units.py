"""Durations and sizes as people write them, and the ranges and names that a setting may have.

    "200ms" "5s" "1.5m" "1h"           parse_duration -> seconds        format_duration: back again
    "512B" "64KiB" "128MiB" "1GiB"     parse_size     -> bytes          format_size
The classes stand in the annotations of `farm.spec`. Pydantic asks them for a schema, and takes a plain dict for one, so
that nothing here (and nothing that only reads a spec) imports pydantic.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final
from urllib.parse import urlsplit

from farm.errors import BadValue, Problem, printable

DURATION_UNITS: Final = (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))  # in ms, largest first
SIZE_UNITS: Final = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1))  # in bytes, largest first
DURATION_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"
SIZE_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(B|KiB|MiB|GiB)$"
NAME_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
_DIGITS_LIMIT: Final = 40  # longer numbers are nobody's setting, and int() of a long one is slow

Schema = dict[str, Any]


def parse_duration(text: object) -> float:
    """Seconds of "200ms", "5s", "1.5m" or "1h".

    Raises:
      BadValue: anything else: a number without a unit, another unit, a space, a sign.
    """
    return float(_amount(text, DURATION_UNITS, _DURATION) / 1000)


def parse_size(text: object) -> int:
    """Bytes of "512B", "64KiB", "128MiB" or "1.5GiB".

    Raises:
      BadValue: anything else: a number without a unit, another unit (kB and MB too), a part of a byte.
    """
    amount = _amount(text, SIZE_UNITS, _SIZE)
    if amount.denominator != 1:
        raise BadValue(Problem(f"{_shown(text)} is no size", why="it is not a whole number of bytes"))
    return int(amount)


def format_duration(seconds: float) -> str:
    """The shortest way to write it in whole units: 0.2 -> "200ms", 60.0 -> "1m"; below 1 ms with decimals."""
    amount_ms = round(seconds * 1000, 3)
    if amount_ms != int(amount_ms):
        return f"{amount_ms:.3f}".rstrip("0") + "ms"
    return _format(int(amount_ms), DURATION_UNITS, zero="0s")


def format_size(size_bytes: int) -> str:
    """The shortest way to write it in whole units: 134217728 -> "128MiB"."""
    return _format(size_bytes, SIZE_UNITS, zero="0B")


def _format(amount: int, units: tuple[tuple[str, int], ...], zero: str) -> str:
    return next((f"{amount // size}{unit}" for unit, size in units if amount and amount % size == 0), zero)


@dataclass(frozen=True)
class _Measure:
    noun: str
    pattern: re.Pattern[str]
    units: str
    example: str


_DURATION: Final = _Measure("duration", re.compile(DURATION_PATTERN), "ms, s, m and h", "s")
_SIZE: Final = _Measure("size", re.compile(SIZE_PATTERN), "B, KiB, MiB and GiB", "MiB")


def _amount(text: object, units: tuple[tuple[str, int], ...], measure: _Measure) -> Fraction:
    if isinstance(text, str) and len(text) <= _DIGITS_LIMIT and measure.pattern.fullmatch(text):
        number = text.rstrip("".join(unit for unit, _ in units))
        return Fraction(number) * dict(units)[text.removeprefix(number)]
    digits = re.match(r"\s*([0-9]{1,9}(?:\.[0-9]{1,3})?)", str(text))
    number = digits[1] if digits and not isinstance(text, bool) and float(digits[1]) else "5"  # 0 is never in range
    bare = not isinstance(text, bool) and re.fullmatch(r"\s*[0-9.]+\s*", str(text)) is not None
    raise BadValue(
        Problem(
            f"{_shown(text)} is no {measure.noun}",
            why="it has no unit" if bare else f"the units are {measure.units}",
            todo=f'Write it as a number and a unit, such as "{number}{measure.example}"',
        )
    )


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return printable(text if len(text) <= _DIGITS_LIMIT else text[: _DIGITS_LIMIT - 3] + "...")


class Checked(ABC):
    """What a setting may be. Pydantic finds `parse` by itself, and so needs nothing of ours but a plain dict."""

    @abstractmethod
    def parse(self, value: object, /) -> Any:
        """The setting, of what was written. Raises BadValue."""

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> Schema:
        return {"type": "function-plain", "function": {"type": "no-info", "function": self.parse}}


@dataclass(frozen=True)
class Duration(Checked):
    """A duration between two others, which are written as people write them."""

    least: str
    most: str

    def parse(self, text: object) -> float:
        """Seconds. Raises BadValue."""
        seconds = parse_duration(text)
        if not parse_duration(self.least) <= seconds <= parse_duration(self.most):
            raise _out_of_range(text, f'"{self.least}"', f'"{self.most}"')
        return seconds

    def __get_pydantic_json_schema__(self, core: object, handler: object) -> Schema:
        return {"type": "string", "pattern": DURATION_PATTERN}


@dataclass(frozen=True)
class Size(Checked):
    """A size between two others, which are written as people write them."""

    least: str
    most: str

    def parse(self, text: object) -> int:
        """Bytes. Raises BadValue."""
        size_bytes = parse_size(text)
        if not parse_size(self.least) <= size_bytes <= parse_size(self.most):
            raise _out_of_range(text, f'"{self.least}"', f'"{self.most}"')
        return size_bytes

    def __get_pydantic_json_schema__(self, core: object, handler: object) -> Schema:
        return {"type": "string", "pattern": SIZE_PATTERN}


@dataclass(frozen=True)
class Whole(Checked):
    """A whole number in a range, both ends included."""

    least: int
    most: int

    def parse(self, value: object) -> int:
        """The number itself. Raises BadValue: "5" and true are no numbers here, whatever Python says of them."""
        if isinstance(value, bool) or not isinstance(value, int):
            quoted = isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value)
            todo = f"Write {value}, without quotes" if quoted else f"Write one, such as {self.least or 1}"
            raise BadValue(Problem(f"{_shown(value)} is no whole number", todo=todo))
        if not self.least <= value <= self.most:
            raise _out_of_range(value, str(self.least), str(self.most))
        return value

    def __get_pydantic_json_schema__(self, core: object, handler: object) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Name(Checked):
    """A word that is safe in paths, subjects, labels and environment names."""

    def parse(self, value: object) -> str:
        """The name itself. Raises BadValue."""
        if not isinstance(value, str) or re.fullmatch(NAME_PATTERN, value) is None:
            why = "a name is 1 to 64 letters, digits, - and _"
            raise BadValue(Problem(f"{_shown(value)} is no name", why=why))
        return value

    def __get_pydantic_json_schema__(self, core: object, handler: object) -> Schema:
        return {"type": "string", "pattern": NAME_PATTERN}


@dataclass(frozen=True)
class Url(Checked):
    """The address of a server: one of these schemes, a host (with `bare`, that alone will do), and no password.

    A password that was read with the manifest would be in the memory of every process of the farm.
    """

    schemes: tuple[str, ...]
    bare: bool = False

    def parse(self, value: object) -> str:
        """The URL itself. Raises BadValue, with nothing in it that may be a secret."""
        if not isinstance(value, str) or not value or not value.isprintable() or " " in value:
            raise BadValue(Problem("it is no URL", todo=self._todo()))
        text = value if "://" in value or not self.bare else f"{self.schemes[0]}://{value}"
        try:
            parts = urlsplit(text)
            _ = parts.port  # raises for one that is no number
        except ValueError as error:
            raise BadValue(Problem("it is no URL", todo=self._todo())) from error
        if parts.scheme not in self.schemes:
            why = f"its scheme is none of {', '.join(self.schemes)}"
            raise BadValue(Problem("it is no URL for this type", why=why, todo=self._todo()))
        if parts.password is not None or "password=" in parts.query:
            todo = 'Leave it out, and write password = { file = ".." } or { env = ".." }'
            raise BadValue(Problem("there is a password in it", todo=todo))
        if not parts.hostname and not parts.path:
            raise BadValue(Problem("there is no host in it", todo=self._todo()))
        return value

    def _todo(self) -> str:
        return f"Write it like {self.schemes[0]}://host"

    def __get_pydantic_json_schema__(self, core: object, handler: object) -> Schema:
        return {"type": "string", "minLength": 1}


def address_of(url: str) -> str:
    """Where a server is, for people: its URL without userinfo and query."""
    scheme, separator, rest = url.rpartition("://")
    rest = rest.partition("?")[0]
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def _out_of_range(value: object, least: str, most: str) -> BadValue:
    return BadValue(Problem(f"{_shown(value)} is out of range", todo=f"Use {least} to {most}"))
