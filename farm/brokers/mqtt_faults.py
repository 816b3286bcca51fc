"""Why there is no connection to an MQTT server, in words for one line."""

from __future__ import annotations

import socket
import ssl
from typing import Final

from farm.brokers.distrust import distrust
from farm.errors import printable

SHOWN_LIMIT: Final = 200  # characters of somebody else's words


class LinkFault(Exception):
    """Why there is no connection: one line."""


def words_of(error: Exception) -> str:
    """An error of the network or of TLS, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {distrust(error)}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, socket.gaierror):
        return f"no such host: {error.strerror}"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer"
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return shown(words[:1].lower() + words[1:])


def shown(text: str) -> str:
    """Somebody else's words, fit for one line."""
    return printable(text if len(text) <= SHOWN_LIMIT else text[: SHOWN_LIMIT - 3] + "...")
