"""ZeroMQ, driven by hand on its file descriptor.

    Router  binds, knows each peer by its routing id and each new peer's uid and pid, sends without waiting, and cuts
            off who sends a frame of more than 16 MiB
    Dealer  connects to one Router, and takes what it sends, however large
The descriptor of a ZeroMQ socket is edge-triggered: it tells once that something changed, also after a send. So the
rule everywhere: receive until nothing is left (or ask to be called again), and look again after sends (`Pump` does).
Source: ZeroMQ zmq_getsockopt(3), ZMQ_FD; zmq.asyncio costs twice the CPU for single messages.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self, cast

import zmq

Sent = Literal["sent", "gone", "full"]  # gone: no such peer any more; full: its queue is at the high-water mark

FRAME_LIMIT_BYTES: Final = 16 << 20  # that a Router takes
QUEUE_LIMIT: Final = 4096  # messages a socket holds for one peer before it says "full"
_EVENTS: Final = zmq.EVENTS
# As ints: with the flags themselves the same questions and sends take twice as long.
_POLLIN: Final = int(zmq.POLLIN)
_NOBLOCK: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
RECEIVE_LIMIT: Final = 32  # messages taken before others get a turn


@dataclass(frozen=True)
class Peer:
    """Who sits at the other end, as the kernel says (SO_PEERCRED)."""

    uid: int
    gid: int
    pid: int


class Sockets:
    """This process's ZeroMQ: made after the fork, closed before the end."""

    def __init__(self) -> None:
        self._context = zmq.Context(io_threads=1)

    def router(self, address: str) -> Router:
        """A Router bound to an ipc address.

        Raises: OSError: the address cannot be bound.
        """
        raw = self._raw(zmq.ROUTER)
        raw.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # Of a Dealer's own Router any size: a frame above the bound ends the connection, and it is not made again.
        raw.setsockopt(zmq.MAXMSGSIZE, FRAME_LIMIT_BYTES)
        try:
            raw.bind(address)
        except zmq.ZMQError as error:
            raw.close()
            number = error.errno or errno.EIO
            raise OSError(number, os.strerror(number), address.removeprefix("ipc://")) from error
        return Router(raw)

    def dealer(self, address: str, identity: bytes = b"") -> Dealer:
        """A Dealer connected to an ipc address; it waits for a Router that is not there yet.

        Args:
          identity: the routing id its Router shall know it by; empty: the Router makes one up.
        """
        raw = self._raw(zmq.DEALER)
        raw.setsockopt(zmq.RECONNECT_IVL, 10)
        raw.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        if identity:
            raw.setsockopt(zmq.IDENTITY, identity)
        raw.connect(address)
        return Dealer(raw)

    def close(self) -> None:
        """Close the context; what is still queued is dropped."""
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _raw(self, kind: int) -> zmq.Socket[bytes]:
        raw = self._context.socket(kind)
        raw.setsockopt(zmq.LINGER, 500)
        raw.setsockopt(zmq.SNDHWM, QUEUE_LIMIT)
        raw.setsockopt(zmq.RCVHWM, QUEUE_LIMIT)
        return raw


class _Socket:
    """What both kinds share."""

    def __init__(self, raw: zmq.Socket[bytes]) -> None:
        self._raw = raw
        self.fd: int = raw.fileno()

    def readable(self) -> bool:
        """Whether a message waits. Also what re-arms the descriptor."""
        return bool(cast("int", self._raw.get(_EVENTS)) & _POLLIN)

    def close(self) -> None:
        """Close; what was sent gets half a second to leave."""
        self._raw.close()

    def _send(self, frames: Sequence[bytes]) -> None:
        """Less than half of what `send_multipart` takes. Only the first frame of a message can be refused."""
        send = self._raw.send
        for frame in frames[:-1]:
            send(frame, _MORE)
        send(frames[-1], _NOBLOCK)


class Dealer(_Socket):
    """The connecting end."""

    def send(self, frames: Sequence[bytes]) -> Sent:
        """Queue one message; "full" when the queue is at its bound and nothing was queued."""
        try:
            self._send(frames)
        except zmq.Again:
            return "full"
        return "sent"

    def receive(self, limit: int = RECEIVE_LIMIT) -> list[list[bytes]]:
        """At most `limit` messages that have arrived, each its frames; fewer means nothing is left."""
        taken: list[list[bytes]] = []
        while len(taken) < limit and self.readable():  # half the time of an attempt that raises
            taken.append(self._raw.recv_multipart(_NOBLOCK))
        return taken


class Router(_Socket):
    """The binding end. `peer(id)` says who a routing id is, known from its first message on."""

    PEERS_LIMIT: Final = 8192

    def __init__(self, raw: zmq.Socket[bytes]) -> None:
        super().__init__(raw)
        self._peers: dict[bytes, Peer] = {}

    def peer(self, routing_id: bytes) -> Peer | None:
        """Who sent as `routing_id`; None for one that never spoke or was forgotten."""
        return self._peers.get(routing_id)

    def forget(self, routing_id: bytes) -> None:
        """Drop what is known of a peer that has gone."""
        self._peers.pop(routing_id, None)

    def send(self, routing_id: bytes, frames: Sequence[bytes]) -> Sent:
        """Queue one message for one peer, without waiting."""
        try:
            self._raw.send(routing_id, _MORE)
            self._send(frames)
        except zmq.Again:
            return "full"
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return "gone"
        return "sent"

    def receive(self, limit: int = RECEIVE_LIMIT) -> list[tuple[bytes, list[bytes]]]:
        """At most `limit` messages that have arrived, each with its sender's routing id."""
        taken: list[tuple[bytes, list[bytes]]] = []
        while len(taken) < limit and self.readable():
            first = self._raw.recv(_NOBLOCK, copy=False)
            routing_id = first.bytes
            if routing_id not in self._peers:
                self._remember(routing_id, first)
            taken.append((routing_id, self._raw.recv_multipart() if first.more else []))
        return taken

    def _remember(self, routing_id: bytes, frame: zmq.Frame) -> None:
        address = str(frame.get("Peer-Address"))  # "localhost:uid:gid:pid" on ipc
        uid, gid, pid = (int(part) for part in address.split(":")[-3:])
        if len(self._peers) >= self.PEERS_LIMIT:
            del self._peers[next(iter(self._peers))]  # it is learnt again with its next message
        self._peers[routing_id] = Peer(uid, gid, pid)


class Pump:
    """Calls `on_ready` whenever a socket may have something, following the rule of its descriptor.

    `on_ready` receives from the socket and returns whether more may wait; it is called again after others had a turn.
    Call `touched` after every turn that sent: a send can swallow the edge that tells of an arrival.
    """

    def __init__(self, socket: Router | Dealer, loop: asyncio.AbstractEventLoop, on_ready: Callable[[], bool]) -> None:
        self._socket = socket
        self._loop = loop
        self._on_ready = on_ready
        self._scheduled = False
        self._closed = False
        loop.add_reader(socket.fd, self._turn)
        self.touched()

    def touched(self) -> None:
        """Look again in the next turn of the loop."""
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._scheduled_turn)

    def close(self) -> None:
        """Stop watching; the socket stays open."""
        self._closed = True
        self._loop.remove_reader(self._socket.fd)

    def _scheduled_turn(self) -> None:
        self._scheduled = False
        if not self._closed and self._socket.readable():
            self._turn()

    def _turn(self) -> None:
        if not self._closed and (self._on_ready() or self._socket.readable()):
            self.touched()
