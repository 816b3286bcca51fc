"""Where an MQTT server is, and how to get there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from farm.brokers.faults import NO_TLS, words_of
from farm.brokers.mqtt_faults import LinkFault
from farm.brokers.mqtt_websocket import WebSocket
from farm.brokers.tls import context_of
from farm.spec import TlsSpec

PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
SECURE: Final = ("mqtts", "wss")
SECURE_OF: Final = {"mqtt": "mqtts", "ws": "wss"}
OVER_HTTP: Final = ("ws", "wss")

# A peer that has gone without a word: 10 s idle, then asked three times, 5 s apart; written data 20 s unacknowledged.
_KEEP_ALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20_000),
)


@dataclass(frozen=True)
class Address:
    """Where the server is. path: of its socket (unix), or of the URL (ws, wss)."""

    scheme: str
    host: str
    port: int
    path: str
    tls: TlsSpec | None

    @property
    def url(self) -> str:
        """Of a WebSocket."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken there."""
        return self.scheme in SECURE


def address_of(url: str, tls: TlsSpec | None) -> Address:
    """The address in a URL that the manifest let pass."""
    parts = urlsplit(url)
    port = parts.port or PORTS.get(parts.scheme, 0)
    path = f"{parts.path or '/mqtt'}{'?' if parts.query else ''}{parts.query}" if parts.scheme in OVER_HTTP else ""
    if parts.scheme == "unix":
        path = f"{parts.netloc}{parts.path}"
    return Address(parts.scheme, parts.hostname or "", port, path, tls)


async def reach(address: Address, make: Callable[[], asyncio.Protocol]) -> None:
    """Connect, TLS included; `make` is told of the transport.

    Raises: LinkFault.
    """
    try:
        if address.scheme == "unix":
            await asyncio.get_running_loop().create_unix_connection(make, address.path)
        elif address.scheme in OVER_HTTP:
            websocket = WebSocket(address.url, make)
            await _connect(address, lambda: websocket)
            try:
                await websocket.opened
            except BaseException:  # nobody else knows of the connection yet
                websocket.abort()
                raise
        else:
            await _connect(address, make)
    except (OSError, ValueError) as error:  # ValueError: a host name that is none
        cut = address.secure and isinstance(error, ConnectionResetError | ConnectionAbortedError)
        raise LinkFault(f"{words_of(error)}{f': perhaps {NO_TLS}' if cut else ''}") from error


async def _connect(address: Address, make: Callable[[], asyncio.Protocol]) -> None:
    context = context_of(address.tls or TlsSpec(), LinkFault) if address.secure else None
    transport, _ = await asyncio.get_running_loop().create_connection(make, address.host, address.port, ssl=context)
    open_socket: socket.socket = transport.get_extra_info("socket")
    for level, option, value in _KEEP_ALIVE:
        open_socket.setsockopt(level, option, value)


def tcp_socket_of(transport: asyncio.BaseTransport) -> socket.socket | None:
    """The TCP socket beneath, so that TCP_QUICKACK may be set on it after each read; None: there is none.

    mosquitto writes each packet by itself, with Nagle's algorithm unless told otherwise (`set_tcp_nodelay`): all but
    the first wait until we have acknowledged that one, which Linux puts off for 40 ms. Source: tcp(7).
    """
    found: socket.socket | None = transport.get_extra_info("socket")
    return found if found is not None and found.family != socket.AF_UNIX else None
