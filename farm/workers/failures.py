"""How a failed call is told: bounded, and with nothing in it that a terminal would obey."""

from __future__ import annotations

from typing import Final

from farm.errors import printable
from farm.invocation import OUTPUTS_LIMIT, OUTPUTS_LIMIT_BYTES, TEXT_LIMIT, Failed, FailureKind, Output

TRACE_LIMIT: Final = 16 << 10


def failed(kind: FailureKind, text: str, trace: str = "", after_ms: int | None = None) -> Failed:
    """A Failed whose texts are cut to their limits and escaped; lines of the trace stay lines."""
    lines = "\n".join(printable(line) for line in trace[:TRACE_LIMIT].splitlines())
    return Failed(kind, printable(text[:TEXT_LIMIT])[:TEXT_LIMIT], lines[:TRACE_LIMIT], after_ms)


def size_bytes(output: Output) -> int:
    """What an output counts against the limit of a call."""
    size = len(output.payload) + (len(output.subject) if output.subject else 0)
    return size + sum(len(k) + len(v) for k, v in output.headers) if output.headers else size


def too_much(outputs: list[Output]) -> Failed | None:
    """A failure when a call made more outputs than one may, else None."""
    if len(outputs) > OUTPUTS_LIMIT:
        return failed("output", f"{len(outputs)} outputs exceed the limit of {OUTPUTS_LIMIT}")
    size = 0
    for output in outputs:
        size += size_bytes(output)
    if size > OUTPUTS_LIMIT_BYTES:
        return failed("output", f"outputs of {size} bytes exceed the limit of {OUTPUTS_LIMIT_BYTES} bytes")
    return None
