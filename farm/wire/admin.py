"""The admin socket: CLI <-> supervisor. Questions about processes; those about messages go to the relay.

    client > supervisor   one JSON object a line: {"ask": "status"} | {"ask": "down"}
    supervisor > client   one JSON object a line; to `down` it is the status, then end-of-file when farm is gone
A Unix stream socket in the runtime directory, own uid or root by SO_PEERCRED.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Final, Literal

import msgspec

from farm.errors import FarmError, NotPermitted, NotRunning, Problem, Unanswered, WireError
from farm.wire import frames

LINE_LIMIT_BYTES: Final = 1 << 20

FarmState = Literal["starting", "ready", "degraded", "draining"]
ProcessState = Literal["starting", "ready", "draining", "restarting"]


class Question(msgspec.Struct, frozen=True):
    """What a client asks."""

    ask: Literal["status", "down"]


class ProcessStatus(msgspec.Struct, frozen=True):
    """One process of the family; pid is None while it has none."""

    role: str
    index: int
    pid: int | None
    state: ProcessState
    restarts: int
    note: str = ""


class FamilyStatus(msgspec.Struct, frozen=True):
    """What the supervisor knows. listens: broker -> "host:port"; digests: component -> sha256 of its .wasm."""

    app: str
    state: FarmState
    pid: int
    processes: list[ProcessStatus]
    listens: dict[str, str]
    digests: dict[str, str]
    uptime_s: float = 0.0


_QUESTION: Final = msgspec.json.Decoder(Question)
_STATUS: Final = msgspec.json.Decoder(FamilyStatus)
_ENCODER: Final = msgspec.json.Encoder()


def listen(path: Path) -> socket.socket:
    """The supervisor's listening socket, non-blocking.

    Raises: OSError: the path cannot be bound.
    """
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.bind(str(path))
    except OSError as error:
        server.close()
        raise OSError(error.errno, error.strerror, str(path)) from error  # which path, bind does not say
    server.listen(16)
    server.setblocking(False)
    return server


def permitted(client: socket.socket) -> bool:
    """Whether the peer is our own user or root."""
    raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", raw)
    return uid in (0, os.getuid())


def question(line: bytes) -> Question:
    """What a client's line asks.

    Raises: WireError: it asks nothing that is known.
    """
    return frames.decode(_QUESTION, line, "a question to the admin socket")


def answer(status: FamilyStatus) -> bytes:
    """The line that answers a question."""
    return _ENCODER.encode(status) + b"\n"


def ask(path: Path, what: Literal["status", "down"], timeout_s: float) -> tuple[FamilyStatus, socket.socket]:
    """Ask the supervisor; its answer, and the open socket (whose end-of-file says that farm is gone).

    Raises:
      NotRunning: nobody listens, or it went away in between.
      NotPermitted: it is another user's.
      Unanswered: no answer within `timeout_s`, or too many are asking.
      WireError: an answer that does not parse.
    """
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(timeout_s)
    try:
        client.connect(str(path))
        client.sendall(_ENCODER.encode(Question(what)) + b"\n")
        return frames.decode(_STATUS, _line_of(client), "an answer of the admin socket"), client
    except BaseException as error:
        client.close()
        fault = _fault(error, path, timeout_s)
        if fault is None:
            raise
        raise fault from error


def _fault(error: BaseException, path: Path, timeout_s: float) -> FarmError | None:
    """What an error of the connection means; None: what it says."""
    match error:
        case EOFError():
            return NotRunning(Problem("the farm went away", where=str(path)))
        case FileNotFoundError() | ConnectionError():
            return NotRunning(Problem("no farm is running here", todo="Start one with `farm up`"))
        case TimeoutError() | BlockingIOError():  # the second: those it has not heard yet fill its queue
            return Unanswered(Problem("the farm gave no answer", why=f"within {timeout_s:g} s"))
        case PermissionError():
            return NotPermitted(Problem("cannot ask this farm", where=str(path), why=error.strerror or ""))
        case _:
            return None


def _line_of(client: socket.socket) -> bytes:
    """Raises: EOFError, WireError: there is none, or it has no end."""
    line = b""
    while not line.endswith(b"\n"):
        chunk = client.recv(65536)
        if not chunk:
            raise EOFError
        line += chunk
        if len(line) > LINE_LIMIT_BYTES:
            raise WireError("an answer of the admin socket that has no end")
    return line
