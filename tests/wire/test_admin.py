"""The asking end of the admin socket; the answering one is tests/control/test_admin.py."""

from __future__ import annotations

import gc
import socket
import threading
from pathlib import Path

import pytest

from farm.errors import NotRunning, Unanswered, WireError
from farm.wire import admin


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "admin.sock"


def answering(path: Path, answer: bytes) -> threading.Thread:
    """A supervisor that says this to one client, and goes."""
    server = admin.listen(path)
    server.setblocking(True)

    def serve() -> None:
        client, _ = server.accept()
        with client, server:
            client.recv(4096)
            client.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def test_a_path_that_cannot_be_bound_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        admin.listen(tmp_path / "missing" / "admin.sock")
    assert caught.value.filename == str(tmp_path / "missing" / "admin.sock")


def test_nobody_who_listens_is_no_farm(path: Path) -> None:
    with pytest.raises(NotRunning):
        admin.ask(path, "status", 5)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("answer", "error"),
    [(b"", NotRunning), (b'{"app":', NotRunning), (b"{}\n", WireError), (b"x" * 1_100_000, WireError)],
    ids=["nothing", "half a line", "another word", "no end"],
)
def test_what_is_no_answer_is_an_error_and_leaves_no_socket(path: Path, answer: bytes, error: type[Exception]) -> None:
    thread = answering(path, answer)
    with pytest.raises(error):
        admin.ask(path, "status", 5)
    thread.join(5)
    gc.collect()


def test_a_farm_that_too_many_ask_at_once_gives_no_answer(path: Path) -> None:
    def knock() -> bool:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        waiting.append(one)
        one.setblocking(False)
        return one.connect_ex(str(path)) == 0

    waiting: list[socket.socket] = []
    with admin.listen(path):
        while knock():
            continue
        with pytest.raises(Unanswered):
            admin.ask(path, "status", 5)
    for one in waiting:
        one.close()
