"""The routes of one listener: publish, subscribe, and clear words for everything else.

    POST /publish/<subject>      202 `published to subject`, once ingest has it
    GET  /subscribe/<pattern>    a WebSocket
The rest of the path is the subject, percent-decoded, `/` kept: Sanic's router would have its own ideas of both, so the
paths are taken apart here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import unquote_to_bytes

from sanic.exceptions import WebsocketClosed
from sanic.request import Request
from sanic.response import HTTPResponse
from websockets.exceptions import ConnectionClosed

from farm import message, subject
from farm.client.aio import Relay
from farm.errors import FarmError
from farm.gateway.counts import Counts
from farm.gateway.guard import Door
from farm.gateway.problems import HttpProblem, problem_of
from farm.gateway.websockets import Channel, Hub, Reader, SanicPipe
from farm.spec import BrokerSpec, GatewaySpec
from farm.wire.relay import Publish

KEY_LIMIT_BYTES: Final = 256

PUBLISHED: Final = "published to subject"
NO_WEBSOCKETS: Final = "Websockets aren't supported"
NO_REQUESTS: Final = "request-response is not supported"
ROUTES: Final = "POST /publish/<subject>, GET /subscribe/<pattern> (WebSocket)"


@dataclass(frozen=True)
class Served:
    """What the requests of one listener need."""

    broker: BrokerSpec
    gateway: GatewaySpec
    door: Door
    relay: Relay
    hub: Hub
    counts: Counts


class Routes:
    """The handler of one listener."""

    is_websocket = True  # tells Sanic that there may be no response: a WebSocket has had its 101

    def __init__(self, served: Served) -> None:
        self._served = served

    async def __call__(self, request: Request) -> HTTPResponse | None:
        """Answer one request; None once its WebSocket has ended."""
        self._check_sender(request)
        route, _, rest = request.path[1:].partition("/")
        match route, bool(rest):
            case "publish", True:
                _allow(request, "POST")
                return await self._publish(request, _decoded(rest))
            case "subscribe", True:
                _allow(request, "GET")
                return await self._subscribe(request, _decoded(rest))
            case "request", True:
                return _text(400, NO_REQUESTS)
            case _:
                raise HttpProblem(404, "not-found", f"no such route; there are {ROUTES}")

    def _check_sender(self, request: Request) -> None:
        if not self._served.door.admits_host(_field(request, "host") or ""):
            raise HttpProblem(403, "foreign-host", "Host is not the address this gateway listens on")
        if not self._served.door.admits_origin(_field(request, "origin")):
            raise HttpProblem(403, "foreign-origin", "web pages of another origin may not use this gateway")

    async def _publish(self, request: Request, to: str) -> HTTPResponse:
        if to.startswith(subject.RESERVED_PREFIXES):
            raise HttpProblem(403, "reserved-subject", "this namespace belongs to farm or to a server")
        headers = _passed(request)
        key = _key(request)
        await request.receive_body()
        try:
            subject.validate(to)
            receipt = await self._served.relay.publish(
                Publish(to, request.body, self._served.broker.name, headers, None, key)
            )
        except FarmError as error:
            raise problem_of(error) from error
        matched = str(receipt.triggers + receipt.listeners)
        said = {"Farm-Message-Id": receipt.id, "Farm-Matched": matched}
        if receipt.sequence is not None:
            said["Farm-Sequence"] = str(receipt.sequence)
        if receipt.receivers is not None:
            said["Farm-Receivers"] = str(receipt.receivers)
        return _text(202, PUBLISHED, said)

    async def _subscribe(self, request: Request, pattern: str) -> HTTPResponse | None:
        served = self._served
        form = served.gateway.websockets
        if form is None:
            return _text(400, NO_WEBSOCKETS)
        _check_upgrade(request)
        try:
            subject.validate_filter(pattern, served.broker.grammar)
            channel = await served.hub.enter(served.broker.name, pattern, form)
        except FarmError as error:
            raise problem_of(error) from error
        try:
            # Live before the 101: who has connected misses nothing that is published from then on.
            protocol = cast("Any", request.transport).get_protocol()
            if protocol is None:  # the connection was closed meanwhile: nobody reads the answer
                raise HttpProblem(400, "cancelled", "the client has gone")
            websocket: Any = await protocol.websocket_handshake(request)
            await _serve(websocket, channel, Reader(SanicPipe(websocket), served.counts, _ends_at_gap(request)))
        finally:
            served.hub.leave(channel)
        return None


async def _serve(websocket: Any, channel: Channel, reader: Reader) -> None:
    """Let one WebSocket hear a channel until either end closes it."""
    channel.add(reader)
    writing = asyncio.ensure_future(reader.run())
    try:
        while True:
            await websocket.recv()  # a listener has nothing to say, but unread frames would hold up its pings
    except (asyncio.CancelledError, ConnectionClosed, WebsocketClosed):
        pass  # the client has gone, or we closed: Sanic says both by a cancellation
    finally:
        channel.remove(reader)
        writing.cancel()
        websocket.end_connection(1000)


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> HTTPResponse:
    return HTTPResponse(text, status=status, headers=headers, content_type="text/plain; charset=utf-8")


def _field(request: Request, name: str) -> str | None:
    """The first header of that name."""
    value: str | None = cast("Any", request.headers).getone(name, None)
    return None if value is None else value.strip()


def _allow(request: Request, method: str) -> None:
    if request.method != method:
        raise HttpProblem(405, "method-not-allowed", f"only {method} is", {"Allow": method})


def _decoded(rest: str) -> str:
    try:
        return unquote_to_bytes(rest).decode()
    except UnicodeDecodeError as error:
        raise HttpProblem(400, "bad-encoding", "the path is not UTF-8 after percent-decoding") from error


def _passed(request: Request) -> message.Headers:
    """The headers that travel with the message."""
    fields: Iterable[tuple[str, str]] = cast("Any", request.headers).items()
    headers = message.passed(tuple((name, value.strip()) for name, value in fields))
    if len(headers) > message.HEADER_COUNT_LIMIT:
        raise HttpProblem(
            431, "headers-too-large", f"{len(headers)} headers would travel, {message.HEADER_COUNT_LIMIT} at most"
        )
    if not all(_is_unicode(value) for _, value in headers):
        raise HttpProblem(400, "bad-encoding", "a header that would travel is not UTF-8")
    return headers


def _key(request: Request) -> str | None:
    key = _field(request, "idempotency-key")
    if key is None:
        return None
    if not key or not _is_unicode(key) or len(key.encode()) > KEY_LIMIT_BYTES:
        raise HttpProblem(400, "bad-request", f"Idempotency-Key is not 1 to {KEY_LIMIT_BYTES} bytes of UTF-8")
    return key


def _is_unicode(text: str) -> bool:
    # Sanic decodes heads with surrogates in the place of what is not UTF-8.
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def _check_upgrade(request: Request) -> None:
    asked = (_field(request, "upgrade") or "").lower() == "websocket"
    if not asked or "upgrade" not in (_field(request, "connection") or "").lower():
        raise HttpProblem(400, "not-a-websocket", "this route is a WebSocket: connect to it as one")
    if _field(request, "sec-websocket-version") != "13":
        raise HttpProblem(400, "not-a-websocket", "the WebSocket version is not 13", {"Sec-WebSocket-Version": "13"})
    try:
        key = base64.b64decode(_field(request, "sec-websocket-key") or "", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        raise HttpProblem(400, "not-a-websocket", "Sec-WebSocket-Key is not 16 bytes in base64")


def _ends_at_gap(request: Request) -> bool:
    """`?gap=close`: this client wants to be closed with 4409 where messages may be missing."""
    return request.args.get("gap") == "close"
