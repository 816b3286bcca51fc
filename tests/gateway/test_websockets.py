from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from farm.client.blocking import Farm
from farm.wire.relay import Publish
from tests.client.stand_in import StandIn, eventually
from tests.gateway.family import Child, Wire, gateway, never_reads

FORMATS = {form: {"port": 0, "websockets": form} for form in ("text", "binary", "json", "messagepack")}


def url(child: Child, path: str, broker: str) -> str:
    host, port = child.address(broker)
    return f"ws://{host}:{port}/subscribe/{path}"


@contextlib.contextmanager
def listen(child: Child, path: str, broker: str = "secondary", **extra: Any) -> Iterator[ClientConnection]:
    with connect(url(child, path, broker), **extra) as one:
        yield one


@pytest.fixture
def farm(ingest: StandIn) -> Iterator[Farm]:
    with Farm.connect(ingest.rundir) as one:
        yield one


def test_who_is_connected_hears_what_is_published_from_then_on(child: Child, farm: Farm) -> None:
    with listen(child, "good.*") as heard:
        receipt = farm.publish("good.bye", b"Goodbye", broker="secondary")
        assert receipt.listeners == 1
        assert heard.recv(10) == "Goodbye"


def test_a_thousand_messages_arrive_in_order(child: Child, farm: Farm) -> None:
    with listen(child, "n.*") as heard:
        tally = farm.publish_many(Publish("n.x", str(n).encode(), "secondary") for n in range(1000))
        assert tally.accepted == 1000
        assert [heard.recv(10) for _ in range(1000)] == [str(n) for n in range(1000)]


def test_many_sockets_are_one_listener_of_ingest_and_the_last_takes_it_along(child: Child, ingest: StandIn) -> None:
    eventually(lambda: ingest.listeners() == 0)
    with contextlib.ExitStack() as stack:
        for pattern in ("n.*", "n.*", "n.*", "m.*"):
            stack.enter_context(listen(child, pattern))
        assert ingest.listeners() == 2
    eventually(lambda: ingest.listeners() == 0)


@pytest.fixture(scope="module")
def polyglot(shared_ingest: StandIn) -> Iterator[Child]:
    shared_ingest.brokers = ("test", "secondary", *FORMATS)
    with gateway(shared_ingest.rundir, FORMATS) as one:
        yield one.ready()


@pytest.mark.parametrize(
    ("form", "frame"),
    [
        ("text", "hi"),
        ("binary", b"hi"),
        ("json", '{"message":[104,105],"subject":"a.b","broker":"json","response_subject":null}'),
        ("messagepack", b"\x94\x92\x68\x69\xa3a.b\xabmessagepack\xc0"),
    ],
)
def test_each_format_has_its_frame(polyglot: Child, farm: Farm, form: str, frame: str | bytes) -> None:
    with listen(polyglot, "a.*", form) as heard:
        farm.publish("a.b", b"hi", broker=form)
        assert heard.recv(10) == frame


def test_text_leaves_out_what_is_not_text_and_counts_it(child: Child, farm: Farm) -> None:
    with listen(child, "a") as heard:
        farm.publish("a", b"\xff\xfe", broker="secondary")
        farm.publish("a", b"next", broker="secondary")
        assert heard.recv(10) == "next"

    def noted() -> bool:
        child.listen_for_notes()
        return any("1 message not shown: not UTF-8" in note for note in child.notes)

    eventually(noted)


def test_a_mebibyte_arrives(child: Child, farm: Farm) -> None:
    with listen(child, "a", max_size=None) as heard:
        farm.publish("a", b"x" * (1 << 20), broker="secondary")
        assert heard.recv(10) == "x" * (1 << 20)


def test_pings_are_answered(child: Child) -> None:
    with listen(child, "a") as heard:
        assert heard.ping().wait(10)


def test_what_a_listener_says_is_not_heard_and_does_not_end_it(child: Child, farm: Farm) -> None:
    with listen(child, "a") as heard:
        for _ in range(100):
            heard.send("hello?")
        farm.publish("a", b"still here", broker="secondary")
        assert heard.recv(10) == "still here"


def test_a_listener_that_says_too_much_is_closed(child: Child) -> None:
    with listen(child, "a") as heard:
        heard.send("x" * 5000)
        with pytest.raises(ConnectionClosed) as closed:
            heard.recv(10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_where_it_is_not_configured_there_are_no_websockets(wire: Wire) -> None:
    reply = wire.request("GET", "/subscribe/a")
    assert (reply.status, reply.body) == (400, b"Websockets aren't supported")


@pytest.mark.parametrize(
    "changed",
    [
        {"Upgrade": ""},
        {"Connection": ""},
        {"Sec-WebSocket-Version": "8"},
        {"Sec-WebSocket-Key": ""},
        {"Sec-WebSocket-Key": "c2hvcnQ="},
    ],
)
def test_a_subscribe_that_is_no_websocket_is_refused(child: Child, ingest: StandIn, changed: dict[str, str]) -> None:
    asked = {
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    with Wire(child.address("secondary")) as wire:
        assert wire.request("GET", "/subscribe/a", b"", asked).status == 101
    with Wire(child.address("secondary")) as wire:
        reply = wire.request("GET", "/subscribe/a", b"", {**asked, **changed})
        assert (reply.status, reply.problem["code"]) == (400, "not-a-websocket")


@pytest.mark.parametrize(("path", "status"), [("a..b", 400), ("", 404), ("a%20b", 400), ("%FF", 400), ("a" * 257, 400)])
def test_a_pattern_that_is_none_is_refused_before_the_upgrade(child: Child, path: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(url(child, path, "secondary")):
        pass
    assert refused.value.response.status_code == status


def test_clients_that_have_gone_before_the_upgrade_are_no_fault(
    shared_ingest: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    with gateway(shared_ingest.rundir) as child:
        host, port = child.ready().address("secondary")
        head = (
            f"GET /subscribe/a HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        with connect(url(child, "a", "secondary")):  # the pattern is heard: nothing is waited for
            child.process.send_signal(signal.SIGSTOP)  # so that all of a client has come when it is looked at
            for _ in range(20):
                with socket.create_connection((host, port)) as one:
                    one.sendall(head.encode())
            child.process.send_signal(signal.SIGCONT)
            with connect(url(child, "a", "secondary")):
                child.drain(5)
        assert child.process.wait(20) == 0
    assert "Traceback" not in capfd.readouterr().err


def test_a_foreign_page_may_not_listen(child: Child) -> None:
    host, port = child.address("secondary")
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(url(child, "a", "secondary"), origin=Origin("http://evil.example")),
    ):
        pass
    assert refused.value.response.status_code == 403
    with listen(child, "a", origin=Origin(f"http://{host}:{port}")):
        pass


def test_a_broker_that_ingest_does_not_know_is_refused_before_the_upgrade(child: Child, ingest: StandIn) -> None:
    brokers, ingest.brokers = ingest.brokers, ("other",)
    try:
        with pytest.raises(InvalidStatus) as refused, connect(url(child, "unheard.of", "secondary")):
            pass
    finally:
        ingest.brokers = brokers
    assert refused.value.response.status_code == 500


def close_code(one: socket.socket) -> int:
    """Read a stalled WebSocket to its end: the code of its close frame."""
    data = b""
    one.settimeout(20)
    with contextlib.suppress(ConnectionResetError):
        while chunk := one.recv(65536):
            data += chunk
    data = data.partition(b"\r\n\r\n")[2]
    at = 0
    while at < len(data):
        opcode, size = data[at] & 15, data[at + 1]
        at += 2
        if size == 126:
            size, at = int.from_bytes(data[at : at + 2], "big"), at + 2
        if opcode == 8:
            return int.from_bytes(data[at : at + 2], "big")
        at += size
    return 0


def test_one_that_does_not_read_is_closed_and_fifty_others_get_everything(child: Child, farm: Farm) -> None:
    rounds, each = 30, 40
    message = "x" * 1000

    def read(one: ClientConnection) -> bool:
        return all(one.recv(30) == message for _ in range(each))

    with contextlib.ExitStack() as stack:
        slow = stack.enter_context(never_reads(child.address("secondary"), "n.*"))
        others = [stack.enter_context(listen(child, "n.*", compression=None)) for _ in range(50)]
        readers = stack.enter_context(ThreadPoolExecutor(8))
        for _ in range(rounds):
            assert (
                farm.publish_many(Publish("n.x", message.encode(), "secondary") for _ in range(each)).accepted == each
            )
            assert all(readers.map(read, others))
        assert close_code(slow) == 4408
