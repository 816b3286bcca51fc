"""Ingest's end of the relay: clients ask, ingest answers.

Who a client is says the kernel: our own user or root, or it is not answered. One that says what does not parse, or
does not keep its window, is cut off: forgotten, and not heard again under that routing id. One that has gone shows at
a send (a Ping every 10 s to those that listen).
One that reads late is not cut off. Answers that its full queue does not take wait here, in their order, and are said
again in every turn and every 50 ms; what it would have heard meanwhile is left out. Its window stays shut until the
answer has left, so a client that keeps it has few waiting; one above the bound is cut off.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
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
    LISTENERS_LIMIT,
    WINDOW,
    AskStatus,
    FromClient,
    FromIngest,
    Grant,
    Heard,
    Listen,
    Ping,
    Published,
    Publishes,
)
from farm.wire.sockets import RECEIVE_LIMIT, Router, Sent

CLIENTS_LIMIT: Final = 4096
CUT_OFF_LIMIT: Final = 4096  # routing ids that are remembered as cut off
UNSENT_LIMIT: Final = WINDOW + LISTENERS_LIMIT  # answers of one client that wait
UNSENT_LIMIT_BYTES: Final = 4 << 20
AGAIN_S: Final = 0.05


class _Client:
    """uid: whose it is; unanswered: batches of publishes whose answer has not left; unsent: answers that wait."""

    __slots__ = ("uid", "unanswered", "unsent", "unsent_bytes")

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.unanswered = 0
        self.unsent: deque[tuple[list[bytes], bool]] = deque()  # and whether it answers a batch
        self.unsent_bytes = 0


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
        Used on a running event loop: it brings the turn in which waiting answers are said again.
        """
        self._router = router
        self._status = status
        self._wanted = wanted
        self._late: dict[bytes, _Client] = {}  # those with unsent answers
        self._again: asyncio.TimerHandle | None = None
        self._clients: dict[bytes, _Client] = {}
        self._cut_off: dict[bytes, None] = {}
        self._spoke = False
        self._answers: list[tuple[bytes, _Client, Published]] = []  # of this turn
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
        """Say a word to a client; whether it was taken. One that has gone is forgotten.

        An answer is taken unless its client has gone or is cut off. Heard and Ping are not while its queue is full.
        """
        known = self._clients.get(client)
        if known is None:
            return False
        passing = isinstance(word, Heard | Ping)
        if passing and known.unsent:
            return False
        frames, answers = relay.pack(word), isinstance(word, Published)
        if not known.unsent:
            sent = self._send(client, known, frames, answers)
            if sent != "full" or passing:
                return sent == "sent"
        return self._keep(client, known, frames, answers)

    def flush(self) -> None:
        """Say what waits, answer what was published in this turn, and tell listeners what was heard in it.

        Answers come after the turn's work has gone to workers: a send wakes another thread, which takes longer than all
        else that a lone message needs here.
        """
        if self._late:
            self._say_again()
        answers, self._answers = self._answers, []
        for routing_id, client, answer in answers:
            if self._clients.get(routing_id) is client:
                self.send(routing_id, answer)
        self.listeners.flush()

    def spoke(self) -> bool:
        """Whether anything was sent since this was asked last."""
        spoke, self._spoke = self._spoke, False
        return spoke

    def ping(self) -> None:
        """See who has gone, and tell the others what they have not heard."""
        self._say_again()
        for routing_id in list(self._clients):
            self.send(routing_id, Ping())
        self.listeners.tell_gaps()

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
        self._answers.append((routing_id, client, answer))
        self._wanted()

    def _send(self, routing_id: bytes, client: _Client, frames: list[bytes], answers: bool) -> Sent:
        self._spoke = True
        sent = self._router.send(routing_id, frames)
        if sent == "gone":
            self._forget(routing_id)
        elif sent == "sent":
            client.unanswered -= answers
        return sent

    def _keep(self, routing_id: bytes, client: _Client, frames: list[bytes], answers: bool) -> bool:
        client.unsent.append((frames, answers))
        client.unsent_bytes += sum(map(len, frames))
        if len(client.unsent) > UNSENT_LIMIT or client.unsent_bytes > UNSENT_LIMIT_BYTES:
            self._cut(routing_id, "a client that does not read its answers")
            return False
        self._late[routing_id] = client
        self._want_again()
        return True

    def _want_again(self) -> None:
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(AGAIN_S, self._timed)

    def _timed(self) -> None:
        self._again = None
        if self._late:
            self._want_again()
            self._wanted()

    def _say_again(self) -> None:
        for routing_id, client in list(self._late.items()):
            while client.unsent:
                frames, answers = client.unsent[0]
                if self._send(routing_id, client, frames, answers) != "sent":
                    break
                client.unsent.popleft()
                client.unsent_bytes -= sum(map(len, frames))
            else:
                del self._late[routing_id]

    def _cut(self, routing_id: bytes, why: str) -> None:
        log.get().warning("client cut off", why=why)
        self._forget(routing_id)
        if len(self._cut_off) >= CUT_OFF_LIMIT:
            del self._cut_off[next(iter(self._cut_off))]
        self._cut_off[routing_id] = None

    def _forget(self, routing_id: bytes) -> None:
        self._clients.pop(routing_id, None)
        self._late.pop(routing_id, None)
        self._router.forget(routing_id)
        self.listeners.forget(routing_id)
