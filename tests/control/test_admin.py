"""The supervisor's admin socket, over real connections on a selector of the test's own."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from farm.control.admin import CLIENTS_LIMIT, QUESTION_LIMIT_BYTES, Admin
from farm.wire import admin as wire
from farm.wire.admin import FamilyStatus

STATUS = FamilyStatus("example", "ready", 7, [], {}, {})


class Server:
    """An Admin and the loop that turns it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.selector = selectors.DefaultSelector()
        self.downs = 0
        self.admin = Admin(path, self.selector, lambda: STATUS, self.down)

    def down(self) -> None:
        self.downs += 1

    def turn(self) -> None:
        """All that is to do now."""
        while events := self.selector.select(0):
            for key, _ in events:
                key.data()

    def client(self) -> socket.socket:
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        end.settimeout(5)
        end.connect(str(self.path))
        return end

    def clients(self, count: int) -> list[socket.socket]:
        ends: list[socket.socket] = []
        for _ in range(count):
            ends.append(self.client())
            self.turn()
        return ends

    def ask(self, end: socket.socket, question: bytes) -> bytes:
        end.sendall(question)
        self.turn()
        return end.recv(1 << 20)


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    made = Server(folder / "admin.sock")
    yield made
    made.admin.close()
    made.selector.close()


def test_status_is_answered_as_often_as_it_is_asked(server: Server) -> None:
    with server.client() as end:
        for _ in range(3):
            assert msgspec.json.decode(server.ask(end, b'{"ask":"status"}\n'), type=FamilyStatus) == STATUS
    assert server.downs == 0


class Peer:
    """A connection whose other end is a process of this user."""

    def __init__(self, uid: int) -> None:
        self.uid = uid

    def getsockopt(self, *_: int) -> bytes:
        return struct.pack("3i", 4711, self.uid, 0)


@pytest.mark.parametrize(("uid", "answer"), [(os.getuid(), b"{"), (0, b"{"), (os.getuid() + 12345, b"")])
def test_only_our_own_user_and_root_are_answered(
    server: Server, monkeypatch: pytest.MonkeyPatch, uid: int, answer: bytes
) -> None:
    permitted: Any = wire.permitted
    monkeypatch.setattr(wire, "permitted", lambda _: permitted(Peer(uid)))
    with server.client() as end:
        end.sendall(b'{"ask":"status"}\n')
        server.turn()
        with contextlib.suppress(ConnectionResetError):  # closed with the question unread
            assert end.recv(1) == answer
            return
        assert answer == b""


def test_down_is_passed_on_and_answered(server: Server) -> None:
    with server.client() as end:
        assert server.ask(end, b'{"ask":"down"}\n').endswith(b"\n")
    assert server.downs == 1


def test_a_question_may_come_in_pieces(server: Server) -> None:
    with server.client() as end:
        end.sendall(b'{"ask":"sta')
        server.turn()
        assert server.ask(end, b'tus"}\n')


@pytest.mark.parametrize(
    "question",
    [b'{"ask":"reboot"}\n', b'{"ask":"\xff"}\n', b"hello\n", b"\xff\n", b"\n", b"x" * (QUESTION_LIMIT_BYTES + 1)],
)
def test_who_asks_nonsense_is_let_go_and_the_next_one_served(server: Server, question: bytes) -> None:
    with server.client() as end:
        assert server.ask(end, question) == b""
    with server.client() as end:
        assert server.ask(end, b'{"ask":"status"}\n')


def test_one_who_does_not_read_is_not_read_either_and_holds_nobody_up(server: Server) -> None:
    with server.client() as deaf, server.client() as other:
        deaf.setblocking(False)
        with contextlib.suppress(BlockingIOError):  # the server takes no more of it: what is to be shown
            for _ in range(100_000):
                deaf.send(b'{"ask":"status"}\n' * 100)
                server.turn()
        assert server.ask(other, b'{"ask":"status"}\n')
        deaf.setblocking(True)
        assert deaf.recv(1 << 20)
        server.turn()
        assert deaf.recv(1 << 20)


def test_one_too_many_makes_the_oldest_go(server: Server) -> None:
    ends = server.clients(CLIENTS_LIMIT)
    with server.client() as newest:
        assert server.ask(newest, b'{"ask":"status"}\n')
    assert ends[0].recv(1) == b""
    assert server.ask(ends[1], b'{"ask":"status"}\n')
    for end in ends:
        end.close()


def test_the_oldest_may_ask_in_the_very_turn_in_which_it_must_go(server: Server) -> None:
    ends = server.clients(CLIENTS_LIMIT)
    with server.client() as newest:
        ends[0].sendall(b'{"ask":"status"}\n')
        server.turn()
        assert server.ask(newest, b'{"ask":"status"}\n')
    for end in ends:
        end.close()


def test_a_client_that_left_costs_no_descriptor(server: Server) -> None:
    with server.client() as end:
        server.ask(end, b'{"ask":"status"}\n')
    server.turn()
    assert len(server.selector.get_map()) == 1


def test_close_lets_everybody_go(folder: Path) -> None:
    server = Server(folder / "other.sock")
    with server.client() as end:
        server.ask(end, b'{"ask":"status"}\n')
        server.admin.close()
        assert end.recv(1) == b""
    server.selector.close()
