"""leeorr:spin-message-trigger@0.2.0: the interface of components made for the reference.

The package exports an inline interface, so the export is the plain name `guest`; tools that cannot make one export the
named interface instead.
"""

from __future__ import annotations

from typing import Any, Final

from farm.invocation import OUTPUTS_LIMIT, Failed, Invoke, Output
from farm.spec import PayloadForm
from farm.workers.exports.kind import Form, Kind
from farm.workers.failures import failed
from farm.workers.shapes import Bytes, Function, List, Option, Plain, Record, Variant

STRING: Final = Plain("string")
MESSAGE: Final = Record(
    (("message", Bytes()), ("subject", STRING), ("broker", STRING), ("response-subject", Option(STRING)))
)
OUTPUT: Final = Record(
    (
        ("message", Bytes()),
        ("subject", Option(STRING)),
        ("broker", Option(STRING)),
        ("response-subject", Option(STRING)),
    )
)


def _arguments(invoke: Invoke, _form: PayloadForm) -> tuple[Any, ...]:
    return ((invoke.payload, invoke.subject, invoke.broker, invoke.reply_to),)


def _answer(value: tuple[str, Any]) -> list[Output] | Failed:
    case, content = value
    if case == "error":
        return failed("guest_error", content)
    return [Output(message, subject, broker, (), reply) for message, subject, broker, reply in content]


FUNCTION: Final = Function(
    (("message", MESSAGE),),
    Variant((("publish", List(OUTPUT, OUTPUTS_LIMIT, "outputs")), ("error", STRING))),
)
KIND: Final = Kind(
    name="leeorr:spin-message-trigger@0.2.0",
    places=(("guest", "handle-message"), ("leeorr:spin-message-trigger/guest@0.2.0", "handle-message")),
    forms=(Form(FUNCTION, _arguments),),
    answer=_answer,
)
