"""Getting to a Redis, and what is said when that fails."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from farm.broker import Broker, Home
from farm.brokers import redis_connection, redis_link
from farm.brokers.faults import WANTED
from farm.errors import Problem, SourceMissing
from farm.message import Message
from farm.spec import Secret, TlsSpec
from farm.testing.rig import Ends, eventually, home_of, numbered, payloads
from tests.brokers import redis_house
from tests.brokers.nats_keys import Certificates, certificates
from tests.brokers.redis_servers import (
    Puppet,
    TlsServer,
    plain,
    pubsub,
    streams,
)
from tests.servers import RedisServer
from tests.sources import ROOT

server = redis_house.server

Make = Callable[..., Broker]
DOCS = ROOT / "docs" / "brokers.md"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("certificates"))


async def fault_of(broker: Broker) -> str:
    """Why it is down; what it says is one line."""
    await broker.start()
    assert broker.state == "down"
    fault = broker.fault
    await broker.close()
    assert fault.isprintable()
    return fault.partition(": ")[2]


async def works(broker: Broker) -> None:
    """A message goes there and comes back."""
    ends = await Ends(broker).start()
    came = ends.trigger(0, "a.b", granted=100)
    await ends.ready("a.b", came)
    await broker.close()


class TestTls:
    @pytest.fixture
    def port(self, files: Certificates, tmp_path: Path) -> Iterator[int]:
        server = TlsServer(tmp_path / "server", files)
        server.start()
        yield server.port
        server.stop()

    @pytest.mark.parametrize("make", [streams, pubsub])
    async def test_a_server_is_believed_whose_authority_is_named(
        self, make: Make, home: Home, port: int, files: Certificates
    ) -> None:
        await works(make(home, port, url=f"rediss://127.0.0.1:{port}", tls=TlsSpec(ca=files.ca)))

    async def test_an_authority_may_stand_in_the_url_as_redis_py_has_it(
        self, home: Home, port: int, files: Certificates
    ) -> None:
        await works(streams(home, port, url=f"rediss://127.0.0.1:{port}?ssl_ca_certs={files.ca}"))
        await works(streams(home, port, url=f"rediss://localhost:{port}?ssl_cert_reqs=none"))

    async def test_a_server_of_an_unknown_authority_is_not_believed(self, home: Home, port: int) -> None:
        fault = await fault_of(streams(home, port, url=f"rediss://127.0.0.1:{port}"))
        assert fault.startswith("its certificate is not trusted: ")
        assert fault.endswith('. Name its authority: tls = { ca = ".." }')

    async def test_a_certificate_for_another_host_is_not_believed(
        self, home: Home, port: int, files: Certificates
    ) -> None:
        fault = await fault_of(streams(home, port, url=f"rediss://localhost:{port}", tls=TlsSpec(ca=files.ca)))
        assert "Hostname mismatch" in fault
        assert "Name its authority" not in fault

    async def test_no_tls_where_there_must_be_is_guessed(self, home: Home, port: int) -> None:
        fault = await fault_of(streams(home, port))
        assert fault.endswith(" without an answer: perhaps it wants TLS (rediss://)")

    async def test_a_file_that_is_not_there_is_named(self, home: Home, port: int, tmp_path: Path) -> None:
        tls = TlsSpec(ca=tmp_path / "none.pem")
        fault = await fault_of(streams(home, port, url=f"rediss://127.0.0.1:{port}", tls=tls))
        assert fault == f"cannot use {tmp_path / 'none.pem'}: no such file or directory"

    async def test_a_server_that_wants_a_certificate_is_shown_ours(
        self, home: Home, files: Certificates, tmp_path: Path
    ) -> None:
        server = TlsServer(tmp_path / "strict", files, "yes")
        server.start()
        url = f"rediss://127.0.0.1:{server.port}"
        tls = TlsSpec(ca=files.ca, certificate=files.client, key=files.client_key)
        await works(streams(home, 0, url=url, tls=tls))
        assert await fault_of(streams(home, 0, url=url, tls=TlsSpec(ca=files.ca))) == WANTED
        server.stop()


class TestWho:
    @pytest.fixture
    def password(self, tmp_path: Path) -> Path:
        path = tmp_path / "password"
        path.write_text("first-secret")
        return path

    def keys(self, password: Path) -> dict[str, Any]:
        return {"username": "shop", "password": Secret(file=password)}

    async def test_a_user_of_the_acl_is_let_in(self, home: Home, server: RedisServer, password: Path) -> None:
        admin = plain(server.port)
        admin.acl_setuser(
            "shop", enabled=True, passwords=["+first-secret"], keys=["*"], channels=["*"], commands=["+@all"]
        )
        await works(streams(home, server.port, **self.keys(password)))
        url = f"redis://shop@127.0.0.1:{server.port}/3"
        broker = streams(home, 0, url=url, password=Secret(file=password))
        await works(broker)
        assert plain(server.port, db=3).keys("*")
        admin.close()

    async def test_a_password_is_read_anew_at_each_connect(
        self, home: Home, server: RedisServer, password: Path
    ) -> None:
        admin = plain(server.port)
        admin.acl_setuser("shop", enabled=True, passwords=["+second-secret"], keys=["*"], commands=["+@all"])
        broker = streams(home, server.port, **self.keys(password))
        await broker.start()
        assert broker.fault == f"redis://127.0.0.1:{server.port}: it refuses: wrong username or password"
        await asyncio.to_thread(password.write_text, "second-secret")
        await eventually(lambda: broker.state == "up", "the broker to be let in")
        await broker.close()
        admin.close()

    @pytest.mark.parametrize("make", [streams, pubsub])
    async def test_the_rights_that_the_docs_ask_for_are_enough(
        self, make: Make, home: Home, server: RedisServer, password: Path
    ) -> None:
        admin = plain(server.port)
        [rights] = re.findall(r"^ACL SETUSER shop on >secret (.*)$", DOCS.read_text(), re.MULTILINE)
        admin.execute_command("ACL", "SETUSER", "shop", "on", ">first-secret", *rights.replace("orders", "a.b").split())
        ends = await Ends(make(home, server.port, **self.keys(password))).start()
        came, queue = ends.trigger(0, "a.b", granted=9999), ends.trigger(1, "a.b", granted=9999, group="g")
        heard, _ = ends.listener("a.b")
        await ends.ready("a.b", came, queue, heard)
        ends.broker.release(queue[:1])
        before = len(queue)
        await eventually(lambda: len(queue) > before, "what was released")
        ends.broker.settle([*came, *queue])
        await ends.broker.close()
        assert not admin.acl_log()
        admin.close()

    async def test_a_user_who_may_not_do_what_farm_needs_is_told_so(
        self, home: Home, server: RedisServer, password: Path
    ) -> None:
        admin = plain(server.port)
        admin.acl_setuser("shop", enabled=True, passwords=["+first-secret"], keys=["*"], commands=["+ping"])
        fault = await fault_of(streams(home, server.port, **self.keys(password)))
        assert fault.startswith("this user may not do what farm needs: ")
        assert "'script|load'" in fault
        admin.close()

    async def test_a_password_file_that_is_not_there_is_no_end(self, home: Home, server: RedisServer) -> None:
        def read(_: Secret) -> str:
            raise SourceMissing(Problem("no variable NONE"))

        broker = streams(home_of(Path(home.folder()), 1, read), server.port, password=Secret(env="NONE"))
        assert await fault_of(broker) == "no variable NONE"

    async def test_the_socket_of_a_server_will_do(self, home: Home, tmp_path: Path) -> None:
        path = Path(f"/tmp/farm-redis-{tmp_path.name}.sock")
        server = RedisServer(tmp_path / "local", "--unixsocket", str(path))
        server.start()
        await works(streams(home, 0, url=f"unix://{path}?db=2"))
        assert plain(server.port, db=2).keys("*")
        server.stop()


class TestReplicas:
    @pytest.mark.parametrize("make", [streams, pubsub])
    async def test_one_is_told_before_anything_is_written(self, make: Make, home: Home, server: RedisServer) -> None:
        client = plain(server.port)
        client.replicaof("127.0.0.1", "1")
        broker = make(home, server.port)
        await broker.start()
        assert broker.fault == f"redis://127.0.0.1:{server.port}: it is a replica: nothing can be written to it"
        client.replicaof("NO", "ONE")
        await eventually(lambda: broker.state == "up", "the server to be none any more")
        await broker.close()
        client.close()

    async def test_a_server_that_becomes_one_is_found_out_when_nothing_is_written(
        self, home: Home, server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(redis_connection, "SEE_S", 0.5)
        ends = await Ends(pubsub(home, server.port)).start()
        client = plain(server.port)
        client.replicaof("127.0.0.1", "1")
        await eventually(lambda: "it is a replica" in ends.broker.fault, "the broker to be down")
        await ends.broker.close()
        client.close()


class TestSilence:
    @pytest.mark.parametrize("make", [streams, pubsub])
    async def test_a_server_that_falls_silent_is_found_out(
        self, make: Make, home: Home, server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(redis_link, "PING_S", 0.5)
        ends = await Ends(make(home, server.port)).start()
        heard, _ = ends.listener("a.b")
        came = ends.trigger(0, "a.b", granted=10)
        await ends.ready("a.b", came, heard)
        server.pause()
        await eventually(lambda: ends.broker.state == "down", "the silence to be noticed")
        assert ends.broker.fault.endswith("no answer: it is silent")
        await eventually(
            lambda: ends.broker.fault.endswith(": no answer: perhaps it is no Redis server"), "another try"
        )
        server.go_on()
        await eventually(lambda: ends.broker.state == "up", "the server to be there again")
        await ends.broker.close()


class TestWords:
    async def test_what_is_no_redis_is_one_line(self, home: Home) -> None:
        async with Puppet({"CLIENT": b"HTTP/1.1 400 Bad Request\r\n\r\n"}).running() as puppet:
            fault = await fault_of(streams(home, puppet.port))
        assert fault.startswith("it does not speak the protocol of Redis")

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            (b"-LOADING Redis is loading the dataset in memory\r\n", "it is still loading its data"),
            (b"-NOAUTH Authentication required.\r\n", "it refuses: username and password are missing"),
            (b"-DENIED Redis is running in protected mode because ...\r\n", "it is in protected mode"),
        ],
    )
    async def test_what_a_server_refuses_with_is_told_in_plain_words(self, said: bytes, told: str, home: Home) -> None:
        async with Puppet({"SCRIPT": said}).running() as puppet:
            assert (await fault_of(streams(home, puppet.port))).startswith(told)

    async def test_a_server_that_is_too_old_is_told_so(self, home: Home) -> None:
        async with Puppet({"COMMAND": b"*3\r\n*-1\r\n*-1\r\n*-1\r\n"}).running() as puppet:
            assert await fault_of(streams(home, puppet.port)) == "it is older than Redis 6.2, which farm needs"

    async def test_what_newer_servers_can_is_used_where_they_say_so(self, home: Home) -> None:
        entry = b"*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$4\r\nbody\r\n$1\r\nx\r\n"
        taken: list[bool] = []

        def read(_: list[bytes]) -> bytes:
            taken.append(True)
            return entry if len(taken) == 1 else b"*-1\r\n"

        scripts = {b"farm:{a.b}:": b"*1\r\n:1\r\n", b"a.b": b"*2\r\n:0\r\n$1\r\n0\r\n"}
        answers = {
            "COMMAND": b"*3\r\n*1\r\n$1\r\nx\r\n*1\r\n$1\r\nx\r\n*1\r\n$1\r\nx\r\n",
            "EVALSHA": lambda words: scripts.get(words[3], b":0\r\n"),
            "XPENDING": b"*0\r\n",
            "XREAD": b"*-1\r\n",
            "XREADGROUP": read,
        }
        async with Puppet(answers).running() as puppet:
            ends = Ends(streams(home, puppet.port))
            await ends.broker.start()
            came = ends.trigger(0, "a.b", granted=1)
            await ends.publish(Message("id", "a.b", b"", dedup="by-this"))
            await eventually(lambda: bool(came), "the entry")
            ends.broker.release(came)
            key = b"farm:{a.b}:stream:farm-0-0-a-b"
            free = [b"1", key, b"000000000000-under-test-0", b"1", b"1-0"]
            await eventually(lambda: any(words[2:] == free for words in puppet.said), "XNACK to be asked for")
            await ends.broker.close()
        [run] = [words for words in puppet.said if words[3:4] == [b"farm:{a.b}:"]]
        assert run[4:6] == [b"0", b"1"], "IDMP is asked for"
        assert b"by-this" in run

    async def test_nothing_is_asked_of_a_server_that_cannot(self, home: Home, server: RedisServer) -> None:
        ends = await Ends(streams(home, server.port)).start()
        came = ends.trigger(0, "a.b", granted=10)
        await ends.ready("a.b", came)
        await ends.publish(Message("id", "a.b", b"x", dedup="by-this"), Message("id", "a.b", b"x", dedup="by-this"))
        await eventually(lambda: payloads(came) == [b"x", b"x"], "both: this server knows no duplicates")
        await ends.broker.close()


class TestLink:
    async def test_a_script_that_was_flushed_is_loaded_again(self, home: Home, server: RedisServer) -> None:
        ends = await Ends(streams(home, server.port)).start()
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        plain(server.port).script_flush()
        del came[:]
        await ends.ready("a.b", came)
        await ends.publish(*numbered(3))
        await eventually(lambda: len(payloads(came)) == 3, "what is published afterwards")
        await ends.broker.close()
