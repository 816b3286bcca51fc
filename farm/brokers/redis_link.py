"""One connection to one Redis server: commands go out in order, replies come back in the same.

    send, ask > all of a turn of the loop in one write > server > every reply to the one who asked
    told      > where set, replies are what the server says unasked (pub/sub): a list for each chunk that came
A command has a patience; when it is over, or a PING of ours has no answer, the connection is taken for dead.
Source: Redis documentation, "Redis serialization protocol specification" (RESP2).
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, cast

import hiredis

from farm.brokers.faults import CLOSED, NO_ANSWER, NO_TLS, words_of

ANSWER_S: Final = 4.0  # what waits for an answer hears of it within 5 s
CONNECT_S: Final = 4.0
PING_S: Final = 10.0
WRITE_LIMIT_BYTES: Final = 64 << 20  # what may wait for a server that reads slowly
KEEPALIVE_S: Final = 10
USER_TIMEOUT_MS: Final = 20_000

Word = str | bytes | int
OnReply = Callable[[object], None]
_NOTHING: Final = object()
_pack: Final = cast("Callable[[tuple[Word, ...]], bytes]", hiredis.pack_command)
_SCRIPT: Final = re.compile(r",? ?(on @user_script.*|script: [0-9a-f]{40}.*)$")
# Redis 6.2 has it in front, and what it says itself within a script begins as its replies do.
_SCRIPT_BEFORE: Final = re.compile(r"^(?:ERR Error running script \(call to f_\w+\): )?(?:@user_script: ?\d+: )+-?")
_FORBIDDEN: Final = ("The user executing the script can't", "ACL failure in script")  # to 7.0, and since


class LinkFault(Exception):
    """The connection could not be made, or has ended; the text is one line for people."""


class ServerFault(Exception):
    """The server's error reply. text: all of it, without a script's place.

    code: its first word, such as WRONGTYPE; NOPERM for whatever this user may not do.
    """

    def __init__(self, said: str) -> None:
        said = _SCRIPT_BEFORE.sub("", said)
        self.text: Final = _SCRIPT.sub("", said).strip(" .\r\n").removeprefix("ERR ")
        self.code: Final = "NOPERM" if self.text.startswith(_FORBIDDEN) else said.partition(" ")[0]
        super().__init__(self.text)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. path: of a Unix socket, instead of the others."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")


class Link(asyncio.Protocol):
    """A connection that is made. `ended` hears once why it is over, unless `close` was called."""

    def __init__(self, address: Address, ended: Callable[[str], None]) -> None:
        self.address: Final = address
        self.told: Callable[[list[object]], None] | None = None
        self._ended: Callable[[str], None] | None = ended
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=ServerFault, notEnoughData=_NOTHING)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[OnReply, float]] = deque()  # who asked, and until when it is patient
        self._out: list[bytes] = []
        self._made_s = self._heard_s = time.monotonic()
        self._pinged_s: float | None = None  # where replies go to `told`: since when a PONG is owed
        self._lost = asyncio.Event()
        self._why = ""  # once it is over

    @property
    def answered(self) -> bool:
        """Whether anything was ever heard of the server."""
        return self._heard_s != self._made_s

    @property
    def full(self) -> bool:
        """Whether the server reads so slowly that nothing more should be written."""
        return self._transport is not None and self._transport.get_write_buffer_size() > WRITE_LIMIT_BYTES

    def send(self, command: tuple[Word, ...], on_reply: OnReply, patience_s: float = ANSWER_S) -> None:
        """Have a command done. `on_reply` gets its reply: bytes, int, None, a list, a ServerFault; or a LinkFault,
        after which nobody knows whether it was done. It is never called before this returns.
        """
        if self._ended is None:
            self._loop.call_soon(on_reply, LinkFault(self._why))
            return
        self._waiting.append((on_reply, time.monotonic() + patience_s))
        self.tell(command)

    def tell(self, command: tuple[Word, ...]) -> None:
        """Send a command whose reply goes to `told`."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(_pack(command))

    async def ask(self, *command: Word, patience_s: float = ANSWER_S) -> object:
        """The reply to a command. Raises: ServerFault, LinkFault."""
        answer: asyncio.Future[object] = self._loop.create_future()

        def note(reply: object) -> None:
            if answer.done():
                return  # who asked is gone
            if isinstance(reply, ServerFault | LinkFault):
                answer.set_exception(reply)
            else:
                answer.set_result(reply)

        self.send(command, note, patience_s)
        return await answer

    def check(self, now_s: float) -> None:
        """Look whether the server is alive; to be called every second or so."""
        if self._ended is None:
            return
        if self.told is None:
            if self._waiting:
                if now_s > self._waiting[0][1]:
                    self.fail(f"{NO_ANSWER}: it is silent")
            elif now_s - self._heard_s > PING_S:
                self.send(("PING",), _forget)
        elif self._pinged_s is not None and self._heard_s < self._pinged_s:
            if now_s - self._pinged_s > ANSWER_S:
                self.fail(f"{NO_ANSWER}: it is silent")
        elif now_s - self._heard_s > PING_S:
            self._pinged_s = now_s
            self.tell(("PING",))

    def fail(self, why: str) -> None:
        """Take the connection for dead."""
        self._end(why)
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """End it without a word; returns when the socket is closed."""
        self._ended = self._ended and _forget
        self.fail("closed")
        if self._transport is not None:
            await self._lost.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop says so."""
        self._transport = cast("asyncio.Transport", transport)
        made = transport.get_extra_info("socket")
        if made is not None and made.family in (socket.AF_INET, socket.AF_INET6):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)

    def data_received(self, data: bytes) -> None:
        """The loop has read."""
        self._heard_s = time.monotonic()
        gets = self._reader.gets
        waiting = self._waiting
        said: list[object] = []
        try:
            self._reader.feed(data)
            while (reply := gets()) is not _NOTHING:
                if self.told is not None:
                    said.append(reply)
                elif waiting:
                    waiting.popleft()[0](reply)
                else:
                    self.fail("it says what nobody asked")
                    return
        except hiredis.ProtocolError:
            self.fail("it does not speak the protocol of Redis")
            return
        if said and self.told is not None and self._ended is not None:
            self.told(said)

    def connection_lost(self, exc: Exception | None) -> None:
        """The loop says so."""
        self._lost.set()
        self._end(words_of(exc) if exc is not None else CLOSED)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and self._ended is not None:
            self._transport.write(b"".join(out) if len(out) > 1 else out[0])

    def _end(self, why: str) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        self._why = why
        waiting, self._waiting = list(self._waiting), deque()
        ended(why)
        fault = LinkFault(why)
        for on_reply, _ in waiting:
            on_reply(fault)


async def open_link(address: Address, tls: ssl.SSLContext | None, ended: Callable[[str], None]) -> Link:
    """Connect, within 4 s. Raises: LinkFault: why not."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_S):
            if address.path:
                _, link = await loop.create_unix_connection(lambda: Link(address, ended), address.path)
            else:
                name = address.host if tls is not None else None
                _, link = await loop.create_connection(
                    lambda: Link(address, ended), address.host, address.port, ssl=tls, server_hostname=name
                )
    except TimeoutError as error:
        raise LinkFault(f"{NO_ANSWER}: perhaps {NO_TLS}" if tls else NO_ANSWER) from error
    except (OSError, ssl.SSLError) as error:  # the second is one of the first, but for uvloop's own
        raise LinkFault(words_of(error)) from error
    return link


def together(faults: Iterable[tuple[Address, str]]) -> str:
    """What is wrong with several servers: those with one fault are named together."""
    named: dict[str, list[str]] = {}
    for address, why in faults:
        named.setdefault(why, []).append(str(address))
    return "; ".join(f"{', '.join(addresses)}: {why}" for why, addresses in named.items())


def _forget(_: object) -> None:
    """Nobody asks."""
