"""What is turned away before a request is looked at: ambiguous heads, foreign hosts, foreign pages.

Sanic reads more heads than RFC 9112 allows (`Content-Length : 5`, folded lines, a missing Host). Beside another server
that reads them otherwise, such a head smuggles a request: so it is refused, and the connection is closed.
Host and Origin keep web pages out: a page may send a simple POST to any address, and by a name of its own that points
to 127.0.0.1 it could read the answers too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_LINE: Final = re.compile(_TOKEN + rb":[\t\x20-\x7e\x80-\xff]*")
_HEAD: Final = re.compile(
    rb"[^\x00-\x20\x7f]+ /[^\x00-\x20\x7f]* HTTP/1\.[01](?:\r\n" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*)*"
)
_START: Final = re.compile(rb"[^\x00-\x20\x7f]+ [^\x00-\x20\x7f]+ HTTP/1\.[01]")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([^\r]*)")


def refuse(head: bytes) -> str | None:
    """Why a request's head is refused, or None.

    Args:
      head: request line and header lines, without the empty line that ends them.
    Source: RFC 9112, sections 2.2, 3.2, 5 and 6.
    """
    if _HEAD.fullmatch(head) is None:
        return _fault(head)
    lower = head.lower()
    hosts = lower.count(b"\r\nhost:")
    if hosts != 1:
        return "more than one Host" if hosts else "no Host"
    lengths = _LENGTH.findall(lower)
    if len(lengths) + lower.count(b"\r\ntransfer-encoding:") > 1:
        return "more than one Content-Length or Transfer-Encoding"
    if lengths and not lengths[0].isdigit():
        return "a Content-Length that is no number"
    return None


def _fault(head: bytes) -> str:
    if b"\n" in head.replace(b"\r\n", b"") or b"\r" in head.replace(b"\r\n", b""):
        return "a line that does not end in CRLF"
    lines = head.split(b"\r\n")
    for line in lines[1:]:
        if line[:1] in (b" ", b"\t"):
            return "a folded header line"
        if _LINE.fullmatch(line) is None:
            return "a header line that is not `Name: value`"
    if _START.fullmatch(lines[0]):
        return "the request target is not a path"  # of some Sanic cannot even make an error's answer
    return "a request line that is not `METHOD target HTTP/1.1`"


class Door:
    """Which Host and which Origin one loopback listener answers to."""

    def __init__(self, port: int, names: Iterable[str] = LOOPBACK_NAMES) -> None:
        names = tuple(names)
        self._hosts = frozenset((*(f"{name}:{port}" for name in names), *(names if port == 80 else ())))
        self._origins = frozenset(f"http://{host}" for host in self._hosts)

    def admits_host(self, host: str) -> bool:
        """Whether a Host header names this listener."""
        return host.lower() in self._hosts

    def admits_origin(self, origin: str | None) -> bool:
        """Whether an Origin header is absent (no web page sent this) or this listener's own."""
        return origin is None or origin.lower() in self._origins
