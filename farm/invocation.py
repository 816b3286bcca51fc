"""One call of a component: what ingest asks of a worker, and what the worker says of it.

    Delivery  (broker)  -> Invoke  (ingest > worker) -> the guest -> Finished  (worker > ingest) -> Verdict
One Delivery is one Invocation; each attempt is an Invoke of its own with a higher sequence number.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from farm.message import Headers

FailureKind = Literal[
    "trap",  # the guest broke off: unreachable, out of bounds, exit, abort
    "timeout",  # the deadline passed
    "memory",  # the memory limit was reached
    "guest_error",  # the guest said so, in its own words
    "retry",  # the guest asked for another attempt (after_ms)
    "rejected",  # the guest wants the message never again
    "output",  # an answer that cannot be published
    "died",  # the worker died in mid-call
]

TEXT_LIMIT: Final = 4096
OUTPUTS_LIMIT: Final = 1024
OUTPUTS_LIMIT_BYTES: Final = 2 << 20


class Invoke(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Run one component on one message.

    seq rises with every assignment to one worker; delivery names the record in ingest's table; attempt counts from 1.
    """

    seq: int
    delivery: int
    attempt: int
    component: str
    broker: str
    id: str
    subject: str
    payload: bytes
    headers: Headers = ()
    reply_to: str | None = None


class Output(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message a guest answered or published; what is None is filled from the trigger's defaults."""

    payload: bytes
    subject: str | None = None
    broker: str | None = None
    headers: Headers = ()
    reply_to: str | None = None


class Failed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The guest gave no answer. Says nothing about whether to retry: that is ingest's verdict."""

    kind: FailureKind
    text: str  # for people, at most TEXT_LIMIT characters, control characters escaped
    trace: str = ""  # the guest's own traceback, if it has one
    after_ms: int | None = None  # with kind "retry": when the guest wants to be asked again


class Finished(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One Invoke ended: `failed` is None and `outputs` are what it made, or the other way round.

    took_us is the worker's measure of the call, in microseconds, conversion of arguments and results included.
    """

    delivery: int
    attempt: int
    took_us: int
    outputs: list[Output] = []
    failed: Failed | None = None
