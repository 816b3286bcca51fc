"""A message: what a broker carries, whoever made it."""

from __future__ import annotations

import hashlib
import os
import re
import time
from functools import lru_cache
from typing import Final

import msgspec

Headers = tuple[tuple[str, str], ...]

PAYLOAD_LIMIT_BYTES: Final = 1 << 20
HEADER_COUNT_LIMIT: Final = 32
HEADERS_LIMIT_BYTES: Final = 8192
HOPS_LIMIT: Final = 16
NUMBER_LIMIT: Final = 15  # digits after the # of a key
ID_RANDOM_BYTES: Final = 10

# What a client or a guest may put into a message's headers: CloudEvents, W3C trace context, and its own as x-*.
PASSED_NAMES: Final = frozenset({"content-type", "traceparent", "tracestate"})
PASSED_PREFIXES: Final = ("ce-", "x-")

# Source: RFC 9110, sections 5.5 and 5.6.2: a name is a token; a value holds no control character but the tab. Halves of
# surrogate pairs stand for what is not UTF-8.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NOT_IN_VALUES: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")
_SHOWN_LIMIT: Final = 64  # characters of a name that a fault is told with


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What travels from a publisher to triggers and listeners.

    id is the same for every attempt at the message; cause is the id of the message whose handling made this one
    (empty: a client's); hops counts how many components stand between it and the first cause. dedup: a server that can
    is to store only one message with it; empty: every one.
    """

    id: str
    subject: str
    payload: bytes
    headers: Headers = ()
    reply_to: str | None = None
    cause: str = ""
    hops: int = 0
    dedup: str = ""

    @property
    def size_bytes(self) -> int:
        """What the message counts against a queue's bound: payload, headers and subjects; text by its characters."""
        size = len(self.payload) + len(self.subject)
        if self.reply_to:  # of somebody else's making: with MQTT up to 64 KiB
            size += len(self.reply_to)
        return size + sum(len(k) + len(v) for k, v in self.headers) if self.headers else size


def passed(headers: Headers) -> Headers:
    """The headers of a client or a guest that may reach a broker; names in lower case, in their order."""
    kept: list[tuple[str, str]] = []
    for name, value in headers:
        lower = name.lower()
        if lower in PASSED_NAMES or lower.startswith(PASSED_PREFIXES):
            kept.append((lower, value))
    return tuple(kept)


def header_fault(headers: Headers) -> str:
    """Why these headers of a client or a guest may not reach a broker; empty: they may."""
    if not headers:
        return ""
    if len(headers) > HEADER_COUNT_LIMIT:
        return f"{len(headers)} headers exceed the limit of {HEADER_COUNT_LIMIT}"
    for name, value in headers:
        if not _TOKEN.fullmatch(name):
            return f"the name of header {name[:_SHOWN_LIMIT]!r} is no token of RFC 9110"
        if found := _NOT_IN_VALUES.search(value):
            return f"the value of header {name[:_SHOWN_LIMIT]!r} holds {found.group()!r}, which no header may"
    size_bytes = sum(len(name) + len(value.encode()) for name, value in headers)
    if size_bytes > HEADERS_LIMIT_BYTES:
        return f"headers of {size_bytes} bytes exceed the limit of {HEADERS_LIMIT_BYTES} bytes"
    return ""


class Ids:
    """Makes ids: UUIDv7 of now, in its canonical text, sortable by time of intake to the millisecond.

    A process has its own, made after the fork: what is random is drawn ahead, for a draw costs more than an id.
    Source: RFC 9562, section 5.7.
    """

    __slots__ = ("_draw_bytes", "_ms", "_place", "_random", "_stamp")

    def __init__(self, ahead: int = 512) -> None:
        """
        Args:
          ahead: for how many ids is drawn at once.
        """
        self._draw_bytes = ahead * ID_RANDOM_BYTES
        self._random = b""
        self._place = 0
        self._ms = -1
        self._stamp = ""

    def new(self) -> str:
        """One id."""
        ms = time.time_ns() // 1_000_000
        if ms != self._ms:
            self._ms = ms
            stamp = f"{ms:012x}"
            self._stamp = f"{stamp[:8]}-{stamp[8:]}-7"
        place = self._place
        if place == len(self._random):
            self._random, place = os.urandom(self._draw_bytes), 0
        self._place = place + ID_RANDOM_BYTES
        drawn = self._random[place : place + ID_RANDOM_BYTES]
        text = drawn.hex()
        return f"{self._stamp}{text[:3]}-{'89ab'[drawn[-1] & 3]}{text[3:6]}-{text[6:18]}"


def new_id() -> str:
    """One id, as `Ids` makes them; who needs many has an `Ids`."""
    return Ids(ahead=1).new()


def keyed_id(caller: str, key: str) -> str:
    """The id of a message that came with an Idempotency-Key: the same key from the same caller, the same id.

    A key that ends in "#" and a number has an id that ends in it, after the hash of what is before: who publishes
    many under one key pays for one hash.
    """
    stem, mark, number = key.rpartition("#")
    if mark and number.isdecimal() and number.isascii() and len(number) <= NUMBER_LIMIT:
        return f"key-{_digest(caller, stem)}-{number}"
    return "key-" + _digest(caller, key)


@lru_cache(maxsize=256)
def _digest(caller: str, key: str) -> str:
    return hashlib.sha256(f"{caller}\0{key}".encode()).hexdigest()[:32]


def output_id(parent: str, trigger: str, index: int) -> str:
    """The id of the `index`-th output (from 0) of a trigger for one message: the same at every attempt."""
    return f"{parent}:{trigger}:{index}"


def dedup_id(source_id: str, durable: str, index: int, subject: str, payload: bytes) -> str:
    """What a server knows the `index`-th output of a trigger for one message of a source by.

    durable: what the server calls what it keeps for the trigger: a queue's output is the same whichever farm makes it.

    The same at every attempt that answers the same; a guest that answers differently is another message, which the
    first one's id would have swallowed. Empty where the source has no id.
    """
    if not source_id:
        return ""
    digest = hashlib.sha256(subject.encode() + b"\0" + payload).hexdigest()[:16]
    return f"{source_id}:{durable}:{index}:{digest}"
