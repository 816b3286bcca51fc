"""farm:messaging/handler@0.1.0: farm's own interface (wit/farm-messaging-0.1.0)."""

from __future__ import annotations

import binascii
from typing import Any, Final

from farm.invocation import OUTPUTS_LIMIT, Failed, Invoke, Output
from farm.spec import PayloadForm
from farm.workers.exports.kind import Form, Kind
from farm.workers.failures import failed
from farm.workers.shapes import Bytes, Function, List, Option, Plain, Record, Result, Tuple, Variant

HEADERS_READ_LIMIT: Final = 256

STRING: Final = Plain("string")
ASCII: Final = Plain("string", as_bytes=True)
HEADERS: Final = List(Tuple((STRING, STRING)), HEADERS_READ_LIMIT, "headers")
CASES: Final = (("text", ASCII), ("latin1", STRING), ("binary", Bytes()))
PAYLOAD: Final = Variant((*CASES, ("hex", ASCII)))
PAYLOAD_WITHOUT_HEX: Final = Variant(CASES)


def message(payload: Variant) -> Record:
    """The record `message`, as a component with that type of payload has it."""
    return Record(
        (
            ("id", STRING),
            ("subject", STRING),
            ("broker", STRING),
            ("payload", payload),
            ("headers", HEADERS),
            ("reply-to", Option(STRING)),
            ("attempt", Plain("u32")),
        )
    )


def outgoing(payload: Variant) -> Record:
    """The record `outgoing`, as a component with that type of payload has it."""
    return Record(
        (
            ("subject", Option(STRING)),
            ("broker", Option(STRING)),
            ("payload", payload),
            ("headers", HEADERS),
            ("reply-to", Option(STRING)),
        )
    )


LATER: Final = Record((("reason", STRING), ("after-ms", Option(Plain("u32")))))
FAULT: Final = Record((("kind", STRING), ("text", STRING), ("place", Option(STRING)), ("trace", STRING)))
FAILURE: Final = Variant((("error", FAULT), ("retry", LATER), ("reject", STRING)))


class BadPayload(Exception):
    """A guest's payload that stands for no bytes."""


def payload_for(payload: bytes, form: PayloadForm, *, has_hex: bool) -> tuple[str, str | bytes]:
    """A payload as the component wants it: `text` where the bytes are UTF-8, else `hex` if it has that; or `binary`."""
    if form == "binary":
        return ("binary", payload)
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError:
            return ("hex", binascii.b2a_hex(payload)) if has_hex else ("latin1", payload.decode("latin-1"))
    return ("text", payload)


def payload_from(value: tuple[str, Any]) -> bytes:
    """The bytes of a guest's payload.

    Raises:
      BadPayload: `latin1` with a character that is no byte, or `hex` of something else.
    """
    form, content = value
    try:
        match form:
            case "hex":
                return binascii.a2b_hex(content)
            case "latin1":
                return content.encode("latin-1")
            case _:
                return content
    except UnicodeEncodeError as error:
        raise BadPayload(f"latin1 payload holds U+{ord(content[error.start]):04X}, which is no byte") from error
    except binascii.Error as error:
        raise BadPayload("hex payload is not pairs of hexadecimal digits") from error


def output_from(value: tuple[Any, ...]) -> Output:
    """One `outgoing`. Which of its headers may travel is for whoever publishes it.

    Raises:
      BadPayload: its payload stands for no bytes.
    """
    subject, broker, payload, headers, reply_to = value
    return Output(payload_from(payload), subject, broker, tuple(headers), reply_to)


def _form(payload: Variant) -> Form:
    has_hex = payload == PAYLOAD

    def arguments(invoke: Invoke, form: PayloadForm) -> tuple[Any, ...]:
        return (
            (
                invoke.id,
                invoke.subject,
                invoke.broker,
                payload_for(invoke.payload, form, has_hex=has_hex),
                list(invoke.headers),
                invoke.reply_to,
                invoke.attempt,
            ),
        )

    outputs = List(outgoing(payload), OUTPUTS_LIMIT, "outputs")
    return Form(Function((("message", message(payload)),), Result(outputs, FAILURE)), arguments)


def _answer(value: tuple[bool, Any]) -> list[Output] | Failed:
    is_ok, content = value
    if not is_ok:
        return _failure(*content)
    try:
        return [output_from(one) for one in content]
    except BadPayload as error:
        return failed("output", str(error))


def _failure(case: str, content: Any) -> Failed:
    if case == "retry":
        reason, after_ms = content
        return failed("retry", reason, after_ms=after_ms)
    if case == "reject":
        return failed("rejected", content)
    kind, text, place, trace = content
    said = f"{kind}: {text}" if text else kind
    # A guest's own language noticing the limit: in Python that is what a full memory looks like.
    return failed("memory" if kind == "MemoryError" else "guest_error", f"{said} ({place})" if place else said, trace)


KIND: Final = Kind(
    name="farm:messaging/handler@0.1.0",
    places=(("farm:messaging/handler@0.1.0", "handle"),),
    forms=(_form(PAYLOAD), _form(PAYLOAD_WITHOUT_HEX)),
    answer=_answer,
)
