"""A gateway process as its supervisor has it, and an HTTP client that sends exactly what a test says."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from farm.rundir import Rundir
from farm.wire.lifeline import Drain, ParentEnd, Peer, Ready, Refused, State, Up

TEXT = {"test": {"port": 0}, "secondary": {"port": 0, "websockets": "text"}}


@dataclass
class Child:
    """One gateway process and the supervisor's end of its lifeline."""

    process: subprocess.Popen[bytes]
    lifeline: ParentEnd
    listens: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def word(self, within_s: float = 20.0) -> Up | None:
        """The next word it says but notes, which are kept; None once it has closed its end."""
        end = time.monotonic() + within_s
        while not self.lifeline.closed:
            assert time.monotonic() < end, "it said nothing"
            select.select([self.lifeline], [], [], 0.1)
            for word in self.lifeline.receive():
                if isinstance(word, State):
                    self.notes.append(word.text)
                else:
                    return word
        return None

    def listen_for_notes(self) -> None:
        """Take in what it notes about itself; it must say nothing else."""
        for word in self.lifeline.receive():
            assert isinstance(word, State), word
            self.notes.append(word.text)

    def ready(self) -> Child:
        """Wait until it serves."""
        word = self.word()
        assert isinstance(word, Ready), word
        self.listens = word.listens
        return self

    def new_ingest(self, boot: int) -> None:
        """Tell it that ingest has begun another life."""
        assert self.lifeline.send(Peer("ingest", 0, b"", 1, 1, boot))

    def drain(self, seconds: float) -> None:
        """Tell it to drain."""
        assert self.lifeline.send(Drain(seconds))

    def address(self, broker: str = "test") -> tuple[str, int]:
        """Where a broker's gateway listens."""
        host, _, port = self.listens[broker].rpartition(":")
        return host, int(port)


@contextlib.contextmanager
def gateway(
    rundir: Rundir,
    brokers: Mapping[str, Mapping[str, Any]] | None = None,
    limits: Mapping[str, float] | None = None,
    listens: Mapping[str, str] | None = None,
) -> Iterator[Child]:
    """A gateway process, not yet ready; ended with the block."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.gateway.launch", str(theirs.fileno())),
            *(str(rundir.state), str(rundir.runtime)),
            json.dumps({"brokers": brokers or TEXT, "limits": limits or {}, "listens": listens or {}}),
        ],
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    child = Child(process, ParentEnd(ours))
    try:
        yield child
    finally:
        child.lifeline.close()
        process.kill()
        process.wait(10)


@dataclass
class Reply:
    """An HTTP answer, taken apart."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The problem it carries."""
        assert self.headers["content-type"] == "application/problem+json", self
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        return found


class Wire:
    """One TCP connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.socket = socket.create_connection(address, timeout=20)
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Send these bytes."""
        self.socket.sendall(data)

    def request(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        """One request and its answer. A header whose value is empty is left out."""
        fields = {"Host": f"{self.address[0]}:{self.address[1]}", **(headers or {})}
        if body or method == "POST":
            fields.setdefault("Content-Length", str(len(body)))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        self.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        return self.reply()

    def reply(self) -> Reply:
        """The next answer."""
        head = self._until(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = self._take(int(headers.get("content-length", 0)))
        return Reply(int(status.split()[1]), headers, body)

    def ended(self) -> bool:
        """Wait until the other end has closed; whether it sent nothing more."""
        rest = self._buffer
        try:
            while chunk := self.socket.recv(65536):
                rest += chunk
        except ConnectionResetError:
            pass
        return not rest

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._more()
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found

    def _more(self) -> None:
        chunk = self.socket.recv(65536)
        if not chunk:
            raise EOFError(f"closed after {self._buffer!r}")
        self._buffer += chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def refusal(child: Child) -> Refused:
    """What a gateway that cannot start says."""
    word = child.word()
    assert isinstance(word, Refused), word
    return word


def never_reads(address: tuple[str, int], pattern: str) -> socket.socket:
    """A WebSocket whose client takes nothing more after the upgrade, with little room for it to lie in."""
    host, port = address
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.connect((host, port))
    head = (
        f"GET /subscribe/{pattern} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    one.sendall(head.encode())
    assert one.recv(12) == b"HTTP/1.1 101"
    return one
