"""Ingest's end of the relay: clients ask, ingest answers.

Who a client is says the kernel: our own user or root, or it is not answered. One that says what does not parse, or
does not keep its window, is cut off: forgotten, and not heard again under that routing id. One that has gone shows at
a send (a Ping every 10 s to those that listen).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from farm import log
from farm.broker import Broker
from farm.errors import WireError
from farm.ingest.listeners import Listeners
from farm.ingest.publishing import Publishing
from farm.ingest.table import Trigger
from farm.wire import relay
from farm.wire.relay import (
    BATCH_COUNT_LIMIT,
    WINDOW,
    AskStatus,
    FromClient,
    FromIngest,
    Grant,
    Listen,
    Published,
    Publishes,
)
from farm.wire.sockets import RECEIVE_LIMIT, Router

CLIENTS_LIMIT: Final = 4096
CUT_OFF_LIMIT: Final = 4096  # routing ids that are remembered as cut off


class _Client:
    """uid: whose it is; unanswered: batches of publishes."""

    __slots__ = ("uid", "unanswered")

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.unanswered = 0


class Relay:
    """The router and everyone who talks to it."""

    def __init__(
        self,
        router: Router,
        brokers: Mapping[str, Broker],
        triggers: Sequence[Trigger],
        status: Callable[[], bytes],
        wanted: Callable[[], None],
    ) -> None:
        """
        Args:
          status: what AskStatus is answered with, as JSON.
          wanted: ask for a turn, in which `flush` is called.
        """
        self._router = router
        self._status = status
        self._clients: dict[bytes, _Client] = {}
        self._cut_off: dict[bytes, None] = {}
        self._spoke = False
        self.listeners = Listeners(brokers, self.send, wanted)
        self.publishing = Publishing(brokers, triggers, self.listeners)

    def receive(self) -> bool:
        """Do what clients have asked since; whether more may wait."""
        arrived = self._router.receive()
        for routing_id, frames in arrived:
            client = self._client(routing_id)
            if client is None:
                continue
            try:
                self._do(routing_id, client, relay.from_client(frames))
            except WireError as error:
                self._cut(routing_id, str(error))
        return len(arrived) == RECEIVE_LIMIT

    def send(self, client: bytes, word: FromIngest) -> bool:
        """Say a word to a client; whether it was taken. One that has gone is forgotten."""
        self._spoke = True
        sent = self._router.send(client, relay.pack(word))
        if sent == "gone":
            self._forget(client)
        return sent == "sent"

    def flush(self) -> None:
        """Tell listeners what was heard in this turn."""
        self.listeners.flush()

    def spoke(self) -> bool:
        """Whether anything was sent since this was asked last."""
        spoke, self._spoke = self._spoke, False
        return spoke

    def ping(self) -> None:
        """See who has gone."""
        for routing_id in list(self._clients):
            self.send(routing_id, relay.Ping())

    def _client(self, routing_id: bytes) -> _Client | None:
        client = self._clients.get(routing_id)
        if client is not None or routing_id in self._cut_off:
            return client
        peer = self._router.peer(routing_id)
        if peer is None or peer.uid not in (0, os.getuid()):
            self._cut(routing_id, "a client of another user")
            return None
        if len(self._clients) >= CLIENTS_LIMIT:
            self.ping()  # those that have gone make room
        if len(self._clients) >= CLIENTS_LIMIT:
            self._cut(routing_id, f"{CLIENTS_LIMIT} clients are here already")
            return None
        client = self._clients[routing_id] = _Client(peer.uid)
        return client

    def _do(self, routing_id: bytes, client: _Client, word: FromClient) -> None:
        if isinstance(word, Publishes):
            client.unanswered += 1
            if client.unanswered > WINDOW or len(word.items) > BATCH_COUNT_LIMIT:
                raise WireError(f"more than {WINDOW} batches unanswered, or {BATCH_COUNT_LIMIT} items in one")
            self.publishing.publish(str(client.uid), word, partial(self._answer, routing_id, client))
        elif isinstance(word, Listen):
            self.listeners.listen(routing_id, word)
        elif isinstance(word, Grant):
            self.listeners.grant(routing_id, word.listener, word.count)
        elif isinstance(word, AskStatus):
            self.send(routing_id, relay.StatusAnswer(word.question, self._status()))
        else:
            self.listeners.unlisten(routing_id, word.listener)

    def _answer(self, routing_id: bytes, client: _Client, answer: Published) -> None:
        client.unanswered -= 1
        if not self.send(routing_id, answer) and routing_id in self._clients:
            self._cut(routing_id, "a client that does not read its answers")

    def _cut(self, routing_id: bytes, why: str) -> None:
        log.get().warning("client cut off", why=why)
        self._forget(routing_id)
        if len(self._cut_off) >= CUT_OFF_LIMIT:
            del self._cut_off[next(iter(self._cut_off))]
        self._cut_off[routing_id] = None

    def _forget(self, routing_id: bytes) -> None:
        self._clients.pop(routing_id, None)
        self._router.forget(routing_id)
        self.listeners.forget(routing_id)
