"""One TCP (or TLS) connection to one NATS server, from its first word (INFO) to its end."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlsplit

from farm.brokers.faults import CLOSED, NO_TLS, words_of
from farm.brokers.nats_protocol import CRLF, LINE_LIMIT_BYTES, Malformed, Parser, Raw
from farm.brokers.tls import context_of
from farm.errors import printable
from farm.spec import TlsSpec

PORT: Final = 4222
SECURE: Final = "tls"

OnMessages = Callable[[bytes, list[Raw]], None]
OnLine = Callable[[bytes], None]
OnEnd = Callable[[str], None]


class LinkFault(Exception):
    """Why there is no connection: one line."""


@dataclass(frozen=True)
class Server:
    """One of a cluster. name: what its certificate is for, where that is another than `host`."""

    host: str
    port: int
    name: str
    tls: bool

    @property
    def at(self) -> str:
        """For people: as farm.toml has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return printable(f"{SECURE if self.tls else 'nats'}://{host}:{self.port}")


def server_of(text: str) -> Server:
    """The server of `host`, `host:port` or a URL.

    Raises: LinkFault: there is none in it.
    """
    try:
        parts = urlsplit(text if "://" in text else f"nats://{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise LinkFault("it is no address of a server") from error
    if not host:
        raise LinkFault("there is no host in it")
    return Server(host, port or PORT, host, parts.scheme == SECURE)


def others_of(urls: object, told_by: Server) -> list[Server]:
    """The servers of a cluster that one of it tells of: what their certificates are for, and whether they want TLS, is
    as with that one. An address that is none is of no use.
    """
    found: list[Server] = []
    for url in cast("list[object]", urls) if isinstance(urls, list) else ():
        with suppress(LinkFault):
            server = server_of(str(url))
            found.append(Server(server.host, server.port, told_by.name, told_by.tls))
    return found


class Link(asyncio.Protocol):
    """The socket. It hears INFO by itself; what follows goes to those that `serve` names."""

    def __init__(self) -> None:
        self.info: Mapping[str, Any] = {}
        self.secure = False
        self.ended: Final = asyncio.Event()
        self._greeted: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._greeting = b""  # until INFO is whole; then what comes behind it, before anybody is served
        self._fault = ""  # why it has ended
        self._transport: asyncio.Transport | None = None
        self._parser: Parser | None = None
        self._on_end: OnEnd | None = None

    @property
    def unsent_bytes(self) -> int:
        """What was written and is still in this process."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def serve(self, on_messages: OnMessages, on_line: OnLine, on_end: OnEnd) -> None:
        """From now on tell these what comes, and of the end, which is told once; both may have come already."""
        self._parser = Parser(on_messages, on_line)
        self._on_end = on_end
        if self._greeting:
            self._feed(self._parser, self._greeting)
        if self.ended.is_set():
            self._end(self._fault)

    def write(self, data: bytes) -> None:
        """Send; what the socket does not take waits."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """End it now; nobody is told."""
        self._on_end = None
        self._parser = None
        if self._transport is not None:
            self._transport.abort()

    async def greet(self, tls: ssl.SSLContext | None, server: Server, *, first: bool) -> None:
        """Hear INFO, and go over to TLS if it is asked for.

        Raises: LinkFault, OSError.
        """
        if first and tls is not None:
            await self._secure(tls, server)
        await self._greeted
        offered = bool(self.info.get("tls_required") or self.info.get("tls_available"))
        if self.secure:
            return
        if tls is None and self.info.get("tls_required"):
            tls = ssl.create_default_context()
        if tls is not None:
            if not offered:
                raise LinkFault(NO_TLS)
            await self._secure(tls, server)

    async def _secure(self, context: ssl.SSLContext, server: Server) -> None:
        assert self._transport is not None
        self._greeting = b""  # what was said in the clear is nothing to go by
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(self._transport, self, context, server_hostname=server.name)
        if transport is None:
            raise LinkFault(CLOSED)
        self._transport = transport
        self.secure = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Of asyncio. What is no NATS ends the connection."""
        parser = self._parser
        if parser is None:
            self._hear_greeting(data)
        else:
            self._feed(parser, data)

    def _feed(self, parser: Parser, data: bytes) -> None:
        try:
            parser.feed(data)
        except Malformed as error:
            self._end(str(error))
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio."""
        fault = words_of(exc) if exc is not None else CLOSED
        if not self._greeted.done():
            self._greeted.set_exception(LinkFault(fault))
            self._greeted.exception()  # whoever waits hears it; nobody may
        self._fault = fault
        self._end(fault)
        self.ended.set()

    def _end(self, fault: str) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(fault)

    def _hear_greeting(self, data: bytes) -> None:
        self._greeting += data
        if self._greeted.done():
            return
        line, end, rest = self._greeting.partition(CRLF)
        if not end and len(line) < LINE_LIMIT_BYTES:
            return
        self._greeting = rest
        try:
            if not line.startswith(b"INFO"):
                raise ValueError(line)
            self.info = info_of(line)
        except ValueError:
            self._greeted.set_exception(LinkFault("it does not speak NATS"))
        else:
            self._greeted.set_result(None)


def info_of(line: bytes) -> dict[str, Any]:
    """What an INFO says. Raises: ValueError: it is no object of JSON."""
    info = json.loads(line[4:])
    if not isinstance(info, dict):
        raise ValueError("no object")
    return cast("dict[str, Any]", info)


async def connect(server: Server, tls: TlsSpec | None, *, first: bool) -> Link:
    """A connection that has heard INFO, in TLS where that was asked for by us or by the server.

    Args:
      first: TLS begins before the server's first word.
    Raises: LinkFault, OSError, ValueError (a host name that is none): there is none, and nothing is left of it.
    """
    context = context_of(tls, LinkFault) if tls is not None else ssl.create_default_context() if server.tls else None
    loop = asyncio.get_running_loop()
    _, link = await loop.create_connection(Link, server.host, server.port)
    try:
        await link.greet(context, server, first=first)
    except BaseException:
        link.abort()
        raise
    return link
