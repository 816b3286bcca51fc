"""ZeroMQ as farm drives it, over real sockets."""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm.wire.sockets import FRAME_LIMIT_BYTES, Dealer, Peer, Pump, Router, Sockets


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    with Sockets() as made:
        yield made


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/s"


def wait_until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end, "did not happen within 10 s"
        select.select([], [], [], 0.002)


def receive_one(socket: Dealer) -> list[bytes]:
    wait_until(socket.readable)
    return socket.receive()[0]


def joined(router: Router, dealer: Dealer) -> bytes:
    dealer.send([b"hi"])
    wait_until(router.readable)
    return router.receive()[0][0]


def test_a_router_knows_its_peer_by_the_id_it_was_given_and_by_its_process(sockets: Sockets, address: str) -> None:
    router = sockets.router(address)
    assert joined(router, sockets.dealer(address, b"w" * 16)) == b"w" * 16
    assert router.peer(b"w" * 16) == Peer(os.getuid(), os.getgid(), os.getpid())
    router.forget(b"w" * 16)
    assert router.peer(b"w" * 16) is None


def test_of_too_many_peers_the_one_known_longest_is_forgotten_until_it_speaks_again(
    sockets: Sockets, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Router, "PEERS_LIMIT", 2)
    router = sockets.router(address)
    dealers = {name: sockets.dealer(address, name) for name in (b"a", b"b", b"c")}
    for dealer in dealers.values():
        joined(router, dealer)
    assert [name for name in dealers if router.peer(name)] == [b"b", b"c"]
    joined(router, dealers[b"a"])
    assert [name for name in dealers if router.peer(name)] == [b"a", b"c"]


def test_an_address_that_cannot_be_bound_is_an_error_of_the_system(sockets: Sockets, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        sockets.router(f"ipc://{tmp_path}/missing/s")
    assert (caught.value.filename, caught.value.strerror) == (f"{tmp_path}/missing/s", "No such file or directory")


def test_a_dealer_waits_for_a_router_that_comes_later(sockets: Sockets, address: str) -> None:
    dealer = sockets.dealer(address, b"early")
    dealer.send([b"one"])
    router = sockets.router(address)
    wait_until(router.readable)
    assert router.receive() == [(b"early", [b"one"])]


def test_a_send_to_nobody_says_so(sockets: Sockets, address: str) -> None:
    router = sockets.router(address)
    assert router.send(b"nobody", [b"x"]) == "gone"


def test_a_peer_that_left_is_gone_at_a_later_send(sockets: Sockets, address: str) -> None:
    router = sockets.router(address)
    dealer = sockets.dealer(address, b"leaver")
    joined(router, dealer)
    dealer.close()
    wait_until(lambda: router.send(b"leaver", [b"x"]) == "gone")


def test_a_peer_that_does_not_read_is_full_in_the_end_and_nothing_waits(sockets: Sockets, address: str) -> None:
    router = sockets.router(address)
    dealer = sockets.dealer(address, b"lazy")
    joined(router, dealer)
    body = b"x" * 65536
    assert any(router.send(b"lazy", [body]) == "full" for _ in range(20_000))
    assert receive_one(dealer) == [body]


def test_every_frame_of_a_message_arrives_in_order(sockets: Sockets, address: str) -> None:
    router, dealer = sockets.router(address), sockets.dealer(address, b"d")
    joined(router, dealer)
    router.send(b"d", [b"1", b"", b"3"])
    assert receive_one(dealer) == [b"1", b"", b"3"]


def test_a_router_sends_a_frame_of_any_size(sockets: Sockets, address: str) -> None:
    router, dealer = sockets.router(address), sockets.dealer(address, b"d")
    joined(router, dealer)
    body = b"x" * (FRAME_LIMIT_BYTES + 1)
    assert router.send(b"d", [body]) == "sent"
    assert receive_one(dealer) == [body]


def test_who_sends_a_router_too_large_a_frame_is_cut_off(sockets: Sockets, address: str) -> None:
    router, dealer = sockets.router(address), sockets.dealer(address, b"d")
    joined(router, dealer)
    assert dealer.send([b"x" * (FRAME_LIMIT_BYTES + 1)]) == "sent"
    wait_until(lambda: router.send(b"d", [b"?"]) == "gone")
    assert router.receive() == []


async def test_a_pump_misses_nothing_while_both_sides_send(sockets: Sockets, address: str) -> None:
    router, dealer = sockets.router(address), sockets.dealer(address, b"d")
    loop = asyncio.get_running_loop()
    answered, finished = 0, asyncio.Event()

    def echo() -> bool:
        taken = router.receive(8)
        for peer, frames in taken:
            router.send(peer, frames)
        echo_pump.touched()
        return len(taken) == 8

    def count() -> bool:
        nonlocal answered
        taken = dealer.receive(8)
        for _ in taken:
            answered += 1
            if answered == 5000:
                finished.set()
            elif answered % 50 == 0:
                for _ in range(50):
                    dealer.send([b"x"])
        count_pump.touched()
        return len(taken) == 8

    echo_pump, count_pump = Pump(router, loop, echo), Pump(dealer, loop, count)
    for _ in range(50):
        dealer.send([b"x"])
    count_pump.touched()
    await asyncio.wait_for(finished.wait(), 60)
    echo_pump.close()
    count_pump.close()
