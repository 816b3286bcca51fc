"""Sanic's protocol with what it lacks: heads checked before they are read, absolute times, a cap on connections.

Sanic restarts its timers with every byte, so that a client which sends one now and then lives for ever.
Here alone we reach into Sanic's protocol: the casts of its untyped parts are in this file.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final, cast

from sanic.exceptions import BadRequest, RequestTimeout, SanicException
from sanic.http import Http
from sanic.models.server_types import ConnInfo
from sanic.server.protocols.websocket_protocol import WebSocketProtocol

from farm.gateway import problems
from farm.gateway.guard import refuse

HEAD_S: Final = 10.0
BODY_S: Final = 30.0
CLOSE_S: Final = 2.0  # for a WebSocket's closing handshake
CONNECTIONS_LIMIT: Final = 2000  # of one listener


@dataclass(frozen=True)
class Limits:
    """What a listener's clients may take."""

    head_s: float = HEAD_S
    body_s: float = BODY_S
    connections: int = CONNECTIONS_LIMIT


class GuardedHttp(Http):
    """One connection's requests."""

    __slots__ = ()

    async def http1_request_header(self) -> None:
        """Read a head; refuse it before Sanic reads it its own way."""
        protocol = cast("Guarded", self.protocol)
        buffer = cast("bytearray", self.recv_buffer)
        limits = protocol.limits()
        protocol.until(limits.head_s)
        start = 0
        while (at := buffer.find(b"\r\n\r\n", start)) < 0:
            if len(buffer) > self.HEADER_MAX_SIZE:
                break
            start = max(0, len(buffer) - 3)
            await cast("Any", self)._receive_more()
        if not 0 <= at <= self.HEADER_MAX_SIZE:
            raise SanicException(f"the request's head exceeds {self.HEADER_MAX_SIZE} bytes", 431)
        if why := refuse(bytes(buffer[:at])):
            self.keep_alive = False  # where the next request begins is not to be trusted any more
            raise BadRequest(why)
        await super().http1_request_header()
        protocol.until(limits.body_s if self.request_body else None)


class Guarded(WebSocketProtocol):
    """One connection."""

    HTTP_CLASS = GuardedHttp
    __slots__ = ("_alarm",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        cast("Any", super()).__init__(*args, websocket_timeout=CLOSE_S, **kwargs)
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def _sanic(self) -> Any:
        return self

    def limits(self) -> Limits:
        """What this listener's clients may take."""
        return self._sanic.app.ctx.limits

    def until(self, seconds: float | None) -> None:
        """Give what comes next so much time, whatever arrives meanwhile; None: all it wants."""
        if self._alarm is not None:
            self._alarm.cancel()
        loop: asyncio.AbstractEventLoop = self._sanic.loop
        self._alarm = None if seconds is None else loop.call_later(seconds, self._late)

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A client has connected."""
        limits = self.limits()
        if len(self._sanic.connections) < limits.connections:
            cast("Any", super()).connection_made(transport)
            self.until(limits.head_s)  # a connection that says nothing ends too
            return
        # As little as `connection_lost` needs, and no request is ever read.
        self.transport = transport
        self.conn_info = ConnInfo(cast("Any", transport))
        self.recv_buffer = bytearray()
        transport.write(_refusal(limits.connections))
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self.until(None)
        if (timer := self._sanic._callback_check_timeouts) is not None:
            timer.cancel()  # Sanic leaves a WebSocket's to run: it would keep 16 KB of each for half a minute
        cast("Any", super()).connection_lost(exc)

    def _late(self) -> None:
        http = self._sanic._http  # it is false while a head is read: compare with None
        if http is not None and self._sanic._task and (http.request is None or http.request_body):
            http.exception = RequestTimeout("the request took too long to arrive")
            self._sanic._task.cancel()
            self.until(CLOSE_S)  # after the answer Sanic waits for the rest of the body: not for long


def _refusal(limit: int) -> bytes:
    document = problems.body(503, "too-many-connections", f"{limit} connections are open already")
    head = (
        f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {problems.TYPE}\r\nContent-Length: {len(document)}\r\n"
        f"Retry-After: {problems.RETRY_AFTER_S}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + document
