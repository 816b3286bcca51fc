"""Why there is no connection to a server, in words for one line; the same for every type of broker."""

from __future__ import annotations

import socket
import ssl
from typing import Final

from farm.errors import printable

SHOWN_LIMIT: Final = 200  # characters of somebody else's words
CLOSED: Final = "it closed the connection"
NO_ANSWER: Final = "no answer"
NO_TLS: Final = "it speaks no TLS"
WANTED: Final = 'it wants a certificate of farm\'s: tls = { certificate = "..", key = ".." }'

# Words of OpenSSL: what answered was no TLS; the server does not trust a certificate of ours; it wants one.
_NO_TLS: Final = ("wrong version", "record layer", "unexpected message", "http request", "packet length")
_DISTRUSTED: Final = ("unknown ca", "bad certificate", "certificate unknown", "certificate expired")
_WANTED: Final = ("certificate required", "peer did not return a certificate")

# Source: OpenSSL, X509_verify_cert_error_string(3): signed by itself, by somebody unknown, or by nobody that was shown.
_NOBODY_KNOWN: Final = (18, 19, 20, 21)


def words_of(error: BaseException) -> str:
    """An error of the network or of TLS, for people."""
    if isinstance(error, TimeoutError):
        return NO_ANSWER
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, socket.gaierror):
        return f"unknown host: {error.strerror}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _distrust(error)
    if isinstance(error, ssl.SSLError):
        return _words_of_tls((error.reason or str(error)).lower().replace("_", " "))
    if isinstance(error, OSError) and error.strerror:
        return shown(error.strerror[:1].lower() + error.strerror[1:])
    return shown(str(error) or type(error).__name__)


def shown(text: str) -> str:
    """Somebody else's words, fit for one line."""
    return printable(text if len(text) <= SHOWN_LIMIT else text[: SHOWN_LIMIT - 3] + "...")


def _words_of_tls(reason: str) -> str:
    if any(word in reason for word in _WANTED):
        return WANTED
    if any(word in reason for word in _DISTRUSTED):
        return f"it does not trust farm's certificate ({reason})"
    return f"{NO_TLS} ({reason})" if any(word in reason for word in _NO_TLS) else f"TLS: {shown(reason)}"


def _distrust(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with it, and what to write where its authority is unknown."""
    text = f"its certificate is not trusted: {error.verify_message}"
    return f'{text}. Name its authority: tls = {{ ca = ".." }}' if error.verify_code in _NOBODY_KNOWN else text
