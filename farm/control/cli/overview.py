"""`farm status`, both halves joined: processes from the supervisor (admin), messages from ingest (relay).

    admin answers   relay answers   state                     relay silent for 1 s: brokers and components are null
    no              -               absent: exit 69           a farm that still builds answers nobody: starting
The keys of `Overview` are a promise to whoever reads `farm status --json`; more may come, none goes.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from farm.errors import NotRunning, Problem, Unanswered, refusal_of
from farm.rundir import Rundir
from farm.wire import admin
from farm.wire.admin import FamilyStatus, FarmState, ProcessStatus

ANSWER_S: Final = 1.0

Half = Mapping[str, Mapping[str, Any]]


class Overview(msgspec.Struct, frozen=True):
    """What `farm status --json` prints. brokers, components: name -> counters; ingest: counters of its own; all as
    `farm.ingest.status` says.
    """

    app: str
    state: FarmState
    pid: int
    uptime_s: float
    processes: list[ProcessStatus]
    brokers: Half | None
    components: Half | None
    ingest: Mapping[str, int] | None = None


def ask(found: Rundir, what: Literal["status", "down"], seconds: float) -> tuple[FamilyStatus, socket.socket]:
    """As `farm.wire.admin.ask`, of the farm of these directories.

    Raises:
      NotRunning: no farm is there.
      Unanswered: its supervisor gave no answer in time.
      NotPermitted: its directory is not ours to use.
    """
    try:
        return admin.ask(found.admin, what, seconds)
    except OSError as error:
        if error.errno is None:  # Python's own: the path is too long for a socket, and `farm up` would say so
            raise NotRunning(Problem("no farm is running here", todo="Start one with `farm up`")) from error
        refusal = refusal_of(error, str(found.admin))
        if refusal is None:
            raise
        raise refusal from error


def look(rundir: Rundir) -> Overview:
    """Ask both.

    Raises:
      NotRunning: no farm is there.
      Unanswered: its supervisor gave no answer in time.
      NotPermitted: its directory is not ours to use.
    """
    try:
        family, connection = ask(rundir, "status", ANSWER_S)
    except NotRunning:
        holder = rundir.holder()
        if holder is None:
            raise
        return Overview(holder.app, "starting", holder.pid, 0.0, [], None, None)
    connection.close()
    return join(family, _messages(rundir))


def join(family: FamilyStatus, messages: Mapping[str, Any] | None) -> Overview:
    """One picture of both halves; `messages` is ingest's, None when it gave no answer."""
    brokers: Half | None = messages["brokers"] if messages else None
    components: Half | None = messages["components"] if messages else None
    if brokers is not None:
        brokers = {name: {**broker, "gateway": family.listens.get(name)} for name, broker in brokers.items()}
    return Overview(
        app=family.app,
        state=_state(family.state, brokers, components),
        pid=family.pid,
        uptime_s=family.uptime_s,
        processes=family.processes,
        brokers=brokers,
        components=components,
        ingest=messages["ingest"] if messages else None,
    )


def _state(family: FarmState, brokers: Half | None, components: Half | None) -> FarmState:
    if family != "ready":
        return family
    if brokers is None or components is None:
        return "degraded"
    states = {broker.get("state") for broker in brokers.values()}
    aside = any(component.get("set_aside") is not None for component in components.values())
    if "down" in states or aside:
        return "degraded"
    return "starting" if "connecting" in states else "ready"


def _messages(rundir: Rundir) -> Mapping[str, Any] | None:
    from farm.client.blocking import Farm  # ZeroMQ: only for a farm that runs

    try:
        with Farm.connect(rundir, ANSWER_S) as farm:
            return farm.status(ANSWER_S)
    except (NotRunning, Unanswered):
        return None
