"""Which roles a family has, how many of each, and where each one's code is.

Code is named by a string: so control composes the layers beneath it without an arrow to them. Importing it does no
work; what only a child may own is made after the fork.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from farm.errors import BadValue, NotPermitted, Problem
from farm.spec import FarmSpec
from farm.wire.pulse import SLOT_COUNT

SERVERS_LIMIT: Final = 6
WORKERS_LIMIT: Final = SLOT_COUNT - 2 - SERVERS_LIMIT
FILES_OF_SUPERVISOR: Final = 32  # its own, and those who ask for its status
FILES_OF_CHILD: Final = 2  # a lifeline and a pidfd


@dataclass(frozen=True)
class Role:
    """What a process of the family is for.

    target: "module:function", called with a `Post`, returns the exit code; essential: without it nothing works, so one
    that crashes in a loop ends the farm; environment: whether it may see the environment; secrets: whether it may read
    those of the manifest; foreign: it becomes a program that is not ours, with neither lifeline nor pulse, ended by
    SIGTERM.
    """

    name: str
    target: str
    essential: bool = False
    environment: bool = True
    secrets: bool = False
    foreign: bool = False


INGEST: Final = Role("ingest", "farm.ingest.process:main", essential=True, secrets=True)
GATEWAY: Final = Role("gateway", "farm.gateway.process:main", essential=True)
WORKER: Final = Role("worker", "farm.workers.process:main", environment=False)
SERVER: Final = Role("server", "farm.control.server:main", environment=False, foreign=True)

COMPILER: Final = Role("compiler", "farm.control.inspection:compile_into_cache", environment=False)
CHECKER: Final = Role("compiler", "farm.control.inspection:check", environment=False)

ROLES: Final = (INGEST, GATEWAY, WORKER, SERVER)

# Ingest goes before workers: what is in flight needs them. The gateway goes first: its requests need both. Servers are
# needed until nobody speaks with them.
DRAIN_ORDER: Final = ("gateway", "ingest", "worker", "server")


def check_workers(workers: int) -> None:
    """Refuse a number of workers that no farm can have.

    Raises: BadValue.
    """
    if not 1 <= workers <= WORKERS_LIMIT:
        why = f"a farm has 1 to {WORKERS_LIMIT} of them"
        raise BadValue(Problem("cannot run so many workers", where=str(workers), why=why, todo="Change --workers"))


def check_files(files: int, spec: FarmSpec, workers: int) -> None:
    """Refuse a farm that may not open the files that its own processes need: it would never be ready.

    Args:
      files: how many one process may have open.
    Raises: NotPermitted.
    """
    processes = sum(counts(spec, workers).values())
    needed = FILES_OF_SUPERVISOR + FILES_OF_CHILD * processes
    if files < needed:
        why, todo = f"{processes} processes need {needed}", "Raise `ulimit -n`, or have fewer workers"
        raise NotPermitted(Problem("too few open files allowed", where=str(files), why=why, todo=todo))


def counts(spec: FarmSpec, workers: int) -> Mapping[str, int]:
    """How many processes of each role this farm has."""
    listens = any(broker.gateway is not None for broker in spec.brokers.values())
    return {"ingest": 1, "gateway": int(listens), "worker": workers, "server": len(embedded(spec))}


def embedded(spec: FarmSpec) -> list[str]:
    """The brokers whose server is ours; the place of each is the index of its process.

    Raises: BadValue: there are too many.
    """
    names = [name for name, broker in spec.brokers.items() if broker.embedded]
    if len(names) > SERVERS_LIMIT:
        why = f"a farm has {SERVERS_LIMIT} of them at most"
        raise BadValue(Problem("too many embedded servers", where=f"brokers.{names[SERVERS_LIMIT]}", why=why))
    return names
