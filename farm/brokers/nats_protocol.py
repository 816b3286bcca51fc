"""The client side of the NATS protocol: bytes to messages, and back. No sockets, no waiting.

    data > feed > on_messages(sid, [Raw, ..])     what one chunk had for one subscription, in one call
                > on_line(line)                   everything else: INFO, PONG, PING, +OK, -ERR
Source: NATS documentation, "Client Protocol" and ADR-4 (headers).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from farm.subject import RESERVED_PREFIXES

# Subject, reply subject (or nothing), block of headers (or nothing), payload: all as they came.
Raw = tuple[bytes, bytes, bytes, bytes]
OnRaw = Callable[[list[Raw]], None]

CRLF: Final = b"\r\n"
PING: Final = b"PING\r\n"
PONG: Final = b"PONG\r\n"
ACK_PREFIX: Final = b"$JS.ACK."  # of the reply subject of whatever a stream's consumer is handed
LINE_LIMIT_BYTES: Final = 1 << 20  # of a control line; an INFO with many servers is long
VERSION: Final = "NATS/1.0"
_RESERVED: Final = tuple(prefix.encode() for prefix in RESERVED_PREFIXES)
_VERSION: Final = VERSION.encode()
_MSG: Final = ord("M")
_HMSG: Final = ord("H")
# Source: RFC 9110, section 5.6.2; NATS takes any printable ASCII without a colon, others may not.
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Malformed(Exception):
    """The other side does not speak NATS."""


class Parser:
    """Of one connection. What is not complete waits for the next chunk; a large payload is put together once."""

    def __init__(self, on_messages: Callable[[bytes, list[Raw]], None], on_line: Callable[[bytes], None]) -> None:
        self._on_messages: Final = on_messages
        self._on_line: Final = on_line
        self._parts: list[bytes] = []
        self._have_bytes = 0
        self._need_bytes = 0  # until then there is nothing to look for

    def feed(self, data: bytes) -> None:
        """Take a chunk.

        Raises: Malformed.
        """
        if self._parts:
            self._parts.append(data)
            self._have_bytes += len(data)
            if self._have_bytes < self._need_bytes:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        found: dict[bytes, list[Raw]] = {}
        place = self._parse(data, found)
        self._hand_over(found)
        if place < len(data):
            rest = data[place:]
            if len(rest) > LINE_LIMIT_BYTES and not self._need_bytes:
                raise Malformed("a line of it does not end")
            self._parts.append(rest)
            self._have_bytes = len(rest)

    def _parse(self, data: bytes, found: dict[bytes, list[Raw]]) -> int:
        """Take what is complete; where it ends. Raises Malformed."""
        place, size, find = 0, len(data), data.find
        batch: list[Raw] | None = None
        batch_sid = b""
        self._need_bytes = 0
        while (end := find(CRLF, place)) >= 0:
            kind = data[place]
            if kind != _MSG and kind != _HMSG:
                self._hand_over(found)
                batch = None
                self._on_line(data[place:end])
                place = end + 2
                continue
            fields = data[place:end].split()
            try:
                head = int(fields.pop(-2)) if kind == _HMSG else 0
                stop = end + 2 + int(fields[-1])
                sid = fields[2]
            except (ValueError, IndexError) as error:
                raise Malformed("what it says is not of this protocol") from error
            if stop + 2 > size:
                self._need_bytes = stop + 2 - place
                break
            if batch is None or sid != batch_sid:
                batch = found.setdefault(sid, [])
                batch_sid = sid
            reply = fields[3] if len(fields) == 5 else b""
            if head:
                body = end + 2 + head
                batch.append((fields[1], reply, data[end + 2 : body], data[body:stop]))
            else:
                batch.append((fields[1], reply, b"", data[end + 2 : stop]))
            place = stop + 2
        return place

    def _hand_over(self, found: dict[bytes, list[Raw]]) -> None:
        if found:
            batches = list(found.items())
            found.clear()
            for sid, batch in batches:
                self._on_messages(sid, batch)


def encode_subscribe(sid: int, subject: str, queue: str = "") -> bytes:
    """SUB."""
    return f"SUB {subject} {queue} {sid}\r\n".encode() if queue else f"SUB {subject} {sid}\r\n".encode()


def encode_unsubscribe(sid: int) -> bytes:
    """UNSUB."""
    return f"UNSUB {sid}\r\n".encode()


def encode_publish(subject: str, payload: bytes, reply: str = "", headers: bytes = b"") -> tuple[bytes, ...]:
    """PUB or HPUB, as parts to be written one after the other.

    Args:
      headers: a block as `encode_headers` makes it, or nothing.
    """
    to = f"{subject} {reply}" if reply else subject
    if not headers:
        return f"PUB {to} {len(payload)}\r\n".encode(), payload, CRLF
    head = len(headers)
    return f"HPUB {to} {head} {head + len(payload)}\r\n".encode(), headers, payload, CRLF


def encode_word(subject: bytes, word: bytes, reply: bytes = b"") -> bytes:
    """PUB of a few bytes, to a subject as it came."""
    if reply:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(word), word)
    return b"PUB %b %d\r\n%b\r\n" % (subject, len(word), word)


def encode_headers(pairs: Iterable[tuple[str, str]]) -> bytes:
    """The block of these headers. What no line can carry is left out (a name) or becomes a space (in a value)."""
    lines = [f"{name}: {value}\r\n" for name, value in pairs]
    text = f"{VERSION}\r\n{''.join(lines)}\r\n"
    breaks = len(lines) + 2
    if text.count("\n") != breaks or text.count("\r") != breaks:
        return encode_headers([(name, " ".join(value.splitlines())) for name, value in pairs if _NAME.fullmatch(name)])
    return text.encode(errors="replace")


def decode_headers(block: bytes) -> list[tuple[str, str]]:
    """The headers of a block, names as they were written; never raises. The line of the status is not among them."""
    pairs: list[tuple[str, str]] = []
    for line in block.decode(errors="replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon and name:
            pairs.append((name, value.strip()))
    return pairs


def status_of(block: bytes) -> tuple[int, str]:
    """The status that a server puts in the first line of headers of its own, and its text; 0: there is none.

    503: nobody is there to answer. 404, 408, 409, 100: of a JetStream pull.
    """
    line = block[: block.find(CRLF)] if CRLF in block else block
    if not line.startswith(_VERSION):
        return 0, ""
    code, _, text = line[len(_VERSION) :].strip().partition(b" ")
    return (int(code), text.decode(errors="replace").strip()) if code.isdigit() else (0, "")


def open_to_wildcards(raws: list[Raw]) -> list[Raw]:
    """What a subscription that begins with a wildcard may have of these.

    It matches inboxes too: what a stream hands to a consumer comes there under the subject that it was published to.
    """
    return [raw for raw in raws if not raw[0].startswith(_RESERVED) and not raw[1].startswith(ACK_PREFIX)]
