"""Clients that do not mean well, byte by byte."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.client.stand_in import StandIn, eventually
from tests.gateway.family import Child, Wire, gateway

HEAD_S, BODY_S, CONNECTIONS = 0.4, 0.6, 4


@pytest.fixture(scope="module")
def strict(shared_ingest: StandIn) -> Iterator[Child]:
    with gateway(shared_ingest.rundir, limits={"head_s": HEAD_S, "body_s": BODY_S}) as one:
        yield one.ready()


@pytest.fixture
def small(shared_ingest: StandIn) -> Iterator[Child]:
    """One with few connections, and with time: a busy machine may be late for the short ones of `strict`."""
    with gateway(shared_ingest.rundir, limits={"connections": CONNECTIONS}) as one:
        yield one.ready()


def post(wire: Wire, *lines: str, path: str = "/publish/a") -> bytes:
    head = [f"POST {path} HTTP/1.1", f"Host: {wire.address[0]}:{wire.address[1]}", *lines]
    return "".join(f"{one}\r\n" for one in head).encode() + b"\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        ("Host: other",),
        ("Content-Length : 5",),
        ("X-Folded: a", " b"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("X-Bare: a\nX-Other: b",),
    ],
)
def test_an_ambiguous_head_is_refused_and_the_connection_closed(
    wire: Wire, ingest: StandIn, lines: tuple[str, ...]
) -> None:
    wire.send(post(wire, *lines) + b"hello")
    assert wire.reply().status == 400
    assert wire.ended()
    assert ingest.publishes == []


def test_the_second_of_two_requests_in_one_write_is_looked_at_too(wire: Wire, ingest: StandIn) -> None:
    wire.send(post(wire, "Content-Length: 3") + b"Ada" + post(wire, "Content-Length : 3") + b"Eve")
    assert wire.reply().status == 202
    assert wire.reply().status == 400
    assert wire.ended()
    assert [one.payload for one in ingest.publishes] == [b"Ada"]


def test_two_good_requests_in_one_write_are_answered_in_order(wire: Wire, ingest: StandIn) -> None:
    wire.send(post(wire, "Content-Length: 3") + b"Ada" + post(wire, "Content-Length: 3") + b"Eve")
    assert (wire.reply().status, wire.reply().status) == (202, 202)
    assert [one.payload for one in ingest.publishes] == [b"Ada", b"Eve"]


def test_a_head_over_the_limit_is_refused(wire: Wire) -> None:
    wire.send(post(wire, "X-Long: " + "a" * 9000))
    assert wire.reply().problem["code"] == "headers-too-large"
    assert wire.ended()


def test_a_head_that_never_ends_is_refused_before_it_does(wire: Wire) -> None:
    wire.send(b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 9000)
    assert wire.reply().status == 431


def drip(wire: Wire, data: bytes) -> None:
    """One byte every now and then, until the other end has had enough."""
    for byte in data:
        try:
            wire.send(bytes([byte]))
        except OSError:
            return
        wire.socket.settimeout(0.05)
        try:
            if wire.socket.recv(1, socket.MSG_PEEK) is not None:
                return
        except TimeoutError:
            continue
        finally:
            wire.socket.settimeout(20)


def test_a_head_that_drips_has_one_time_for_all_of_it(strict: Child, ingest: StandIn) -> None:
    with Wire(strict.address()) as wire:
        drip(wire, post(wire, "X-Long: " + "a" * 4000))
        assert wire.reply().problem["code"] == "request-timeout"
        assert wire.ended()
    assert ingest.publishes == []


def test_the_head_of_a_later_request_has_one_time_too(strict: Child) -> None:
    with Wire(strict.address()) as wire:
        assert wire.request("GET", "/nowhere").status == 404  # without a body, whose time would still run
        drip(wire, post(wire, "X-Long: " + "a" * 400))
        assert wire.reply().problem["code"] == "request-timeout"
        assert wire.ended()


def test_a_body_that_drips_has_one_time_for_all_of_it(strict: Child, ingest: StandIn) -> None:
    with Wire(strict.address()) as wire:
        wire.send(post(wire, "Content-Length: 4000"))
        drip(wire, b"x" * 4000)
        assert wire.reply().problem["code"] == "request-timeout"
        assert wire.ended()
    assert ingest.publishes == []


def test_a_connection_that_says_nothing_is_closed(strict: Child) -> None:
    with Wire(strict.address()) as wire:
        assert wire.ended()


def test_over_the_cap_a_connection_is_told_so_and_others_are_served_on(small: Child) -> None:
    held = [Wire(small.address()) for _ in range(CONNECTIONS)]
    assert held[0].request("POST", "/publish/a", b"x").status == 202
    with Wire(small.address()) as one_more:
        reply = one_more.reply()
        assert (reply.status, reply.problem["code"]) == (503, "too-many-connections")
        assert reply.headers["retry-after"] == "1"
        assert one_more.ended()
    for one in held:
        one.close()

    def served() -> bool:
        with Wire(small.address()) as wire:
            try:
                return wire.request("POST", "/publish/a", b"x").status == 202
            except (EOFError, OSError):
                return False

    eventually(served)


def test_garbage_is_refused(wire: Wire) -> None:
    wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
    assert wire.reply().status == 400
    assert wire.ended()


@pytest.mark.parametrize("target", ["a:1", "?a", "*", "http://[::1", "http://127.0.0.1/publish/a"])
def test_a_target_that_is_no_path_is_refused(wire: Wire, target: str) -> None:
    wire.send(post(wire, "Content-Length: 0", path=target))
    reply = wire.reply()
    assert reply.status == 400
    assert b"the request target is not a path" in reply.body
    assert wire.ended()


def test_a_client_that_leaves_in_the_middle_of_its_body_publishes_nothing(child: Child, ingest: StandIn) -> None:
    with Wire(child.address()) as wire:
        wire.send(post(wire, "Content-Length: 10") + b"half")
    with Wire(child.address()) as wire:
        assert wire.request("POST", "/publish/b", b"x").status == 202
    assert [one.subject for one in ingest.publishes] == ["b"]
