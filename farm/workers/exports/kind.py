"""What a kind of handler is: an exported function that farm knows how to call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from farm.invocation import Failed, Invoke, Output
from farm.spec import PayloadForm
from farm.workers.shapes import Function


@dataclass(frozen=True)
class Form:
    """One type that the function of a kind may have, and the arguments that such a function takes for a call."""

    function: Function
    arguments: Callable[[Invoke, PayloadForm], tuple[Any, ...]]


@dataclass(frozen=True)
class Kind:
    """One kind of handler.

    name is how people call it; places are the paths under which a component may export the function (one name: a
    function of the world itself; two: an instance and a function in it); forms are the types that it may have, the one
    that is meant first.
    """

    name: str
    places: tuple[tuple[str, ...], ...]
    forms: tuple[Form, ...]
    answer: Callable[[Any], list[Output] | Failed]
