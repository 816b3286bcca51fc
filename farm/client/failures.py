"""A refusal that came over the relay, as the error it stands for."""

from __future__ import annotations

from typing import Final

from farm.errors import (
    BrokerError,
    BrokerFull,
    BrokerUnavailable,
    FarmError,
    InputError,
    Internal,
    InvalidSubject,
    NotPermitted,
    PayloadTooLarge,
    Problem,
    Unanswered,
    UnknownBroker,
    WireError,
)

_KINDS: Final[dict[str, type[FarmError]]] = {
    kind.code: kind
    for kind in (
        BrokerError,
        BrokerFull,
        BrokerUnavailable,
        InputError,
        InvalidSubject,
        NotPermitted,
        PayloadTooLarge,
        Unanswered,
        UnknownBroker,
        WireError,
    )
}


def error_of(code: str, text: str) -> FarmError:
    """The error of `farm.errors` that a peer named by its code, with the peer's text; an unknown code is Internal."""
    kind = _KINDS.get(code, Internal)
    error = kind.__new__(kind)  # not kind(text): some are built from their numbers, and the peer has told those already
    FarmError.__init__(error, Problem(text))
    return error
