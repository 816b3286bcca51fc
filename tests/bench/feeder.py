"""What feeds those that echo over a server, and counts what comes back: bytes made once, so that it is no part of the
figure.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from tests.bench.report import Say

BLOCK: Final = 64  # messages in one write
WARM_S: Final = 0.5
PATIENCE_S: Final = 30.0


class Feeder:
    """Publishes blocks and counts marks. What they are in a protocol is said by a subclass.

    window: messages on their way at most; probe_s: how long to wait for the answer to the first block.
    """

    window: ClassVar[int]
    probe_s: ClassVar[float]

    def __init__(self, port: int, block: bytes, mark: bytes) -> None:
        """
        Args:
          block: BLOCK messages; mark: what each answer has once.
        """
        self._socket: Final = socket.create_connection(("127.0.0.1", port))
        self._socket.settimeout(PATIENCE_S)
        self._block: Final = block
        self._mark: Final = mark
        self._rest = b""
        self._ahead = 0

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def wait_ready(self, name: str) -> None:
        """Until somebody answers."""
        end_s = time.monotonic() + PATIENCE_S
        self._socket.settimeout(self.probe_s)
        while time.monotonic() < end_s:
            self._socket.sendall(self._block)
            try:
                while not self._take():
                    pass
            except TimeoutError:
                continue
            self._drain()
            return
        raise TimeoutError(f"nobody echoes for {name}")

    def rate(self, seconds: float) -> float:
        """Answers per second."""
        self._flood(WARM_S)
        began_s = time.monotonic()
        count = self._flood(seconds)
        took_s = time.monotonic() - began_s
        self._drain()
        return count / took_s

    def heard(self, data: bytes) -> None:
        """What came; a protocol may have to answer it."""

    def _flood(self, seconds: float) -> int:
        end_s, count = time.monotonic() + seconds, 0
        while time.monotonic() < end_s:
            while self._ahead <= self.window - BLOCK:
                self._socket.sendall(self._block)
                self._ahead += BLOCK
            taken = self._take()
            self._ahead -= taken
            count += taken
        return count

    def _drain(self) -> None:
        """Take what is still on its way; what was lost before somebody listened never comes."""
        self._socket.settimeout(0.5)
        try:
            while True:
                self._take()
        except TimeoutError:
            self._ahead = 0
        self._socket.settimeout(PATIENCE_S)

    def _take(self) -> int:
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed the connection")
        self.heard(data)
        data = self._rest + data
        self._rest = data[-len(self._mark) + 1 :]
        return data.count(self._mark)


@dataclass(frozen=True)
class Stand:
    """Everything that is measured, ready. what: the section; pids: of all its processes."""

    what: str
    feeders: Mapping[str, Feeder]
    pids: Sequence[int]

    def round(self, number: int, seconds: float, say: Say) -> dict[str, float]:
        """Each in turn: answers per second."""
        say(f"{self.what}: round {number + 1}")
        names = list(self.feeders)[:: 1 if number % 2 else -1]
        return {name: self.feeders[name].rate(seconds) for name in names}
