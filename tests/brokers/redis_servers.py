"""Redis servers of other kinds than the plain one, and one that says what a test wants it to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import hiredis
import redis

from farm.broker import Home
from farm.brokers.options.redis import RedisSpec, RedisStreamsSpec
from farm.brokers.redis import RedisBroker
from farm.brokers.redis_streams import RedisStreamsBroker
from tests.brokers.nats_keys import Certificates
from tests.servers import RedisServer, free_port

WITHIN_S = 20.0


def streams(home: Home, port: int, **keys: Any) -> RedisStreamsBroker:
    """A broker of Redis Streams, with the shortest leases."""
    given = {"url": f"redis://127.0.0.1:{port}", "claim_after_s": 5.0, **keys}
    return RedisStreamsBroker(RedisStreamsSpec(name="under-test", type="redis-streams", **given), home)


def pubsub(home: Home, port: int, **keys: Any) -> RedisBroker:
    """A broker of Redis pub/sub."""
    given = {"url": f"redis://127.0.0.1:{port}", **keys}
    return RedisBroker(RedisSpec(name="under-test", type="redis", **given), home)


def plain(port: int, **keys: Any) -> Any:
    """redis-py, whose types differ with what it is asked."""
    return redis.Redis(port=port, **keys)


def wait_for(look: Callable[[], bool], what: str) -> None:
    """Until it is so; fails, naming what was waited for."""
    end_s = time.monotonic() + WITHIN_S
    while not look():
        assert time.monotonic() < end_s, f"not within {WITHIN_S:g} s: {what}"
        time.sleep(0.02)


class TlsServer(RedisServer):
    """It speaks TLS alone. clients: whether it wants their certificates: "no", "optional" or "yes"."""

    def __init__(self, folder: Path, certificates: Certificates, clients: str = "no") -> None:
        super().__init__(folder)
        self._certificates = certificates
        self._clients = clients

    def command(self) -> Sequence[str]:
        """The port is that of TLS."""
        words = ["--tls-port" if word == "--port" else word for word in super().command()]
        found = self._certificates
        files = [
            *("--tls-cert-file", str(found.server)),
            *("--tls-key-file", str(found.server_key)),
            *("--tls-ca-cert-file", str(found.ca)),
        ]
        return [*words, "--port", "0", "--tls-auth-clients", self._clients, *files]


class SentinelServer(RedisServer):
    """A sentinel that watches one master. more: lines of its configuration."""

    def __init__(self, folder: Path, master: int, *more: str) -> None:
        super().__init__(folder)
        self._master = master
        self._more = more

    def command(self) -> Sequence[str]:
        """A configuration file, which it rewrites."""
        path = self.folder / "sentinel.conf"
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self.folder}",
            f"sentinel monitor shop 127.0.0.1 {self._master} 1",
            "sentinel down-after-milliseconds shop 500",
            "sentinel failover-timeout shop 2000",
            *self._more,
        ]
        path.write_text("\n".join(lines))
        return [self._program, str(path), "--sentinel"]


class ClusterNode(RedisServer):
    """A node of a cluster that nobody has made yet."""

    def __init__(self, folder: Path) -> None:
        self.bus = free_port()
        words = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", str(self.bus))
        super().__init__(folder, *words)


def join(nodes: Sequence[ClusterNode]) -> None:
    """Make a cluster of these, with an even part of the slots each."""
    clients = [redis.Redis(port=node.port) for node in nodes]
    part = -(-16384 // len(nodes))
    for number, client in enumerate(clients):
        last = min(16384, (number + 1) * part) - 1
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * part, last)
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, nodes[0].bus)

    def whole() -> bool:
        told = [str(client.execute_command("CLUSTER", "INFO")) for client in clients]
        known = [str(client.execute_command("CLUSTER", "NODES")) for client in clients]
        ports = [str(node.port) for node in nodes]
        return all("cluster_state': 'ok'" in text or "cluster_state:ok" in text for text in told) and all(
            port in text for port in ports for text in known
        )

    wait_for(whole, "the cluster to be whole")
    for client in clients:
        client.close()


class Puppet:
    """A server that answers each command as a test says; `said` has what it was told.

    answers: by first word; a bytes is sent as it is, anything else is called with the words. Others are answered OK.
    """

    def __init__(self, answers: dict[str, bytes | Callable[[list[bytes]], bytes]]) -> None:
        self.port = 0
        self.said: list[list[bytes]] = []
        self._answers = answers

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Puppet]:
        """While it listens."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        while data := await reader.read(1 << 16):
            parser.feed(data)
            while isinstance(words := parser.gets(), list):
                self.said.append(words)
                answer = self._answers.get(words[0].decode(), b"+OK\r\n")
                writer.write(answer if isinstance(answer, bytes) else answer(words))
        writer.close()
