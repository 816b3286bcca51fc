"""The connection that nats and jetstream share, with real servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farm.broker import BrokerState
from farm.brokers.nats_connection import NatsConnection
from farm.brokers.nats_pings import Flushed
from farm.brokers.nats_protocol import Raw, decode_headers, encode_headers
from farm.brokers.nats_target import target_of
from farm.errors import BrokerUnavailable, NotPermitted
from farm.spec import Secret, TlsSpec
from farm.testing.rig import eventually, home_of
from tests.brokers import nats_house
from tests.brokers.nats_house import MakeServer, line_to, spec_of
from tests.brokers.nats_keys import USER, Realm, certificates, key, realm
from tests.servers import free_port

SECRET = "hunter2-not-shown"

make_server = nats_house.make_server


def secret(folder: Path, name: str, text: str) -> Secret:
    path = folder / name
    path.write_text(text)
    return Secret(file=path)


def quoted(text: str) -> str:
    return json.dumps(text)


def user_and_password(folder: Path, _: Realm) -> tuple[str, dict[str, Any]]:
    config = f"authorization {{ user: farm, password: {quoted(SECRET)} }}"
    return config, {"user": "farm", "password": secret(folder, "password", SECRET)}


def token(folder: Path, _: Realm) -> tuple[str, dict[str, Any]]:
    return f"authorization {{ token: {quoted(SECRET)} }}", {"token": secret(folder, "token", SECRET)}


def nkey(folder: Path, _: Realm) -> tuple[str, dict[str, Any]]:
    user = key(USER)
    return f"authorization {{ users: [ {{ nkey: {user.public} }} ] }}", {"nkey": secret(folder, "seed", user.seed)}


def jwt_and_seed(folder: Path, found: Realm) -> tuple[str, dict[str, Any]]:
    return found.config, {"jwt": secret(folder, "jwt", found.jwt), "nkey": secret(folder, "seed", found.user.seed)}


def credentials_file(folder: Path, found: Realm) -> tuple[str, dict[str, Any]]:
    return found.config, {"credentials": secret(folder, "farm.creds", found.credentials)}


def credentials_string(_: Path, found: Realm) -> tuple[str, dict[str, Any]]:
    return found.config, {"credentials": Secret(env="CREDENTIALS")}


WAYS = (user_and_password, token, nkey, jwt_and_seed, credentials_file, credentials_string)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
async def test_every_way_to_authenticate_lets_in_whom_it_should(
    way: Callable[[Path, Realm], tuple[str, dict[str, Any]]], right: bool, tmp_path: Path, make_server: MakeServer
) -> None:
    believed, other = realm(), realm()
    config, keys = way(tmp_path, believed)
    server = make_server(config)
    if not right:
        keys = way(tmp_path, other)[1]
        if way in (user_and_password, token):
            secret(tmp_path, "password", "swordfish")
            secret(tmp_path, "token", "swordfish")
    text = (believed if right else other).credentials
    home = home_of(tmp_path, secret=lambda each: each.file.read_text() if each.file else text)
    states: list[tuple[BrokerState, str]] = []
    spec = spec_of(server, **keys)
    connection = NatsConnection(target_of(spec, home), lambda *now: states.append(now), lambda *_: None, lambda _: None)
    await connection.start()
    assert connection.up == right, connection.fault
    if not right:
        assert "authorization violation" in connection.fault
        assert not any(each in connection.fault for each in (SECRET, "swordfish", other.user.seed, other.jwt))
    await connection.close()


async def test_a_password_is_read_anew_at_each_connect(tmp_path: Path, make_server: MakeServer) -> None:
    config, keys = user_and_password(tmp_path, realm())
    server = make_server(config)
    secret(tmp_path, "password", "swordfish")
    async with line_to(spec_of(server, **keys), tmp_path) as line:
        assert "it refuses: authorization violation. Check user and password, " in line.connection.fault
        secret(tmp_path, "password", SECRET)
        await line.up()


async def test_tls_with_an_authority_and_a_certificate_of_our_own(tmp_path: Path, make_server: MakeServer) -> None:
    files = certificates(tmp_path / "pki")
    tls = f'cert_file: "{files.server}", key_file: "{files.server_key}", ca_file: "{files.ca}"'
    server = make_server(f"tls {{ {tls}, verify: true }}")
    ours = TlsSpec(files.ca, files.client, files.client_key)
    async with line_to(spec_of(server, tls=ours), tmp_path) as line:
        await line.up()
        came = line.subscribe("a")
        line.connection.publish("a", b"x" * 500_000)
        await line.flush()
        assert [len(raw[3]) for raw in came] == [500_000]
    async with line_to(spec_of(server, tls=TlsSpec(files.ca)), tmp_path) as line:
        assert not line.connection.up
        assert line.connection.fault.isprintable()
    for tls_spec in (TlsSpec(), None):
        async with line_to(spec_of(server, tls=tls_spec), tmp_path) as line:
            assert line.connection.fault.endswith('. Name its authority: tls = { ca = ".." }')
    async with line_to(spec_of(server, tls=TlsSpec(files.ca, files.server_key)), tmp_path) as line:
        assert "cannot use /" in line.connection.fault


async def test_tls_before_the_first_word_of_a_server(tmp_path: Path, make_server: MakeServer) -> None:
    files = certificates(tmp_path / "pki")
    server = make_server(
        f'tls {{ cert_file: "{files.server}", key_file: "{files.server_key}", handshake_first: true }}'
    )
    async with line_to(spec_of(server, tls=TlsSpec(files.ca), tls_first=True), tmp_path) as line:
        await line.up()
        assert (await line.flush()).fault == ""


async def test_tls_is_not_left_out_because_the_server_has_none(tmp_path: Path, make_server: MakeServer) -> None:
    server = make_server()
    async with line_to(spec_of(server, tls=TlsSpec()), tmp_path) as line:
        assert "it speaks no TLS" in line.connection.fault
    async with line_to(spec_of(server, servers=(f"tls://127.0.0.1:{server.port}",)), tmp_path) as line:
        assert "it speaks no TLS" in line.connection.fault


async def test_any_of_several_servers_will_do(tmp_path: Path, make_server: MakeServer) -> None:
    servers = [make_server(), make_server()]
    spec = spec_of(*servers)
    spec = replace(spec, servers=(f"127.0.0.1:{free_port()}", *spec.servers))
    async with line_to(spec, tmp_path) as line:
        for _ in servers:
            await line.up()
            used = line.connection.info["port"]
            next(each for each in servers if each.port == used).kill()
            await eventually(
                lambda used=used: line.connection.info["port"] != used or not line.connection.up, "its end"
            )
        await eventually(lambda: line.connection.fault.count("connection refused") == 3, "all three to be named")


async def test_servers_of_a_cluster_that_nobody_has_named_are_found(tmp_path: Path, make_server: MakeServer) -> None:
    routes = [free_port(), free_port()]
    urls = ", ".join(f"nats-route://127.0.0.1:{port}" for port in routes)
    cluster = "cluster {{ name: c, listen: 127.0.0.1:{}, routes: [ {} ] }}"
    first, second = (make_server(cluster.format(port, urls)) for port in routes)
    async with line_to(spec_of(first), tmp_path) as line:
        await line.up()
        await eventually(lambda: str(second.port) in str(line.connection.info.get("connect_urls")), "the other server")
        first.kill()
        await eventually(lambda: line.connection.info.get("port") == second.port, "the other server to be used")
        await line.up()


async def test_what_is_not_permitted_is_told_and_the_rest_is_published(tmp_path: Path, make_server: MakeServer) -> None:
    permissions = '{ publish: { allow: ["a.>", "_INBOX.>"] }, subscribe: { deny: "secret.>" } }'
    server = make_server(f"authorization {{ users: [ {{ user: u, password: p, permissions: {permissions} }} ] }}")
    spec = spec_of(server, user="u", password=secret(tmp_path, "password", "p"))
    async with line_to(spec, tmp_path) as line:
        await line.up()
        came = line.subscribe("a.b")
        for subject in ("a.b", "other", "a.b"):
            line.connection.publish(subject, b"x")
        assert await line.flush() == Flushed(denied=frozenset({"other"}))
        assert await line.flush() == Flushed()
        assert len(came) == 2
        line.subscribe("secret.a")
        line.subscribe("secret.b", "a-queue")
        await line.flush()
        assert line.denied == [("publish", "other"), ("subscription", "secret.a"), ("subscription", "secret.b")]
        with pytest.raises(NotPermitted):
            await line.requests.ask("other", b"")
        assert line.connection.up


async def test_a_server_that_cuts_the_connection_for_a_fault_of_ours_is_connected_to_again(
    tmp_path: Path, make_server: MakeServer
) -> None:
    server = make_server("max_payload: 100000")
    async with line_to(spec_of(server), tmp_path) as line:
        await line.up()
        assert line.connection.max_payload_bytes == 100_000
        assert line.connection.payload_limit_bytes == 100_000 - (16 << 10)
        came = line.subscribe("a")
        line.connection.publish("a", bytes(100_001))
        assert (await line.flush()).fault
        assert line.states[1][0] == "down"  # why it says itself, where its word comes before the reset
        await line.up()
        line.connection.publish("a", b"x")
        assert (await line.flush()).fault == ""
        assert [raw[3] for raw in came] == [b"x"]


async def test_a_silent_server_is_found_by_pings(tmp_path: Path, make_server: MakeServer) -> None:
    server = make_server()
    async with line_to(spec_of(server, ping_interval_s=1.0), tmp_path) as line:
        await line.up()
        server.pause()
        line.connection.publish("a", b"x")
        flushed = await line.flush()
        assert flushed.fault
        await eventually(lambda: not line.connection.up, "the silence to be seen")
        assert "no answer to 2 pings" in line.states[1][1]
        server.go_on()
        await line.up()


async def test_a_confirmation_that_does_not_come_is_not_waited_for(tmp_path: Path, make_server: MakeServer) -> None:
    server = make_server()
    async with line_to(spec_of(server, ping_interval_s=600.0), tmp_path) as line:
        await line.up()
        server.pause()
        assert (await line.flush()).fault == "no confirmation in time"
        assert line.connection.up
        server.go_on()
        assert (await line.flush()).fault == ""


async def test_requests_are_answered(tmp_path: Path, make_server: MakeServer) -> None:
    server = make_server()
    async with line_to(spec_of(server), tmp_path) as line, line_to(spec_of(server), tmp_path) as other:
        connection = other.connection

        def answer(raws: list[Raw]) -> None:
            for _, reply, headers, payload in raws:
                connection.publish(reply.decode(), b"re: " + payload, headers=headers)

        connection.subscribe("svc", answer)
        await other.flush()
        headers = encode_headers([("x-a", "1")])
        answers = await asyncio.gather(*(line.requests.ask("svc", f"{n}".encode(), headers) for n in range(100)))
        assert [raw[3] for raw in answers] == [f"re: {n}".encode() for n in range(100)]
        assert decode_headers(answers[0][2]) == [("x-a", "1")]
        with pytest.raises(BrokerUnavailable, match="nobody answers"):
            await line.requests.ask("nobody", b"")
        server.kill()
        with pytest.raises(BrokerUnavailable):
            await line.requests.ask("svc", b"")


async def test_what_was_on_its_way_when_a_subscription_drained_still_comes(
    tmp_path: Path, make_server: MakeServer
) -> None:
    server = make_server()
    async with line_to(spec_of(server), tmp_path) as line:
        came: list[Raw] = []
        sid = line.connection.subscribe("a", came.extend)
        line.connection.publish("a", b"before")
        line.connection.drain(sid)
        line.connection.publish("a", b"after")
        await line.flush()
        assert [raw[3] for raw in came] == [b"before"]
