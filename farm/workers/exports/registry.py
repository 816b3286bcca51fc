"""The kinds of handler farm calls, and how it recognises which one a component exports.

A further kind is one file beside this one and one line in KINDS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from farm.errors import Problem
from farm.workers.exports import farm_messaging, leeorr
from farm.workers.exports.kind import Form, Kind
from farm.workers.shapes import Function, Interface, Item

KINDS: Final[tuple[Kind, ...]] = (farm_messaging.KIND, leeorr.KIND)

BUILD_AGAINST_OURS: Final = "Build it against farm:messaging@0.1.0"
BUILD_WITH_OURS: Final = "Build it with farm's wit/"
NOT_CALLED: Final = "farm does not call this interface yet"

# Exports that farm knows by name and does not call: name -> why. A bare name is a function of the world.
REFUSED: Final[Mapping[str, str]] = {
    "wasmcloud:messaging/handler@0.2.0": NOT_CALLED,
    "wasi:messaging/incoming-handler@0.2.0-draft": NOT_CALLED,
    "wasi:messaging/messaging-guest@0.2.0-draft": "an earlier interface under the same version; "
    "the one of December 2024 exports incoming-handler",
    "fermyon:spin/inbound-redis": NOT_CALLED,
    "handle-message": "farm does not call the interface of spin:mqtt-trigger yet",
    "handle-queue-message": "farm does not call the interface of fermyon:spin-sqs yet",
    "wasi:http/incoming-handler": "it answers HTTP requests, not messages",
    "wasi:cli/run": "it is a program, not a handler of messages",
}

# Handlers with async functions or streams: the engine refuses their components, so they are known by names in the file.
# The third exports a bare handle-message, which only the version of its types tells.
ASYNC: Final = (
    "wasmcloud:messaging/handler@0.3.0",
    "spin:redis/inbound-redis@3.0.0",
    "spin:mqtt-trigger/spin-mqtt-types@3.0.0",
)

# Other versions of packages that farm knows at one version: package prefix -> that version.
VERSIONS: Final[Mapping[str, str]] = {"farm:messaging/": "0.1.0", "leeorr:spin-message-trigger/": "0.2.0"}


@dataclass(frozen=True)
class Handler:
    """The handler of a component: its kind, the path of the function, and which type it has."""

    kind: Kind
    place: tuple[str, ...]
    form: Form


def recognise(exports: Mapping[str, Item], where: str) -> Handler | Problem:
    """The one handler that a component exports, or why it cannot be called.

    Args:
      where: the component's file, for the text.
    """
    found = [(kind, place) for kind in KINDS for place in kind.places if _function_at(exports, place) is not None]
    if len(found) == 1:
        kind, place = found[0]
        function = _function_at(exports, place)
        for form in kind.forms:
            if function == form.function:
                return Handler(kind, place, form)
        why = f"expected {kind.forms[0].function}, found {function}"
        return Problem(f"export {'/'.join(place)} has an unknown shape", where, why, BUILD_WITH_OURS)
    if found:
        names = " and ".join(kind.name for kind, _ in found)
        return Problem("more than one known handler", where, f"it exports {names}", "Export one of them")
    refused = _refused(exports)
    if refused is not None:
        name, why, todo = refused
        return Problem(f"cannot run a component that exports {name}", where, why, todo)
    names = ", ".join(sorted(exports)) or "nothing"
    known = ", ".join(kind.name for kind in KINDS)
    return Problem("no known export", where, f"it exports {names}", f"Export one of {known}")


def async_problem(content: bytes, where: str) -> Problem:
    """Why a component that the engine refused for what is async in it cannot run.

    Args:
      content: its bytes. where: its file, for the text.
    """
    name = next((name for name in ASYNC if name.encode() in content), None)
    why = "it uses async functions or streams (WASI 0.3)" if name is None else f"{name} is async (WASI 0.3)"
    return Problem(
        "cannot run an async component", where, why, "Build it against the synchronous interfaces of WASI 0.2"
    )


def _function_at(exports: Mapping[str, Item], place: tuple[str, ...]) -> Function | None:
    item = exports.get(place[0])
    if len(place) == 2 and isinstance(item, Interface):
        return item.functions.get(place[1])
    return item if len(place) == 1 and isinstance(item, Function) else None


def _refused(exports: Mapping[str, Item]) -> tuple[str, str, str] | None:
    """An export that farm knows and does not call, why, and what to do."""
    for name in exports:
        bare = name.partition("@")[0]
        for known in (name, bare):
            if known in REFUSED:
                return name, REFUSED[known], BUILD_AGAINST_OURS
        for prefix, version in VERSIONS.items():
            if name.startswith(prefix) and not name.endswith("@" + version):
                return name, f"farm knows version {version} of this package", BUILD_WITH_OURS
    return None
