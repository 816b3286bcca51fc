"""What farm offers a component to import. A further offer is one file beside this one and one line in OFFERS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from farm.errors import Problem
from farm.workers.imports import publisher
from farm.workers.imports.offer import Offer
from farm.workers.shapes import Function, Interface, Item

OFFERS: Final[tuple[Offer, ...]] = (publisher.OFFER,)

# What wasmtime's own WASI defines, for every 0.2.x: a guest sees clocks, randomness, its environment and its output.
# There are no files, and sockets and names are refused on every call.
WASI: Final = frozenset(
    {
        *(f"cli/{name}" for name in ("environment", "exit", "stdin", "stdout", "stderr")),
        *(f"cli/terminal-{name}" for name in ("input", "output", "stdin", "stdout", "stderr")),
        *(f"clocks/{name}" for name in ("monotonic-clock", "wall-clock")),
        *(f"filesystem/{name}" for name in ("types", "preopens")),
        *(f"io/{name}" for name in ("error", "poll", "streams")),
        *(f"random/{name}" for name in ("random", "insecure", "insecure-seed")),
        *(f"sockets/{name}" for name in ("network", "instance-network", "ip-name-lookup", "tcp", "udp")),
        *(f"sockets/{name}" for name in ("tcp-create-socket", "udp-create-socket")),
    }
)
_WASI_NAME: Final = re.compile(r"wasi:([a-z/-]+)@0\.2\.[0-9]+")

REASONS: Final[Mapping[str, str]] = {
    "farm:messaging/requester@": "requests from a guest are not offered yet",
    "wasi:http/": "outgoing HTTP is not offered",
    "wasi:keyvalue/": "key-value stores are not offered yet",
    "fermyon:spin/": "what Spin offers its components is not offered yet",
}


def problems(imports: Mapping[str, Item], where: str) -> list[Problem]:
    """One problem for each import that farm does not offer.

    Args:
      where: the component's file, for the text.
    """
    return [problem for name, item in imports.items() if (problem := _problem(name, item, where)) is not None]


def offered(imports: Mapping[str, Item]) -> list[tuple[Offer, Mapping[str, Function]]]:
    """The offers that a component without problems takes up, and of each the functions that it imports."""
    taken: list[tuple[Offer, Mapping[str, Function]]] = []
    for offer in OFFERS:
        item = imports.get(offer.name)
        if isinstance(item, Interface):
            functions = {name: offer.as_imported(name, function) for name, function in item.functions.items()}
            taken.append((offer, {name: function for name, function in functions.items() if function is not None}))
    return taken


def _problem(name: str, item: Item, where: str) -> Problem | None:
    if isinstance(item, Interface) and item.only_types:
        return None  # types need no definition
    wasi = _WASI_NAME.fullmatch(name)
    if wasi is not None and wasi[1] in WASI:
        return None
    offer = next((offer for offer in OFFERS if offer.name == name), None)
    if offer is None:
        why = next((reason for prefix, reason in REASONS.items() if name.startswith(prefix)), "farm does not offer it")
        names = ", ".join(offer.name for offer in OFFERS)
        return Problem(f"cannot offer the import {name}", where, why, f"Build it without; offered: {names}, WASI 0.2")
    for function_name, function in item.functions.items() if isinstance(item, Interface) else ():
        if offer.as_imported(function_name, function) is None:
            why = f"{function_name} is {function}"
            return Problem(f"import {name} has an unknown shape", where, why, "Build it with farm's wit/")
    return None
