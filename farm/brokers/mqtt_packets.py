"""The two packets of MQTT that every message is: PUBLISH and PUBACK, as bytes. All others are paho's.

paho 2.2 takes 300 us to read one PUBLISH of MQTT 5 with a few properties and 33 us for a PUBACK (it makes tables of all
properties and all reasons for each); these take about 6 us and 1 us. Pure.
Source: MQTT 5.0 (OASIS, 2019), sections 2.2.2, 3.3 and 3.4; MQTT 3.1.1, the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct, error
from typing import Final

PUBLISH: Final = 0x30
PUBACK: Final = 0x40
HEAD_BYTES: Final = 2 + 0xFFFF + 2  # the longest topic, and a number
_KIND: Final = 0xF0
_DUP, _QOS_2, _RETAIN = 0x08, 0x04, 0x01
_NUMBER: Final = Struct(">H")
_PUBACK: Final = Struct(">BBH")

# Identifiers of properties that a PUBLISH may have, and those of a PUBACK.
_FORMAT, _EXPIRY, _CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION = 1, 2, 3, 8, 9
_SUBSCRIPTION, _REASON, _ALIAS, _USER = 11, 31, 35, 38
_SIZES: Final = {_FORMAT: 1, _EXPIRY: 4, _ALIAS: 2}  # of those that are of no use here

# What a server takes in no text: mosquitto ends the connection for any of them.
_NO_CHARACTERS: Final = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_NOT_TEXT: Final = re.compile(f"[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufdd0-\\ufdef{_NO_CHARACTERS}]")
_REPLACED: Final = "\ufffd"
_TEXT_LIMIT_BYTES: Final = 0xFFFF


class Malformed(Exception):
    """Bytes that are no packet of MQTT."""


class Unasked(Malformed):
    """A packet of MQTT that farm has given no reason for."""


class Extras:
    """What a PUBLISH of MQTT 5 has beside topic and payload. identifiers: of the subscriptions that it is for;
    size_bytes: of all properties.
    """

    __slots__ = ("content_type", "correlation", "identifiers", "pairs", "response_topic", "size_bytes")

    def __init__(self) -> None:
        self.identifiers: list[int] = []
        self.pairs: list[tuple[str, str]] = []
        self.content_type = ""
        self.response_topic = ""
        self.correlation = b""
        self.size_bytes = 0


class Arrival:
    """One PUBLISH from the server. mid: the number it is acknowledged by, 0 with QoS 0; dup: it may have come before;
    retain: it is there because of a new subscription, and was published before. is_large: above the limit, so that its
    payload is not here.
    """

    __slots__ = ("dup", "extras", "is_large", "mid", "payload", "retain", "topic")

    def __init__(self, topic: str, payload: bytes, mid: int, flags: int, extras: Extras) -> None:
        self.topic = topic
        self.payload = payload
        self.mid = mid
        self.dup = bool(flags & _DUP)
        self.retain = bool(flags & _RETAIN)
        self.extras = extras
        self.is_large = False

    @property
    def size_bytes(self) -> int:
        """What it takes while it waits, about."""
        return len(self.topic) + len(self.payload) + self.extras.size_bytes


class Ack:
    """One PUBACK from the server. reason: 0 and up, 128 and up: no; text: what the server says of it."""

    __slots__ = ("mid", "reason", "text")

    def __init__(self, mid: int, reason: int = 0, text: str = "") -> None:
        self.mid = mid
        self.reason = reason
        self.text = text


_NO_EXTRAS: Final = Extras()  # of all that have none; nobody changes it


class Frames:
    """Cuts a stream of bytes into packets, however it comes. limit_bytes: of one packet."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes: Final = limit_bytes
        self._parts: list[bytes] = []
        self._missing = 0  # bytes until another look at the parts is of any use
        self._skipped = 0  # bytes to come that nobody wants

    def cut(self, data: bytes) -> Sequence[tuple[int, bytes, bytes]]:
        """The packets that are whole with this: (first byte, body, all of it).

        Of a packet above the limit only the first `HEAD_BYTES` of its body are there, and nothing as "all of it".

        Raises: Malformed: a length of more than four bytes.
        """
        if self._skipped:
            skipped = min(self._skipped, len(data))
            self._skipped -= skipped
            data = data[skipped:]
            if self._skipped:
                return ()
        if self._parts:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return ()
            data = b"".join(self._parts)
            self._parts.clear()
        return self._cut(data)

    def _cut(self, data: bytes) -> list[tuple[int, bytes, bytes]]:
        found: list[tuple[int, bytes, bytes]] = []
        start, size = 0, len(data)
        while size - start >= 2:
            length, body = data[start + 1], start + 2
            if length >= 0x80:
                try:
                    length, body = _length(data, start + 1)
                except IndexError:
                    break
            end = body + length
            large = length > self._limit_bytes
            wanted = body + HEAD_BYTES if large else end
            if wanted > size:
                self._missing = wanted - size
                break
            found.append((data[start], data[body:wanted], b"" if large else data[start:end]))
            start = end
        if start < size:
            self._parts.append(data[start:])
        else:
            self._skipped = start - size
        return found


def kind_of(first: int) -> int:
    """The kind of a packet, by its first byte."""
    return first & _KIND


def read_publish(first: int, body: bytes, *, five: bool) -> Arrival:
    """A PUBLISH. Raises: Malformed, Unasked."""
    try:
        start = 2 + int(_NUMBER.unpack_from(body)[0])
        topic = body[2:start].decode(errors="replace")
        mid = 0
        if first & 0x06:
            mid = _NUMBER.unpack_from(body, start)[0]
            start += 2
        extras = _NO_EXTRAS
        if five:
            length = body[start]
            if length < 0x80:
                start += 1
            else:
                length, start = _length(body, start)
            if length:
                extras = _read_extras(body, start, start + length)
                start += length
    except (IndexError, error) as short:
        raise Malformed("a PUBLISH that ends early") from short
    if first & 0x06 == _QOS_2:
        raise Unasked(
            "it sends QoS 2, which farm never asked for: end the session that another program has left with its id"
        )
    if start > len(body) or first & _QOS_2:
        raise Malformed("a PUBLISH that makes no sense")
    return Arrival(topic, body[start:], mid, first, extras)


def read_large_publish(first: int, head: bytes) -> Arrival:
    """A PUBLISH of which there is only this. Raises: Malformed."""
    arrival = read_publish(first, head, five=False)
    arrival.payload = b""
    arrival.is_large = True
    return arrival


def read_puback(body: bytes) -> Ack:
    """A PUBACK. Raises: Malformed."""
    if len(body) < 2:
        raise Malformed("a PUBACK without a number")
    mid = _NUMBER.unpack_from(body)[0]
    if len(body) < 4:
        return Ack(mid, body[2] if len(body) > 2 else 0)
    try:
        length, start = _length(body, 3)
        return Ack(mid, body[2], _reason_text(body, start, start + length))
    except (IndexError, error) as short:
        raise Malformed("a PUBACK that ends early") from short


def puback(mid: int) -> bytes:
    """The packet that acknowledges a message."""
    return _PUBACK.pack(PUBACK, 2, mid)


def publish(topic: bytes, payload: bytes, mid: int, extras: bytes | None, *, retain: bool = False) -> bytes:
    """A PUBLISH: with QoS 1 and this number, or with QoS 0 where `mid` is 0.

    Args:
      extras: the properties, made by `write_extras`; None: MQTT 3.1.1.
    """
    head = _NUMBER.pack(len(topic)) + topic
    if mid:
        head += _NUMBER.pack(mid)
    if extras is not None:
        head += _write_length(len(extras)) + extras
    first = PUBLISH | (0x02 if mid else 0) | retain
    return b"".join((bytes((first,)), _write_length(len(head) + len(payload)), head, payload))


def write_extras(
    pairs: Iterable[tuple[str, str]], content_type: str = "", response_topic: bytes = b"", correlation: bytes = b""
) -> bytes:
    """Properties of a PUBLISH. What no server takes in a text is replaced."""
    parts: list[bytes] = []
    if content_type:
        parts += (b"\x03", _write_text(content_type))
    if response_topic:
        parts += (b"\x08", _NUMBER.pack(len(response_topic)), response_topic)
    if correlation:
        parts += (b"\x09", _NUMBER.pack(len(correlation)), correlation)
    for name, value in pairs:
        parts += (_write_name(name), _write_text(value))
    return b"".join(parts)


@lru_cache(maxsize=256)
def _write_name(name: str) -> bytes:
    """The beginning of a user property: there are few names."""
    return b"\x26" + _write_text(name)


def _read_extras(body: bytes, place: int, end: int) -> Extras:
    extras = Extras()
    extras.size_bytes = end - place
    while place < end:
        kind = body[place]
        place += 1
        if kind == _USER:
            name, place = _text(body, place)
            value, place = _text(body, place)
            extras.pairs.append((name, value))
        elif kind == _SUBSCRIPTION:
            number, place = _length(body, place)
            extras.identifiers.append(number)
        elif kind == _CONTENT_TYPE:
            extras.content_type, place = _text(body, place)
        elif kind == _RESPONSE_TOPIC:
            extras.response_topic, place = _text(body, place)
        elif kind == _CORRELATION:
            start = place + 2
            place = start + _NUMBER.unpack_from(body, place)[0]
            extras.correlation = body[start:place]
        elif kind in _SIZES:
            place += _SIZES[kind]
        else:
            raise Malformed(f"a PUBLISH with property {kind}")
    if place != end or place > len(body):
        raise Malformed("properties that end elsewhere")
    return extras


def _reason_text(body: bytes, place: int, end: int) -> str:
    text = ""
    while place < end:
        kind = body[place]
        found, place = _text(body, place + 1)
        if kind == _USER:
            _, place = _text(body, place)
        elif kind == _REASON:
            text = found
    return text


def _text(body: bytes, place: int) -> tuple[str, int]:
    end = place + 2 + _NUMBER.unpack_from(body, place)[0]
    return body[place + 2 : end].decode(errors="replace"), end


def _length(data: bytes, place: int) -> tuple[int, int]:
    """A number of 1 to 4 bytes, and where it ends. Raises: IndexError: the bytes end first. Malformed."""
    value = shift = 0
    for index in range(place, place + 4):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, index + 1
        shift += 7
    raise Malformed("a length of more than four bytes")


def _write_length(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _write_text(text: str) -> bytes:
    if not text.isprintable():
        text = _NOT_TEXT.sub(_REPLACED, text)
    raw = text.encode()
    if len(raw) > _TEXT_LIMIT_BYTES:
        raw = raw[:_TEXT_LIMIT_BYTES].decode(errors="ignore").encode()
    return _NUMBER.pack(len(raw)) + raw
