from __future__ import annotations

import pytest

from farm.wire.relay import Publish
from tests.client.stand_in import StandIn
from tests.gateway.family import Child, Wire


def test_a_publish_is_answered_once_ingest_has_it(wire: Wire, ingest: StandIn) -> None:
    reply = wire.request("POST", "/publish/hello.world", b"Ada")
    assert (reply.status, reply.body) == (202, b"published to subject")
    assert reply.headers["farm-message-id"]
    assert reply.headers["farm-matched"] == "1"
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert "alt-svc" not in reply.headers
    assert ingest.publishes == [Publish("hello.world", b"Ada", "test")]


def test_what_the_server_says_of_a_publish_is_told(wire: Wire, ingest: StandIn) -> None:
    ingest.sequence, ingest.receivers = 17, 0
    headers = wire.request("POST", "/publish/hello.world", b"Ada").headers
    assert (headers["farm-sequence"], headers["farm-receivers"]) == ("17", "0")


def test_each_listener_publishes_to_its_own_broker(child: Child, ingest: StandIn) -> None:
    with Wire(child.address("secondary")) as wire:
        assert wire.request("POST", "/publish/hello.world", b"Ada").status == 202
    assert ingest.publishes == [Publish("hello.world", b"Ada", "secondary")]


def test_a_connection_serves_many_requests(wire: Wire, ingest: StandIn) -> None:
    for n in range(20):
        assert wire.request("POST", "/publish/n.x", str(n).encode()).status == 202
    assert [one.payload for one in ingest.publishes] == [str(n).encode() for n in range(20)]


def test_headers_that_may_travel_do_and_others_do_not(wire: Wire, ingest: StandIn) -> None:
    sent = {
        "Content-Type": "text/plain",
        "Traceparent": "00-1-2-01",
        "tracestate": "a=b",
        "ce-id": "7",
        "X-Note": " two words ",
        "Farm-Id": "forged",
        "Nats-Msg-Id": "forged",
        "Authorization": "secret",
        "Idempotency-Key": "order-7",
    }
    assert wire.request("POST", "/publish/a", b"", sent).status == 202
    assert ingest.publishes[0].headers == (
        ("content-type", "text/plain"),
        ("traceparent", "00-1-2-01"),
        ("tracestate", "a=b"),
        ("ce-id", "7"),
        ("x-note", "two words"),
    )
    assert ingest.publishes[0].key == "order-7"


@pytest.mark.parametrize("key", [" ", "k" * 257])
def test_an_idempotency_key_that_is_none_is_refused(wire: Wire, ingest: StandIn, key: str) -> None:
    assert wire.request("POST", "/publish/a", b"", {"Idempotency-Key": key}).problem["code"] == "bad-request"
    assert ingest.publishes == []


def test_more_headers_than_may_travel_are_refused(wire: Wire, ingest: StandIn) -> None:
    reply = wire.request("POST", "/publish/a", b"", {f"x-{n}": "1" for n in range(33)})
    assert (reply.status, reply.problem["code"]) == (431, "headers-too-large")
    assert ingest.publishes == []


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("/publish/a/b", "a/b"),
        ("/publish/a%2Fb", "a/b"),
        ("/publish/gr%C3%BC%C3%9F", "grüß"),
        ("/publish/a%2Eb", "a.b"),
        ("/publish/a?query=1", "a"),
        ("/publish//a", "/a"),
        ("/publish/a/", "a/"),
    ],
)
def test_the_rest_of_the_path_is_the_subject(wire: Wire, ingest: StandIn, path: str, subject: str) -> None:
    assert wire.request("POST", path, b"x").status == 202
    assert ingest.publishes == [Publish(subject, b"x", "test")]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/publish/%FF", 400, "bad-encoding"),
        ("/publish/a..b", 400, "invalid-subject"),
        ("/publish/a.*", 400, "invalid-subject"),
        ("/publish/a%0Ab", 400, "invalid-subject"),
        ("/publish/a%20b", 400, "invalid-subject"),
        ("/publish/" + "a" * 257, 400, "invalid-subject"),
        ("/publish/farm.dlq.a", 403, "reserved-subject"),
        ("/publish/%24JS.API.STREAM.DELETE.x", 403, "reserved-subject"),
        ("/publish/_INBOX.a", 403, "reserved-subject"),
        ("/publish/", 404, "not-found"),
        ("/publish", 404, "not-found"),
        ("/ws", 404, "not-found"),
        ("/", 404, "not-found"),
        ("//publish/a", 404, "not-found"),
        ("http://localhost/publish/a", 400, "bad-request"),
    ],
)
def test_what_cannot_be_published_to_is_refused(wire: Wire, ingest: StandIn, path: str, status: int, code: str) -> None:
    reply = wire.request("POST", path, b"x")
    assert (reply.status, reply.problem["code"]) == (status, code)
    assert ingest.publishes == []


def test_a_route_that_is_none_names_those_there_are(wire: Wire) -> None:
    detail = wire.request("GET", "/favicon.ico").problem["detail"]
    assert "/publish/<subject>" in detail
    assert "/subscribe/<pattern>" in detail


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
def test_another_method_is_not_allowed(wire: Wire, ingest: StandIn, method: str) -> None:
    reply = wire.request(method, "/publish/a")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert reply.problem["code"] == "method-not-allowed"
    assert ingest.publishes == []


def test_request_response_is_not_there_yet(wire: Wire) -> None:
    reply = wire.request("GET", "/request/hello/world")
    assert (reply.status, reply.body) == (400, b"request-response is not supported")


def test_a_mebibyte_is_published_and_a_byte_more_is_not(child: Child, ingest: StandIn) -> None:
    with Wire(child.address()) as wire:
        assert wire.request("POST", "/publish/a", b"x" * (1 << 20)).status == 202
    with Wire(child.address()) as wire:
        reply = wire.request("POST", "/publish/a", b"x" * (1 << 20 | 1))
        assert (reply.status, reply.problem["code"]) == (413, "payload-too-large")
    assert [len(one.payload) for one in ingest.publishes] == [1 << 20]


def test_a_body_in_chunks_is_one_payload(wire: Wire, ingest: StandIn) -> None:
    host, port = wire.address
    wire.send(f"POST /publish/a HTTP/1.1\r\nHost: {host}:{port}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    wire.send(b"3\r\nAda\r\n1\r\n!\r\n0\r\n\r\n")
    assert wire.reply().status == 202
    assert ingest.publishes[0].payload == b"Ada!"


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(wire: Wire, ingest: StandIn) -> None:
    host, port = wire.address
    head = f"POST /publish/a HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    wire.send(head.encode())
    assert wire.reply().status == 100
    wire.send(b"Ada")
    assert wire.reply().status == 202
    assert ingest.publishes[0].payload == b"Ada"


@pytest.mark.parametrize("code", ["full", "broker-unavailable", "unanswered"])
def test_what_may_work_later_is_503_with_a_time(wire: Wire, ingest: StandIn, code: str) -> None:
    ingest.refusal = (code, "not now", True)
    reply = wire.request("POST", "/publish/a", b"x")
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert (reply.problem["code"], reply.problem["detail"]) == (code, "not now")


def test_what_ingest_does_not_permit_is_403(wire: Wire, ingest: StandIn) -> None:
    ingest.refusal = ("not-permitted", "no", False)
    assert wire.request("POST", "/publish/a", b"x").status == 403


def test_what_a_server_will_never_take_is_400_with_its_reason(wire: Wire, ingest: StandIn) -> None:
    ingest.refusal = ("usage", "no stream takes in 'a' (js)", False)
    reply = wire.request("POST", "/publish/a", b"x")
    assert (reply.status, reply.problem["code"]) == (400, "refused")
    assert reply.problem["detail"] == "no stream takes in 'a' (js)"


def test_a_refusal_nobody_foresaw_tells_a_client_nothing_more(wire: Wire, ingest: StandIn) -> None:
    ingest.refusal = ("internal", "a secret", False)
    reply = wire.request("POST", "/publish/a", b"x")
    assert (reply.status, reply.problem["code"]) == (500, "internal")
    assert b"secret" not in reply.body


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_the_names_of_this_machine_are_served(wire: Wire, name: str) -> None:
    assert wire.request("POST", "/publish/a", b"", {"Host": f"{name}:{wire.address[1]}"}).status == 202


@pytest.mark.parametrize("host", ["evil.example", "localhost", "localhost:1", "127.0.0.1.evil.example:{port}"])
def test_a_foreign_host_is_turned_away(wire: Wire, ingest: StandIn, host: str) -> None:
    reply = wire.request("POST", "/publish/a", b"", {"Host": host.format(port=wire.address[1])})
    assert (reply.status, reply.problem["code"]) == (403, "foreign-host")
    assert ingest.publishes == []


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:{port}", 202),
        ("http://127.0.0.1:{port}", 202),
        ("http://localhost:1", 403),
        ("https://localhost:{port}", 403),
        ("http://evil.example", 403),
        ("null", 403),
    ],
)
def test_a_foreign_page_may_not_publish(wire: Wire, ingest: StandIn, origin: str, status: int) -> None:
    reply = wire.request("POST", "/publish/a", b"", {"Origin": origin.format(port=wire.address[1])})
    assert reply.status == status
    assert len(ingest.publishes) == (status == 202)
