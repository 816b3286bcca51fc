from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.servers import Mosquitto, NatsServer, RedisServer, ServerProcess


@pytest.fixture(params=[RedisServer, NatsServer, Mosquitto], ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest, tmp_path: Path):
    server: ServerProcess = request.param(tmp_path)
    server.start()
    yield server
    server.stop()


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_server_accepts_once_started_and_comes_back_on_its_port(server: ServerProcess) -> None:
    port = server.port
    assert accepts(port)
    server.kill()
    assert not accepts(port)
    server.start()
    assert server.port == port
    assert accepts(port)


def test_a_server_whose_port_is_taken_finds_another(server: ServerProcess, tmp_path: Path) -> None:
    second = type(server)(tmp_path / "second")
    second.port = server.port
    second.start()
    assert second.port != server.port
    second.stop()
