"""Words for what keeps a connection from being made."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from farm.brokers.faults import WANTED, words_of


def tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] somewhere (_ssl.c:1)")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "no answer"),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), "no answer"),
        (OSError(errno.ECONNREFUSED, "Connection refused"), "connection refused"),
        (OSError(errno.ECONNRESET, "Connection reset by peer"), "connection reset by peer"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "no route to host"),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "unknown host: Name or service not known",
        ),
        (tls("WRONG_VERSION_NUMBER"), "it speaks no TLS (wrong version number)"),
        (tls("TLSV13_ALERT_CERTIFICATE_REQUIRED"), WANTED),
        (tls("TLSV1_ALERT_UNKNOWN_CA"), "it does not trust farm's certificate (tlsv1 alert unknown ca)"),
        (tls("TLSV1_ALERT_INTERNAL_ERROR"), "TLS: tlsv1 alert internal error"),
        (ValueError("a\nb"), "a\\nb"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 1000), "x" * 197 + "..."),
    ],
)
def test_the_words_are_one_line_without_a_place_in_a_library(error: Exception, words: str) -> None:
    assert words_of(error) == words
