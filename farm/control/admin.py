"""The supervisor's side of the admin socket: nothing in it waits and all has a bound, so no client holds the loop."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from farm import log
from farm.errors import WireError
from farm.wire import admin
from farm.wire.admin import FamilyStatus

CLIENTS_LIMIT: Final = 32
QUESTION_LIMIT_BYTES: Final = 4096


class _Client:
    """One connection."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.end = end
        self.asked = b""
        self.unsent = b""


class Admin:
    """Answers `status` with what `status()` gives, and `down` likewise after a call of `down()`."""

    def __init__(
        self,
        path: Path,
        selector: selectors.BaseSelector,
        status: Callable[[], FamilyStatus],
        down: Callable[[], None],
    ) -> None:
        """Listen.

        Raises: OSError: the path cannot be bound.
        """
        self._listening = admin.listen(path)
        self._selector = selector
        self._status = status
        self._down = down
        self._clients: list[_Client] = []
        selector.register(self._listening, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Let everybody go: the end-of-file says that the farm has gone."""
        for client in list(self._clients):
            self._drop(client)
        self._selector.unregister(self._listening)
        self._listening.close()

    def _accept(self) -> None:
        try:
            end, _ = self._listening.accept()
        except OSError as error:  # it has gone again, or there is no descriptor left for it
            log.get().debug("admin: not accepted", reason=str(error))
            return
        if not admin.permitted(end):
            log.get().warning("admin: refused a process of another user")
            end.close()
            return
        if len(self._clients) >= CLIENTS_LIMIT:
            self._drop(self._clients[0])
        client = _Client(end)
        self._clients.append(client)
        self._selector.register(end, selectors.EVENT_READ, lambda: self._serve(client))

    def _serve(self, client: _Client) -> None:
        if client not in self._clients:
            return  # it made room for another one in this same turn
        try:
            self._read(client)
            wanted = selectors.EVENT_WRITE if client.unsent else selectors.EVENT_READ
            self._selector.modify(client.end, wanted, lambda: self._serve(client))
        except EOFError:
            self._drop(client)
        except (OSError, WireError) as error:
            log.get().debug("admin: dropped a client", reason=str(error))
            self._drop(client)

    def _read(self, client: _Client) -> None:
        """Answer what was asked; while an answer is unread, nothing more is read either."""
        with suppress(BlockingIOError):  # it was woken to write
            asked = b"" if client.unsent else client.end.recv(QUESTION_LIMIT_BYTES)
            if not asked and not client.unsent:
                raise EOFError
            client.asked += asked
        self._write(client)
        while b"\n" in client.asked and not client.unsent:
            line, _, client.asked = client.asked.partition(b"\n")
            if admin.question(line).ask == "down":
                self._down()
            client.unsent = admin.answer(self._status())
            self._write(client)
        if len(client.asked) > QUESTION_LIMIT_BYTES:
            raise WireError("a question that has no end")

    def _write(self, client: _Client) -> None:
        with suppress(BlockingIOError):  # the rest goes when it has read some
            client.unsent = client.unsent[client.end.send(client.unsent) :] if client.unsent else b""

    def _drop(self, client: _Client) -> None:
        self._clients.remove(client)
        self._selector.unregister(client.end)
        client.end.close()
