"""MQTT inside a WebSocket: a transport for the link whose bytes are binary frames. Frames themselves are `websockets`'.

Source: MQTT 5.0, section 6: subprotocol "mqtt", binary frames, whose borders mean nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from farm.brokers.faults import CLOSED, shown
from farm.brokers.mqtt_faults import LinkFault

SUBPROTOCOL: Final = Subprotocol("mqtt")
_DATA: Final = (Opcode.BINARY, Opcode.CONT)


class WebSocket(asyncio.Protocol):
    """One WebSocket; `opened` is done once MQTT may be spoken in it. Raises there: LinkFault."""

    def __init__(self, url: str, make: Callable[[], asyncio.Protocol]) -> None:
        """
        Args:
          make: the protocol that speaks MQTT, told of a transport once there is one.
        """
        self.opened: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._make: Final = make
        self._frames: Final = ClientProtocol(parse_uri(url), subprotocols=[SUBPROTOCOL], max_size=None)
        self._transport: asyncio.Transport | None = None
        self._inner: asyncio.Protocol | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._frames.send_request(self._frames.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Read the answer, then frames."""
        self._frames.receive_data(data)
        self._flush()
        events = self._frames.events_received()
        if not self.opened.done() and (self._frames.handshake_exc or events):
            self._open()
        parts = [event.data for event in events if isinstance(event, Frame) and event.opcode in _DATA]
        if parts and self._inner is not None:
            self._inner.data_received(b"".join(parts))
        if self._inner is not None and self._frames.state is not State.OPEN:
            self._close()  # nothing may be sent any more, however long the server keeps the connection beneath

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        if not self.opened.done():
            self._frames.receive_eof()  # an answer without a length ends with the connection
            if isinstance(self._frames.handshake_exc, InvalidStatus):
                self._open()
            else:
                self._fail(f"{CLOSED} in place of a WebSocket")
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def write(self, data: bytes) -> None:
        """Send bytes of MQTT, as long as the WebSocket is open."""
        if self._frames.state is State.OPEN:
            self._frames.send_binary(data)
            self._flush()

    def abort(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    def _open(self) -> None:
        if self._frames.handshake_exc is not None:
            self._fail(f"no WebSocket: {shown(str(self._frames.handshake_exc))}")
            return
        assert self._transport is not None
        self._inner = self._make()
        self._inner.connection_made(_Framed(self, self._transport))
        self.opened.set_result(None)

    def _fail(self, why: str) -> None:
        self.opened.set_exception(LinkFault(why))
        self.opened.exception()  # noticed, whether or not anybody waits for it
        self.abort()

    def _close(self) -> None:
        """End it once what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        assert self._transport is not None
        for data in self._frames.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._close()


class _Framed(asyncio.Transport):
    """The transport that the link writes to."""

    def __init__(self, websocket: WebSocket, transport: asyncio.Transport) -> None:
        super().__init__()
        self._websocket: Final = websocket
        self._transport: Final = transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send it in a frame."""
        self._websocket.write(bytes(data))

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Of the connection beneath."""
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether nothing more is sent."""
        return self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        """What is not sent yet, in bytes."""
        return self._transport.get_write_buffer_size()
