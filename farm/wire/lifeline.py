"""The lifeline: supervisor <-> one child, for as long as both live.

    child > supervisor   Ready | Refused | State | Inspected | Restart       end of file: the child died
    supervisor > child   Peer | Gone | Quiet | Drain                         end of file: exit now, you are an orphan
A socketpair of datagrams and no ZeroMQ, because the supervisor forks for its whole life. A dead end shows as
end-of-file, or first as ECONNRESET when it died with something unread; what it had still said comes all the same.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Final

import msgspec

from farm.rundir import Rundir
from farm.spec import FarmSpec
from farm.wire import frames
from farm.wire.pulse import Board, Pulse

WORD: Final = "a word on the lifeline"
WORD_LIMIT_BYTES: Final = 128 << 10


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The child serves. listens: broker name -> "host:port" (a gateway's); boot: the nonce of this life of ingest."""

    listens: dict[str, str] = {}
    boot: int = 0


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The child cannot start, and trying again would not help: while farm starts, this ends it."""

    exit_code: int
    problems: list[str]


class State(msgspec.Struct, frozen=True, tag="state"):
    """What `farm status` shall say of this process, for a person."""

    text: str


class Inspected(msgspec.Struct, frozen=True, tag="inspected"):
    """The compiler's report of one .wasm.

    entry: the cache entry workers may map (opaque, see workers/cache), empty when there is none; compiled: whether it
    was compiled now; exit_code: what a problem ends farm with, 0 without one.
    """

    component: str
    digest: str
    entry: bytes
    problems: list[str]
    compiled: bool
    warnings: list[str] = []
    exit_code: int = 0


class Restart(msgspec.Struct, frozen=True, tag="restart"):
    """This child asks for the end of another: of worker `worker`, whose frames do not parse."""

    worker: bytes
    why: str


class Peer(msgspec.Struct, frozen=True, tag="peer"):
    """Another process is there: ingest hears of workers and gateway, they hear of each life of ingest.

    id: the routing id on its link; slot: its slot of the pulse; boot: ingest's nonce (0 for others).
    """

    role: str
    index: int
    id: bytes
    slot: int
    pid: int
    boot: int = 0


class Gone(msgspec.Struct, frozen=True, tag="gone"):
    """A worker has died and was reaped.

    started: the sequence number its slot held; running: whether that call was still running; late: it was killed
    because it broke its promise. why: `signal 9`, `exit 70`.
    """

    worker: bytes
    started: int
    running: bool
    late: bool
    why: str


class Quiet(msgspec.Struct, frozen=True, tag="quiet"):
    """Take nothing more from brokers; go on with what is there and with what clients ask."""


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Finish what is in flight within `seconds`, then exit 0."""

    seconds: float


Up = Ready | Refused | State | Inspected | Restart
Down = Peer | Gone | Quiet | Drain

_ENCODER: Final = msgspec.msgpack.Encoder()
_UP: Final = msgspec.msgpack.Decoder(Up)
_DOWN: Final = msgspec.msgpack.Decoder(Down)


class _End:
    """One end of the socketpair. `closed` turns true when the other end has died."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self.closed = False
        end.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end: the other one sees end-of-file."""
        self.closed = True
        self._socket.close()

    def _send(self, word: Up | Down) -> bool:
        try:
            self._socket.send(_ENCODER.encode(word))
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True
        except BlockingIOError:
            return False
        return not self.closed

    def _receive(self) -> list[bytes]:
        words: list[bytes] = []
        while self._socket.fileno() >= 0:
            try:
                word = self._socket.recv(WORD_LIMIT_BYTES)
            except BlockingIOError:
                break
            except ConnectionResetError:
                self.closed = True
                continue  # told once, before what the dead one had still said
            if not word:
                self.closed = True
                break
            words.append(word)
        return words


class ChildEnd(_End):
    """The child's end."""

    def send(self, word: Up) -> bool:
        """Say a word to the supervisor; False when it has died or does not read."""
        return self._send(word)

    def receive(self) -> list[Down]:
        """What the supervisor has said since; look at `closed` afterwards."""
        return [frames.decode(_DOWN, word, WORD) for word in self._receive()]


class ParentEnd(_End):
    """The supervisor's end."""

    def send(self, word: Down) -> bool:
        """Say a word to the child; False when it has died or does not read."""
        return self._send(word)

    def receive(self) -> list[Up]:
        """What the child has said since; look at `closed` afterwards.

        Raises: WireError: a word that does not parse.
        """
        return [frames.decode(_UP, word, WORD) for word in self._receive()]


@dataclass(frozen=True)
class Post:
    """Where a child stands: all that a role's `main(post) -> exit code` is given, after the fork.

    index: 0, 1, .. within the role; id: the routing id on the work link, 16 bytes (a worker's); slot: its slot of the
    pulse, which `pulse` writes.
    listens: broker name -> "host:port" of this role's life before, so that port 0 stays what it became (a gateway's).
    entries: component name -> what the compiler reported of it (`Inspected.entry`).
    secrets: the descriptor of the sealed memory file, for roles that read secrets (`farm.secrets`).
    The log is configured already, signals are ignored: only the lifeline ends a child.
    """

    spec: FarmSpec
    rundir: Rundir
    role: str
    index: int
    id: bytes
    slot: int
    lifeline: ChildEnd
    pulse: Pulse
    board: Board
    listens: dict[str, str] = field(default_factory=dict[str, str])
    entries: dict[str, bytes] = field(default_factory=dict[str, bytes])
    secrets: int | None = None


def pair() -> tuple[ParentEnd, ChildEnd]:
    """The two ends of a new lifeline."""
    parent, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return ParentEnd(parent), ChildEnd(child)
