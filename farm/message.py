"""A message: what a broker carries, whoever made it."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Final

import msgspec

Headers = tuple[tuple[str, str], ...]

PAYLOAD_LIMIT_BYTES: Final = 1 << 20
HEADER_COUNT_LIMIT: Final = 32
HEADERS_LIMIT_BYTES: Final = 8192
HOPS_LIMIT: Final = 16

# What a client or a guest may put into a message's headers: CloudEvents, W3C trace context, and its own as x-*.
PASSED_NAMES: Final = frozenset({"content-type", "traceparent", "tracestate"})
PASSED_PREFIXES: Final = ("ce-", "x-")


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What travels from a publisher to triggers and listeners.

    id is the same for every attempt at the message; cause is the id of the message whose handling made this one
    (empty: a client's); hops counts how many components stand between it and the first cause.
    """

    id: str
    subject: str
    payload: bytes
    headers: Headers = ()
    reply_to: str | None = None
    cause: str = ""
    hops: int = 0

    @property
    def size_bytes(self) -> int:
        """What the message counts against a queue's bound: payload, headers and subject."""
        size = len(self.payload) + len(self.subject)
        return size + sum(len(k) + len(v) for k, v in self.headers) if self.headers else size


def passed(headers: Headers) -> Headers:
    """The headers of a client or a guest that may reach a broker; names in lower case, in their order."""
    kept: list[tuple[str, str]] = []
    for name, value in headers:
        lower = name.lower()
        if lower in PASSED_NAMES or lower.startswith(PASSED_PREFIXES):
            kept.append((lower, value))
    return tuple(kept)


def new_id() -> str:
    """A UUIDv7 of now, in its canonical text: sortable by time of intake.

    Source: RFC 9562, section 5.7.
    """
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def keyed_id(caller: str, key: str) -> str:
    """The id of a message that came with an Idempotency-Key: the same key from the same caller, the same id."""
    return "key-" + hashlib.sha256(f"{caller}\0{key}".encode()).hexdigest()[:32]


def output_id(parent: str, component: str, index: int) -> str:
    """The id of the `index`-th output (from 0) of a component for one message: the same at every attempt."""
    return f"{parent}:{component}:{index}"
