from __future__ import annotations

import contextlib
import resource
import socket
import threading
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from farm.client.blocking import Farm
from farm.gateway.process import connection_limit
from farm.rundir import Rundir
from farm.wire.relay import Publish
from tests.client.stand_in import StandIn, eventually
from tests.gateway.family import Child, Wire, gateway, never_reads, refusal


@pytest.fixture
def ingest(rundir: Rundir) -> Iterator[StandIn]:
    with StandIn(rundir) as one:
        yield one


@pytest.fixture
def child(ingest: StandIn) -> Iterator[Child]:
    """One of its own for each test: these end it."""
    with gateway(ingest.rundir) as one:
        yield one.ready()


def subscribe_url(child: Child, path: str) -> str:
    host, port = child.address("secondary")
    return f"ws://{host}:{port}/subscribe/{path}"


def test_every_port_that_is_taken_is_named_with_its_place(rundir: Rundir) -> None:
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        ports = [one.getsockname()[1] for one in taken]
        brokers = {"test": {"port": ports[0]}, "free": {"port": 0}, "secondary": {"port": ports[1]}}
        child = stack.enter_context(gateway(rundir, brokers))
        refused = refusal(child)
        assert refused.exit_code == 69
        assert [line.partition(": ")[0] for line in refused.problems] == [
            f"port {ports[0]} is taken (brokers.test.gateway)",
            f"port {ports[1]} is taken (brokers.secondary.gateway)",
        ]
        assert child.process.wait(20) == 69


def test_an_address_that_is_not_loopback_is_refused_whoever_let_it_pass(rundir: Rundir) -> None:
    with gateway(rundir, {"test": {"port": 0, "bind": "0.0.0.0"}}) as child:
        refused = refusal(child)
    assert refused.exit_code == 78
    assert "brokers.test.gateway" in refused.problems[0]
    assert "not a loopback address" in refused.problems[0]


def test_ipv6_loopback_is_served(ingest: StandIn) -> None:
    with gateway(ingest.rundir, {"test": {"port": 0, "bind": "::1"}}) as child:
        listens = child.ready().listens["test"]
        assert listens.startswith("[::1]:")
        port = int(listens.rpartition(":")[2])
        with Wire(("::1", port)) as wire:
            assert wire.request("POST", "/publish/a", b"x", {"Host": listens}).status == 202


def test_it_is_ready_only_once_ingest_is_there(rundir: Rundir) -> None:
    with gateway(rundir) as child:
        with pytest.raises(AssertionError, match="it said nothing"):
            child.word(within_s=1.0)
        with StandIn(rundir):
            child.new_ingest(boot=7)
            child.ready()


def test_its_next_life_takes_the_ports_of_the_one_before(ingest: StandIn) -> None:
    with gateway(ingest.rundir) as first:
        listens = first.ready().listens
    with gateway(ingest.rundir, listens=listens) as second:
        assert second.ready().listens == listens


def test_it_ends_at_once_with_its_supervisor(child: Child) -> None:
    child.lifeline.close()
    assert child.process.wait(20) == 70


def test_a_drain_answers_what_is_in_flight_and_closes_sockets_with_1001(child: Child, ingest: StandIn) -> None:
    ingest.held.clear()
    with Wire(child.address()) as wire, connect(subscribe_url(child, "a")) as heard:
        answered = threading.Thread(target=lambda: replies.append(wire.request("POST", "/publish/a", b"x").status))
        replies: list[int] = []
        answered.start()
        eventually(lambda: ingest.holding)
        child.drain(20)
        with pytest.raises(ConnectionClosed) as closed:
            heard.recv(20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        eventually(lambda: refuses_connections(child))
        ingest.held.set()
        answered.join(20)
        assert replies == [202]
    assert child.process.wait(20) == 0


def refuses_connections(child: Child) -> bool:
    try:
        socket.create_connection(child.address(), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_drain_cuts_what_does_not_end_in_its_time(child: Child, ingest: StandIn) -> None:
    ingest.held.clear()
    with Wire(child.address()) as wire:
        host, port = wire.address
        wire.send(f"POST /publish/a HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 1\r\n\r\nx".encode())
        eventually(lambda: ingest.holding)
        child.drain(0.2)
        assert child.process.wait(20) == 0
    ingest.held.set()


def test_a_drain_with_idle_connections_ends_soon(child: Child) -> None:
    with Wire(child.address()) as wire:
        assert wire.request("POST", "/publish/a", b"x").status == 202
        child.drain(60)
        assert child.process.wait(20) == 0


def test_a_new_life_of_ingest_is_met_and_sockets_hear_on(child: Child, ingest: StandIn) -> None:
    with connect(subscribe_url(child, "a")) as heard, Farm.connect(ingest.rundir) as farm:
        ingest.restart()
        child.new_ingest(boot=2)
        eventually(lambda: ingest.listeners() == 1)
        farm.publish("a", b"again", broker="secondary")
        assert heard.recv(20) == "again"
    with Wire(child.address()) as wire:
        assert wire.request("POST", "/publish/a", b"x").status == 202


def test_a_socket_that_wants_to_know_of_gaps_is_closed_at_one(child: Child, ingest: StandIn) -> None:
    with connect(subscribe_url(child, "a?gap=close")) as heard:
        ingest.restart()
        child.new_ingest(boot=2)
        with pytest.raises(ConnectionClosed) as closed:
            heard.recv(20)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4409, "gap")


def test_what_ingest_had_not_answered_when_it_died_is_503_at_once(child: Child, ingest: StandIn) -> None:
    ingest.deaf = True
    replies: list[tuple[int, str]] = []

    def publish() -> None:
        with Wire(child.address()) as wire:
            reply = wire.request("POST", "/publish/a", b"x")
            replies.append((reply.status, reply.problem["code"]))

    publishing = threading.Thread(target=publish)
    publishing.start()
    eventually(lambda: ingest.ignored > 0)
    ingest.deaf = False
    ingest.restart()
    child.new_ingest(boot=2)
    publishing.join(20)
    assert replies == [(503, "unanswered")]


def test_the_same_life_of_ingest_told_twice_is_one(child: Child, ingest: StandIn) -> None:
    child.new_ingest(boot=2)
    with connect(subscribe_url(child, "a?gap=close")) as heard, Farm.connect(ingest.rundir) as farm:
        child.new_ingest(boot=2)
        farm.publish("a", b"undisturbed", broker="secondary")
        assert heard.recv(20) == "undisturbed"


def test_the_life_of_ingest_that_it_found_itself_is_not_met_again(rundir: Rundir) -> None:
    with StandIn(rundir) as ingest, gateway(rundir) as child:
        ingest.status = b'{"ingest": {"life": "7"}, "brokers": {}, "components": {}}'
        child.ready()
        with connect(subscribe_url(child, "a?gap=close")) as heard, Farm.connect(rundir) as farm:
            child.new_ingest(boot=7)
            farm.publish("a", b"undisturbed", broker="secondary")
            assert heard.recv(20) == "undisturbed"


def test_a_drain_before_ingest_was_ever_there_ends_it(rundir: Rundir) -> None:
    with gateway(rundir) as child:
        child.drain(5)
        assert child.process.wait(20) == 0


def test_a_drain_does_not_wait_for_one_that_does_not_read(child: Child, ingest: StandIn) -> None:
    with Farm.connect(ingest.rundir) as farm, never_reads(child.address("secondary"), "a"):
        eventually(lambda: ingest.listeners() == 1)
        farm.publish_many(Publish("a", b"x" * 1000, "secondary") for _ in range(500))
        child.drain(60)
        assert child.process.wait(20) == 0


@pytest.mark.parametrize(("files", "limit"), [(1 << 20, 2000), (1024, 768), (256, 128), (64, 32), (1, 1)])
def test_few_open_files_leave_fewer_connections(monkeypatch: pytest.MonkeyPatch, files: int, limit: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)  # else it would be this process's
    assert connection_limit(1) == limit
