"""The gateway process: one listener for each broker that has a gateway, one connection to ingest, one loop.

It holds no message that was accepted: what it has taken is ingest's when the 202 goes out. So it may die at any time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import socket
from typing import Any, Final

import uvloop

from farm import log
from farm.client.aio import Relay
from farm.errors import Internal, Unanswered
from farm.gateway.app import Listener, start
from farm.gateway.counts import Counts
from farm.gateway.guard import LOOPBACK_NAMES, Door
from farm.gateway.listening import bind_all, host_of
from farm.gateway.protocol import CONNECTIONS_LIMIT, Limits
from farm.gateway.routes import Served
from farm.gateway.websockets import Hub
from farm.spec import BrokerSpec
from farm.wire.lifeline import Drain, Peer, Post, Ready, State
from farm.wire.sockets import Sockets

PROMISE_S: Final = 5.0
BEAT_S: Final = 1.0
OWN_FILES: Final = 256  # descriptors that are not connections; where few are to be had, half of them
ORPHANED: Final = 70


def main(post: Post) -> int:
    """Run the gateway until drained; the exit code. Runs after the fork, owns all it opens.

    Raises: as `bind_all`.
    """
    for name in ("root", "error", "server", "websockets"):
        logging.getLogger(f"sanic.{name}").setLevel(logging.ERROR)  # a client that goes away is no event
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(post))


async def run(post: Post, limits: Limits | None = None) -> int:
    """As `main`, on a loop that runs."""
    bound = bind_all(post.spec, post.listens)
    with Sockets() as sockets:
        gateway = Gateway(post, Relay(sockets, post.rundir.relay))
        try:
            return await gateway.run(bound, limits or Limits(connections=connection_limit(len(bound))))
        finally:
            gateway.close()


class Gateway:
    """One life of the gateway, on its loop."""

    def __init__(self, post: Post, relay: Relay) -> None:
        self._post = post
        self._relay = relay
        self._counts = Counts()
        self._hub = Hub(relay, self._counts)
        self._said = ""
        self._boot = 0
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_log_fault)
        self._ingest = asyncio.Event()  # it has answered once, or the supervisor has told of it
        self._drain: asyncio.Future[float] = self._loop.create_future()
        self._loop.add_reader(post.lifeline.fileno(), self._hear)
        self._watching = (asyncio.ensure_future(self._beat()), asyncio.ensure_future(self._find_ingest()))

    async def run(self, bound: dict[str, socket.socket], limits: Limits) -> int:
        """Serve on these sockets until drained; the exit code."""
        listeners: list[Listener] = []
        for name, at in bound.items():
            served = self._served(self._post.spec.brokers[name], at.getsockname()[1])
            listeners.append(await start(f"gateway-{name}", at, served, limits, is_first=not listeners))
        there = asyncio.ensure_future(self._ingest.wait())
        await asyncio.wait((there, self._drain), return_when=asyncio.FIRST_COMPLETED)
        there.cancel()
        if not self._drain.done():
            self._post.lifeline.send(Ready(listens={name: _shown(at) for name, at in bound.items()}))
        seconds = await self._drain
        self._hub.finish()
        await asyncio.gather(*(listener.drain(seconds) for listener in listeners))
        return 0

    def close(self) -> None:
        """Let go of the lifeline and the relay."""
        self._loop.remove_reader(self._post.lifeline.fileno())
        for one in self._watching:
            one.cancel()
        self._relay.close()

    def _served(self, broker: BrokerSpec, port: int) -> Served:
        gateway = broker.gateway
        if gateway is None:
            raise Internal(f"broker {broker.name!r} has no gateway")
        door = Door(port, (*LOOPBACK_NAMES, host_of(gateway.bind)))
        return Served(broker, gateway, door, self._relay, self._hub, self._counts)

    def _hear(self) -> None:
        for word in self._post.lifeline.receive():
            match word:
                case Drain(seconds):
                    if not self._drain.done():
                        self._drain.set_result(seconds)
                case Peer(role="ingest") if word.boot != self._boot:
                    self._boot = word.boot
                    self._relay.reconnect()
                    self._ingest.set()
                case _:
                    pass  # of workers, and of what ingest alone must do
        if self._post.lifeline.closed:
            os._exit(ORPHANED)  # the supervisor is dead: whoever is being served must not outlive it

    async def _beat(self) -> None:
        while True:
            self._post.pulse.promise(PROMISE_S)
            if (text := str(self._counts)) != self._said:
                self._said = text
                self._post.lifeline.send(State(text))
            await asyncio.sleep(BEAT_S)

    async def _find_ingest(self) -> None:
        """A word to an ingest that died before it answered is lost, so ask until one answers."""
        while not self._ingest.is_set():
            try:
                status = json.loads(await self._relay.status())
            except Unanswered:
                continue
            # The supervisor will tell of this very life: no reason to connect anew, and leave publishes unanswered.
            self._boot = self._boot or int(status.get("ingest", {}).get("life", "0"), 16)
            self._ingest.set()


def _log_fault(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Something of ours failed in a callback, where nobody waits for it: the others are served on."""
    log.get().error("a fault in the gateway", what=str(context.get("message")), exc_info=context.get("exception"))


def _shown(at: socket.socket) -> str:
    address, port = at.getsockname()[:2]
    return f"{host_of(address)}:{port}"


def connection_limit(listeners: int) -> int:
    """Connections each listener may have: CONNECTIONS_LIMIT, or what the limit of open files leaves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_LIMIT * listeners + OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return CONNECTIONS_LIMIT
    limit = max(1, (soft - min(OWN_FILES, soft // 2)) // max(1, listeners))
    log.get().warning("fewer connections than usual: the limit of open files is low", connections=limit, files=soft)
    return limit
