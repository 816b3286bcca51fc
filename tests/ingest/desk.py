"""The relay of ingest, and a client of it, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from farm.broker import Broker
from farm.ingest.relay import Relay
from farm.wire import relay
from farm.wire.sockets import Peer, Router, Sent
from tests.ingest.pieces import ScriptedBroker


class Desk:
    """A router on paper, and the relay behind it."""

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.arrived: list[tuple[bytes, list[bytes]]] = []
        self.sent: list[relay.FromIngest] = []
        self.full = False
        self.busy = False  # in a turn that has not come to the relay yet
        self.turned = asyncio.Event()
        self.broker = ScriptedBroker("in")
        self.broker.later = True
        brokers: dict[str, Broker] = {"in": self.broker}
        self.relay = Relay(cast(Router, self), brokers, [], lambda: b"{}", self.turn)

    def say(self, *words: relay.FromClient) -> None:
        self.arrived = [(b"client", relay.pack(word)) for word in words]
        self.relay.receive()

    def turn(self) -> None:
        if not self.busy:
            self.relay.flush()
        self.turned.set()

    def peer(self, routing_id: bytes) -> Peer | None:
        return Peer(self.uid, 0, 1)

    def forget(self, routing_id: bytes) -> None:
        pass

    def send(self, routing_id: bytes, frames: Sequence[bytes]) -> Sent:
        if self.full:
            return "full"
        self.sent.append(relay.from_ingest(list(frames)))
        return "sent"

    def receive(self) -> list[tuple[bytes, list[bytes]]]:
        return self.arrived
