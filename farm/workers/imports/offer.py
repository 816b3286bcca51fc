"""What an offered import is: an interface whose functions farm defines for a component."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from farm.invocation import OUTPUTS_LIMIT, OUTPUTS_LIMIT_BYTES, Output
from farm.workers.failures import size_bytes
from farm.workers.shapes import Function


class Held:
    """What a guest published in mid-call: it goes out with the outputs if the call succeeds. One for each component."""

    def __init__(self) -> None:
        self._outputs: list[Output] = []
        self._size_bytes = 0

    def add(self, output: Output) -> str:
        """Hold one more; why not, or "" when it is held."""
        if len(self._outputs) >= OUTPUTS_LIMIT:
            return f"more than {OUTPUTS_LIMIT} messages in one call"
        size = self._size_bytes + size_bytes(output)
        if size > OUTPUTS_LIMIT_BYTES:
            return f"more than {OUTPUTS_LIMIT_BYTES} bytes in one call"
        self._outputs.append(output)
        self._size_bytes = size
        return ""

    def take(self) -> list[Output]:
        """What is held; nothing is, afterwards."""
        taken = self._outputs
        if taken:
            self._outputs, self._size_bytes = [], 0
        return taken


@dataclass(frozen=True)
class Offer:
    """One interface that components may import.

    functions are the types that each may have, the one that is meant first; make gives the Python function behind each,
    for one component.
    """

    name: str
    functions: Mapping[str, tuple[Function, ...]]
    make: Callable[[Held], Mapping[str, Callable[..., Any]]]

    def as_imported(self, name: str, given: Function) -> Function | None:
        """Our type of a function that a component imports as `given`; None where farm has none like it."""
        return next((function for function in self.functions.get(name, ()) if function == given), None)
