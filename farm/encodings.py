"""The four shapes of a message on a WebSocket, exact to the byte for clients that were there before farm.

    text          the payload, when it is UTF-8                                              text frame
    binary        the payload                                                                binary frame
    json          {"message":[u8..],"subject":..,"broker":..,"response_subject":..|null}     text frame
    messagepack   [[u8..], subject, broker, response_subject|nil]                            binary frame
Source: the reference's gateway (serde_json and rmp_serde of its InputMessage).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

Format = Literal["text", "binary", "json", "messagepack"]


class InputMessage(msgspec.Struct, frozen=True, gc=False):
    """A message as clients of the gateway see it; fields in the order of the wire."""

    message: list[int]
    subject: str
    broker: str
    response_subject: str | None


@dataclass(frozen=True)
class Shape:
    """How messages of one format go out. encode(payload, subject, broker, reply_to): None where it has no place."""

    is_text: bool
    encode: Callable[[bytes, str, str, str | None], bytes | None]


_JSON: Final = msgspec.json.Encoder()
_MESSAGEPACK: Final = msgspec.msgpack.Encoder()


def _text(payload: bytes, _subject: str, _broker: str, _reply_to: str | None) -> bytes | None:
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError:
            return None
    return payload


def _binary(payload: bytes, _subject: str, _broker: str, _reply_to: str | None) -> bytes:
    return payload


def _json(payload: bytes, subject: str, broker: str, reply_to: str | None) -> bytes:
    return _JSON.encode(InputMessage(list(payload), subject, broker, reply_to))


def _messagepack(payload: bytes, subject: str, broker: str, reply_to: str | None) -> bytes:
    return _MESSAGEPACK.encode((list(payload), subject, broker, reply_to))


SHAPES: Final[dict[Format, Shape]] = {
    "text": Shape(is_text=True, encode=_text),
    "binary": Shape(is_text=False, encode=_binary),
    "json": Shape(is_text=True, encode=_json),
    "messagepack": Shape(is_text=False, encode=_messagepack),
}
