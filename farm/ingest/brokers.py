"""The live brokers of a manifest: each made by the class that its type names, with what a farm is to it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, cast

from farm import log
from farm.broker import Broker, Home
from farm.errors import BadValue, BrokerUnavailable, FarmError, ManifestError, NotPermitted, Problem, denied
from farm.registry import broker_class
from farm.rundir import Rundir, make_private
from farm.secrets import Secrets
from farm.spec import BrokerSpec, FarmSpec, ServerSpec, TriggerSpec

ID_FILE: Final = "id"
ID_BYTES: Final = 6  # 12 hex digits
CLOSE_S: Final = 4.0  # a broker gives its server 2 s
REASONS_LIMIT: Final = 64  # that are remembered of one broker; a server may have new words each time


def open_brokers(spec: FarmSpec, rundir: Rundir, secrets: Secrets, farm_id: str) -> dict[str, Broker]:
    """The brokers of a manifest, in its order; not started.

    Raises: ManifestError: a type that cannot be loaded, is no broker, or whose constructor raises.
    """

    def home_of(name: str) -> Home:
        def folder() -> Path:
            make_private(rundir.broker(name).parent)
            make_private(rundir.broker(name))
            return rundir.broker(name)

        return Home(spec.app.name, farm_id, folder, secrets.read)

    return {name: _made(broker, home_of(name)) for name, broker in spec.brokers.items()}


async def start_brokers(brokers: Mapping[str, Broker], spec: FarmSpec, *, first: bool) -> None:
    """Start all at once, and say what becomes of each.

    Args:
      first: the farm starts; else only ingest does, and what is required has been there.
    Raises: BrokerUnavailable: the server of one that is `required` is away.
    """
    for broker in brokers.values():
        if isinstance(spec.brokers[broker.name], ServerSpec):
            broker.on_change = _Teller().tell
    async with asyncio.TaskGroup() as group:
        for broker in brokers.values():
            group.create_task(broker.start())
    away = [
        _absence(broker, spec.brokers[name].at)
        for name, broker in brokers.items()
        if first and broker.state != "up" and getattr(spec.brokers[name], "required", False)
    ]
    if away:
        await close_brokers(brokers)
        raise BrokerUnavailable(*away)


def _absence(broker: Broker, at: str) -> Problem:
    where = "" if all(each in broker.fault for each in at.split(", ")) else at  # mostly a fault says where
    return Problem(f"broker {broker.name} is {broker.state}", where, broker.fault)


async def close_brokers(brokers: Mapping[str, Broker]) -> None:
    """Close all at once; what becomes of them is said to nobody any more. One that fails or hangs stops no other."""
    async with asyncio.TaskGroup() as group:
        for broker in brokers.values():
            broker.on_change = None
            group.create_task(_close(broker))


async def _close(broker: Broker) -> None:
    try:
        async with asyncio.timeout(CLOSE_S):
            await broker.close()
    except Exception as error:  # noqa: BLE001 - the class may be of another package
        why = f"nothing for {CLOSE_S:g} s" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
        log.get().error("a broker did not close in order", broker=broker.name, why=why)


def farm_id(state: Path) -> str:
    """What tells this farm from all others at a server: drawn at the first start, kept in the state directory.

    Raises: NotPermitted, NoRoom: it can be neither read nor written.
    """
    path = state / ID_FILE
    try:
        if not path.exists():
            fresh = path.with_name(f".{ID_FILE}.{os.getpid()}")
            fresh.write_text(os.urandom(ID_BYTES).hex() + "\n", encoding="ascii")
            fresh.replace(path)
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise denied("cannot keep this farm's id", str(path), error) from error
    except ValueError:
        text = ""
    if len(text) != 2 * ID_BYTES or not text.isalnum():
        raise NotPermitted(Problem("this farm's id is none", where=str(path), todo="Remove the file, and start anew"))
    return text


def durable_of(trigger: TriggerSpec, component: str, own_id: str, before: int = 0) -> str:
    """What a server may call what it keeps for a trigger.

    For a queue the same in every farm; for a topic this trigger's alone, at every start.

    Args:
      before: how many triggers of the component have the same topic of the same broker already.
    """
    digest = hashlib.sha256(trigger.topic.encode()).hexdigest()[:8]
    if trigger.group:
        return f"{trigger.group}-{digest}"
    return f"farm-{own_id}-{component}-{digest}" + (f"-{before}" if before else "")


class _Teller:
    """Logs the changes of one broker: while it is away each reason once, though tries end now by this, now by that."""

    def __init__(self) -> None:
        self._said: Final[set[tuple[str, str]]] = set()

    def tell(self, broker: Broker) -> None:
        """Its state, or why it is in it, is another one."""
        if broker.state == "up":
            self._said.clear()
            log.get().info("broker is up", broker=broker.name)
        elif (broker.state, broker.fault) not in self._said:
            if len(self._said) >= REASONS_LIMIT:
                self._said.clear()
            self._said.add((broker.state, broker.fault))
            log.get().warning(f"broker is {broker.state}", broker=broker.name, why=broker.fault)


def _made(spec: BrokerSpec, home: Home) -> Broker:
    """The broker of a spec, by the class of its type, which may be somebody else's."""
    try:
        found = broker_class(spec.type)
        if not (isinstance(found, type) and issubclass(found, Broker)):
            raise _unusable(spec, "no package has it" if found is None else "what its package names is no Broker")
        return cast("Callable[[BrokerSpec, Home], Broker]", found)(spec, home)
    except BadValue as error:
        raise ManifestError(*error.problems) from error
    except FarmError:
        raise
    except Exception as error:  # its constructor may raise anything, and would do so again
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = "" if last.filename == __file__ else f" ({Path(last.filename).name}:{last.lineno})"
        raise _unusable(spec, f"{type(error).__name__}: {error}{place}") from error


def _unusable(spec: BrokerSpec, why: str) -> ManifestError:
    return ManifestError(Problem(f"type {spec.type!r} cannot be used", where=f"brokers.{spec.name}.type", why=why))
