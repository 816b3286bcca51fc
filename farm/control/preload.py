"""Import what the children need before the first fork: they start in milliseconds then, and share the memory.

Only names, and only modules whose import makes no thread, loop, context or engine: a child forked from a parent that
held one would hang on it. Of brokers, the libraries of those types that the manifest has. The code of the roles too:
eight workers that each imported their own took a third of the time until a farm was ready.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Sequence
from typing import Final

from farm.control.roles import ROLES, counts
from farm.spec import FarmSpec

ALWAYS: Final = ("asyncio", "msgspec.msgpack", "structlog", "uvloop", "wasmtime", "zmq")
FOR_A_GATEWAY: Final = ("sanic", "sanic.server", "sanic.server.protocols.websocket_protocol", "websockets")


def modules(spec: FarmSpec) -> Sequence[str]:
    """What this farm's children will import."""
    processes = counts(spec, workers=1)
    libraries = dict.fromkeys(name for broker in spec.brokers.values() for name in broker.libraries)
    code = [role.target.partition(":")[0] for role in ROLES if processes[role.name]]
    return (*ALWAYS, *(FOR_A_GATEWAY if processes["gateway"] else ()), *libraries, *code)


def preload(names: Sequence[str]) -> None:
    """Import them, and keep the collector from touching (and so copying) their pages in every child."""
    for name in names:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
