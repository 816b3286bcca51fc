"""Ingest's end of the work link: which workers are there, what they say, what they are sent.

    lifeline Peer + work Join   -> the worker may be given work (in either order)
    lifeline Gone               -> what it had sent is read first, then what it held runs elsewhere
A worker whose frames do not parse is given nothing more, and its end is asked for: only a Gone says that it is over.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from farm import log
from farm.errors import WireError
from farm.ingest.circuit import Circuit
from farm.ingest.dispatcher import SLOW_S, Dispatcher
from farm.wire import work
from farm.wire.lifeline import ChildEnd, Gone, Peer, Restart
from farm.wire.pulse import Board
from farm.wire.sockets import RECEIVE_LIMIT, Router

HELD_LIMIT: Final = 256  # Joins of workers that the supervisor has not named yet
GONE_WAIT_S: Final = 0.002  # what a dead worker had sent may still be on its way through our own sockets
REVOKE_WAIT_S: Final = 0.001
UNREACHABLE_S: Final = 1.0  # after which a worker that cannot be sent to, and has not died, is ended


class Crew:
    """The workers."""

    def __init__(
        self, router: Router, dispatcher: Dispatcher, circuit: Circuit, lifeline: ChildEnd, board: Board
    ) -> None:
        self.boot: Final = int.from_bytes(os.urandom(7), "big") | 1
        self._router = router
        self._dispatcher = dispatcher
        self._circuit = circuit
        self._lifeline = lifeline
        self._board = board
        self._named: dict[bytes, Peer] = {}
        self._joins: dict[bytes, None] = {}
        self._leaving: list[tuple[float, Gone]] = []
        self._unreachable: dict[bytes, float] = {}
        self._revoked: list[tuple[float, bytes, int]] = []
        self.ignored = 0

    def receive(self, read_lifeline: Callable[[], None]) -> bool:
        """Do what workers have said since; whether more may wait.

        Args:
          read_lifeline: called when a worker speaks that the supervisor has not named yet.
        """
        arrived = self._router.receive()
        for worker, frames in arrived:
            if worker not in self._named:
                read_lifeline()
            try:
                word = work.from_worker(frames)
            except WireError as error:
                self._refuse(worker, str(error))
                continue
            if word.boot != self.boot:
                self.ignored += 1
            elif isinstance(word, work.Join):
                self._joined(worker)
            else:
                self._circuit.finished(worker, word.finished)
                self._dispatcher.returned(worker, word.returned)
        return len(arrived) == RECEIVE_LIMIT

    def named(self, peer: Peer) -> None:
        """The supervisor has forked a worker."""
        self._named[peer.id] = peer
        if peer.id in self._joins:
            self._joined(peer.id)

    def gone(self, gone: Gone, now_s: float) -> None:
        """A worker is dead and reaped."""
        self._dispatcher.suspend(gone.worker)
        self._unreachable.pop(gone.worker, None)
        self._revoked = [waiting for waiting in self._revoked if waiting[1] != gone.worker]
        self._leaving.append((now_s + GONE_WAIT_S, gone))

    def wake(self, now_s: float) -> None:
        """Let what dead workers held run elsewhere, once what they had sent was read."""
        for worker in [worker for worker, until_s in self._unreachable.items() if until_s <= now_s]:
            del self._unreachable[worker]
            self._refuse(worker, "it cannot be reached")
        if self._leaving and self._leaving[0][0] <= now_s:
            while self.receive(lambda: None):
                continue  # everything that had arrived by now counts before the end of its sender
        while self._leaving and self._leaving[0][0] <= now_s:
            gone = self._leaving.pop(0)[1]
            self._named.pop(gone.worker, None)
            self._joins.pop(gone.worker, None)
            self._router.forget(gone.worker)
            self._circuit.lost(gone)
        self._take_back(now_s)

    def _take_back(self, now_s: float) -> None:
        """Two steps, with a pause for both sides to see the other's word: revoke, then read what was started."""
        while self._revoked and self._revoked[0][0] <= now_s:
            _, worker, revoked = self._revoked.pop(0)
            if peer := self._named.get(worker):
                count = self._dispatcher.taken_back(worker, self._board.slot(peer.slot).started()[0], revoked)
                log.get().debug("taken back from a long call", worker=peer.index, messages=count)
        for worker, seq in self._dispatcher.suspects(now_s):
            peer = self._named.get(worker)
            if peer is None:
                continue  # it is dead: what it holds moves anyhow
            slot = self._board.slot(peer.slot)
            _, since_ns = slot.started()
            if since_ns and now_s * 1e9 - since_ns >= SLOW_S * 1e9:
                slot.revoke(seq)
                self._revoked.append((now_s + REVOKE_WAIT_S, worker, seq))
            else:
                self._dispatcher.cleared(worker, now_s)

    def next_wake_s(self) -> float | None:
        """When `wake` will have something to do; None: never."""
        waits = [*(until_s for until_s, _ in self._leaving), *self._unreachable.values()]
        return min([*waits, *(until_s for until_s, _, _ in self._revoked)], default=None)

    def assign(self, now_s: float) -> bool:
        """Send out what may run now; whether anything was sent."""
        sent_any = False
        for assign in self._dispatcher.assign(now_s):
            sent = self._router.send(assign.worker, work.invokes(self.boot, assign.invokes))
            if sent == "sent":
                sent_any = True
                continue
            # Mostly it has died and Gone is under way; if it lives, what it was sent before may be lost with its link.
            self._dispatcher.put_back(assign)
            self._dispatcher.suspend(assign.worker)
            self._unreachable[assign.worker] = now_s + UNREACHABLE_S
        return sent_any

    def _joined(self, worker: bytes) -> None:
        peer, sender = self._named.get(worker), self._router.peer(worker)
        if peer is None or sender is None:
            if len(self._joins) < HELD_LIMIT:
                self._joins[worker] = None
            return
        if sender.pid != peer.pid:
            log.get().error("a process that is no worker speaks as one", pid=sender.pid, worker=peer.index)
            return
        self._joins.pop(worker, None)
        if self._dispatcher.joined(worker):
            self._board.slot(peer.slot).revoke(0)  # what another life of ingest revoked says nothing of our numbers

    def _refuse(self, worker: bytes, why: str) -> None:
        log.get().error("worker cannot be understood", worker=self._index(worker), why=why)
        self._dispatcher.suspend(worker)
        if worker in self._named:
            self._lifeline.send(Restart(worker, why))

    def _index(self, worker: bytes) -> int | None:
        peer = self._named.get(worker)
        return peer.index if peer else None
