"""What a kind of handler is: an exported function that farm knows how to call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from farm.invocation import Failed, Invoke, Output
from farm.spec import PayloadForm
from farm.workers.shapes import Function


@dataclass(frozen=True)
class Kind:
    """One kind of handler.

    name is how people call it; places are the paths under which a component may export the function (one name: a
    function of the world itself; two: an instance and a function in it).
    """

    name: str
    places: tuple[tuple[str, ...], ...]
    function: Function
    arguments: Callable[[Invoke, PayloadForm], tuple[Any, ...]]
    answer: Callable[[Any], list[Output] | Failed]
