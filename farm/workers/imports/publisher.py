"""farm:messaging/publisher@0.1.0: publish in mid-call. Held until the call succeeds: a failed one leaves no ghosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from farm.invocation import OUTPUTS_LIMIT
from farm.workers.exports.farm_messaging import OUTGOING, BadPayload, output_from
from farm.workers.imports.offer import Held, Offer
from farm.workers.shapes import Function, Plain, Result


def _make(held: Held) -> Mapping[str, Callable[..., Any]]:
    def publish(outgoing: tuple[Any, ...]) -> tuple[bool, str | None]:
        if len(held.outputs) >= OUTPUTS_LIMIT:
            return False, f"more than {OUTPUTS_LIMIT} messages in one call"
        try:
            held.outputs.append(output_from(outgoing))
        except BadPayload as error:
            return False, str(error)
        return True, None

    return {"publish": publish}


OFFER: Final = Offer(
    name="farm:messaging/publisher@0.1.0",
    functions={"publish": Function((("message", OUTGOING),), Result(None, Plain("string")))},
    make=_make,
)
