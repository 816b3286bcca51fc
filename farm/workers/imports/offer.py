"""What an offered import is: an interface whose functions farm defines for a component."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from farm.invocation import Output
from farm.workers.shapes import Function


@dataclass
class Held:
    """What a guest published in mid-call: it goes out with the outputs if the call succeeds. One for each component."""

    outputs: list[Output] = field(default_factory=list[Output])

    def take(self) -> list[Output]:
        """What is held; nothing is, afterwards."""
        taken, self.outputs = self.outputs, []
        return taken


@dataclass(frozen=True)
class Offer:
    """One interface that components may import.

    make gives the Python function behind each of `functions`, for one component.
    """

    name: str
    functions: Mapping[str, Function]
    make: Callable[[Held], Mapping[str, Callable[..., Any]]]
