"""farm:messaging/publisher@0.1.0: publish in mid-call. Held until the call succeeds: a failed one leaves no ghosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from farm.workers.exports import farm_messaging
from farm.workers.exports.farm_messaging import BadPayload, output_from
from farm.workers.imports.offer import Held, Offer
from farm.workers.shapes import Function, Plain, Result, Variant


def _make(held: Held) -> Mapping[str, Callable[..., Any]]:
    def publish(outgoing: tuple[Any, ...]) -> tuple[bool, str]:
        try:
            refused = held.add(output_from(outgoing))
        except BadPayload as error:
            refused = str(error)
        return refused == "", refused

    return {"publish": publish}


def _function(payload: Variant) -> Function:
    return Function((("message", farm_messaging.outgoing(payload)),), Result(None, Plain("string")))


OFFER: Final = Offer(
    name="farm:messaging/publisher@0.1.0",
    functions={"publish": (_function(farm_messaging.PAYLOAD), _function(farm_messaging.PAYLOAD_WITHOUT_HEX))},
    make=_make,
)
