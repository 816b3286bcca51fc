"""What wasmtime says when a guest breaks off, and what farm says of it. The only place that looks at those texts."""

from __future__ import annotations

import re
from typing import Final

import wasmtime

from farm.invocation import Failed, FailureKind
from farm.spec import ComponentSpec
from farm.units import format_duration, format_size
from farm.workers.codec import HOST
from farm.workers.failures import failed

# A part of wasmtime's text -> the kind of failure and what people read: "" for the rest of the line. First match wins.
TEXTS: Final[tuple[tuple[str, FailureKind, str], ...]] = (
    ("exceeds memory limits", "memory", "the component starts with more memory than its limit"),
    ("exceeds table limits", "memory", "the component starts with larger tables than the limit"),
    ("resource limit exceeded: ", "memory", ""),
    ("call stack exhausted", "trap", "call stack exhausted (endless recursion?)"),
    ("too much data is being copied", "output", "outputs too large"),
    ("invalid utf-8", "output", "a text that is not UTF-8"),
    ("out of bounds of memory", "trap", "an answer that lies outside the guest's memory"),
    (HOST, "output", ""),
)
INTERRUPTED: Final = "wasm trap: interrupt"
FULL_SHARE: Final = 0.9  # of the memory limit

_CAUSE: Final = re.compile(r"wasm trap: (.+)")
_FRAME: Final = re.compile(r"^\s+\d+:\s+0x[0-9a-f]+ - (.+)$", re.MULTILINE)


def classify(error: wasmtime.WasmtimeError, spec: ComponentSpec, memory_full: bool = False) -> Failed:
    """The failure that a trap, an exit or a failed start of an instance stands for.

    Args:
      spec: whose limits it ran into.
      memory_full: the guest had grown to its memory limit; wasmtime does not tell a guest that gave up for lack of
        memory from one that gave up for another reason.
    """
    if isinstance(error, wasmtime.ExitTrap):
        return failed("trap", f"the guest called exit({error.code})")
    text = str(error)
    if INTERRUPTED in text:
        return failed("timeout", f"the deadline of {format_duration(spec.deadline_s)} passed", text)
    for part, kind, said in TEXTS:
        _, found, rest = text.partition(part)
        if found:
            return failed(kind, said or rest.partition("\n")[0], text)
    cause = _CAUSE.search(text)
    if memory_full and (cause is None or "unreachable" in cause[1]):
        return failed("memory", f"the memory limit of {format_size(spec.memory_bytes)} was reached", text)
    if cause is None:
        return failed("trap", text.strip().rpartition("\n")[2].strip(), text)
    frame = _FRAME.search(text)
    return failed("trap", f"{cause[1].strip()} in {frame[1]}" if frame else cause[1].strip(), text)
