"""The embedded server of a broker, as the broker sees it: where it is, who we are to it, and how full its disk is.

The process itself is the supervisor's (`farm.control.server`). It writes its password, then its port; both are read
anew at each connect, for a server that was started again has others. A full disk leaves JetStream in a state that only
a restart ends: so nothing is published before it is full. A server that was full, or has not answered for long, is
ended here, and the supervisor starts it again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from farm import log
from farm.errors import BrokerUnavailable, Problem
from farm.rundir import ServerFolder

USER: Final = "farm"
SCARCE: Final = 0.20
FULL: Final = 0.05
ROOM: Final = 0.06  # there is room again
DISK_S: Final = 5.0  # between two looks at it
SILENT_S: Final = 30.0  # a server that has been away for that long, and whose process is there, is ended

Room = Literal["enough", "scarce", "none"]


class Embedded:
    """Of one broker.

    Args:
      folder: the broker's own, which is the server's too.
    """

    def __init__(self, broker: str, folder: Path) -> None:
        self._broker: Final = broker
        self._folder: Final = ServerFolder(folder)
        self._room: Room = "enough"
        self._looked_s = 0.0
        self._down_since_s = 0.0

    def servers(self) -> Sequence[str]:
        """Where it listens now. Raises: BrokerUnavailable: it does not yet."""
        for path in reversed(self._folder.ports):
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # it has just ended, or is about to write it
            return [str(url) for url in found["nats"]]
        todo = "Free some disk space" if self.fault else f"If it never does, see {self._folder.log}"
        raise BrokerUnavailable(Problem("the server has not started yet", why=self.fault, todo=todo))

    def identity(self, _nonce: str) -> dict[str, str]:
        """Who we are. Raises: BrokerUnavailable: it has written no password yet."""
        try:
            return {"user": USER, "pass": self._folder.password.read_text(encoding="utf-8")}
        except OSError as error:
            raise BrokerUnavailable(Problem("no password of the server", why=error.strerror or "")) from error

    @property
    def fault(self) -> str:
        """Why nothing may be published; empty: it may."""
        if self._room != "none":
            return ""
        return f"less than {FULL:.0%} of the disk are free, where the embedded server keeps its streams"

    def look(self, now_s: float, *, up: bool) -> None:
        """Look at the disk and at the server, now and then.

        Args:
          up: whether the server answers.
        """
        if up:
            self._down_since_s = 0.0
        elif not self._down_since_s:
            self._down_since_s = now_s
        elif now_s - self._down_since_s > SILENT_S:
            self._down_since_s = now_s
            self._end(signal.SIGKILL, "it does not answer")
        if now_s - self._looked_s >= DISK_S:
            self._looked_s = now_s
            self._look_at_disk()

    def _look_at_disk(self) -> None:
        before = self._room
        usage = shutil.disk_usage(self._folder.path)
        free = usage.free / usage.total
        full = free < (ROOM if before == "none" else FULL)
        self._room = "none" if full else "scarce" if free < SCARCE else "enough"
        if self._room != before:
            say = log.get().info if self._room == "enough" else log.get().warning
            say("disk of the embedded server", broker=self._broker, room=self._room, free_percent=round(free * 100))
        if before == "none" and self._room != "none":
            self._end(signal.SIGTERM, "the disk was full")

    def _end(self, number: signal.Signals, why: str) -> None:
        """Have the supervisor start it again."""
        for path in self._folder.ports:
            digits = "".join(c for c in path.stem if c.isdigit())
            if digits and self._is_ours(int(digits)):
                log.get().warning("the embedded server is started again", broker=self._broker, pid=int(digits), why=why)
                with suppress(ProcessLookupError):  # it has ended by itself
                    os.kill(int(digits), number)

    def _is_ours(self, pid: int) -> bool:
        """Whether a process is the server of this folder: pids are used again."""
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return os.fsencode(self._folder.config) in words
