from __future__ import annotations

import pytest

from farm.gateway.guard import Door, refuse

GOOD = b"POST /publish/a HTTP/1.1\r\nHost: localhost:3005"


@pytest.mark.parametrize(
    "more",
    [
        b"",
        b"\r\nContent-Length: 5",
        b"\r\nTransfer-Encoding: chunked",
        b"\r\nX-Empty:",
        b"\r\nX-Latin: \xe9",
        b"\r\nX-Tab: a\tb",
    ],
)
def test_a_plain_head_is_let_pass(more: bytes) -> None:
    assert refuse(GOOD + more) is None


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 5", "no Host"),
        (GOOD + b"\r\nhost: other", "more than one Host"),
        (GOOD + b"\r\nContent-Length : 5", "not `Name: value`"),
        (GOOD + b"\r\nno colon", "not `Name: value`"),
        (GOOD + b"\r\n: nameless", "not `Name: value`"),
        (GOOD + b"\r\nX-Nul: a\0b", "not `Name: value`"),
        (GOOD + b"\r\nX-Folded: a\r\n b", "folded"),
        (GOOD + b"\nX-Bare: a", "CRLF"),
        (GOOD + b"\r\nX-Bare: a\rX-Other: b", "CRLF"),
        (GOOD + b"\r\nContent-Length: 5\r\ncontent-length: 6", "more than one Content-Length"),
        (GOOD + b"\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", "more than one Content-Length"),
        (GOOD + b"\r\nContent-Length: +5", "no number"),
        (GOOD + b"\r\nContent-Length: 5, 5", "no number"),
        (GOOD + b"\r\nContent-Length:", "no number"),
        (b"POST  / HTTP/1.1\r\nHost: a", "request line"),
        (b"POST / HTTP/2.0\r\nHost: a", "request line"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a", "not a path"),
        (b"POST /a b HTTP/1.1\r\nHost: a", "request line"),
        (b"\r\nPOST / HTTP/1.1\r\nHost: a", "not `Name: value`"),
    ],
)
def test_a_head_that_two_servers_could_read_differently_is_refused(head: bytes, why: str) -> None:
    assert why in (refuse(head) or "")


def test_on_port_80_the_port_may_be_left_out() -> None:
    assert Door(80).admits_host("localhost")
    assert not Door(8080).admits_host("localhost")
    assert Door(80).admits_origin("http://localhost")


@pytest.mark.parametrize(
    "origin", ["", "null", "http://", "http://localhost:3005.evil", "http://[::1", "//localhost:3005"]
)
def test_an_origin_that_is_no_address_of_ours_is_foreign(origin: str) -> None:
    assert not Door(3005).admits_origin(origin)
