"""What goes wrong between farm and an MQTT server: one line that says what, and how farm goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from farm.broker import Home, Published
from farm.brokers.faults import WANTED
from farm.brokers.mqtt import MqttBroker
from farm.errors import BrokerError, InputError, NotPermitted
from farm.message import Message
from farm.secrets import Secrets
from farm.spec import Secret, TlsSpec
from farm.testing.rig import Ends, eventually, home_of
from tests.brokers.mqtt_ends import VERSIONS, broker_of, client_of, held_by, last_word_on, spec_of
from tests.brokers.nats_keys import certificates
from tests.contract.mqtt_rig import KEPT, PlainClient
from tests.servers import Mosquitto, NatsServer, free_port, program

PASSWORD = "open-sesame"
ACL = """
user farm
topic readwrite a/#
topic write only/write
topic readwrite farm/#
"""

MakeServer = Callable[..., Mosquitto]


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    """Makes servers that end with the test."""
    made: list[Mosquitto] = []

    def make(config: str, name: str = "server") -> Mosquitto:
        server = Mosquitto(tmp_path / name, config)
        server.start()
        made.append(server)
        return server

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_of(tmp_path / "home", secret=Secrets(None).read)


@pytest.fixture
def guarded(make_server: MakeServer, tmp_path: Path) -> Mosquitto:
    """A server with one user, who may do some things."""
    users, acl = tmp_path / "users", tmp_path / "acl"
    users.touch()
    subprocess.run([program("mosquitto_passwd"), "-b", str(users), "farm", PASSWORD], check=True, capture_output=True)
    acl.write_text(ACL)
    return make_server(f"password_file {users}\nacl_file {acl}")


def secret_of(folder: Path, text: str) -> Secret:
    path = folder / "secret"
    path.write_text(f"{text}\n")
    path.chmod(0o600)
    return Secret(file=path)


async def fault_of(spec: Any, home: Home) -> str:
    async with broker_of(spec, home, up=False) as ends:
        assert ends.broker.state == "down"
        fault = ends.broker.fault
    assert fault.isprintable()
    assert PASSWORD not in fault
    assert fault.startswith(f"{spec.at}: ")
    return fault.removeprefix(f"{spec.at}: ")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_wrong_password_and_a_missing_one(guarded: Mosquitto, home: Home, tmp_path: Path, version: Any) -> None:
    right, wrong = secret_of(tmp_path, PASSWORD), Secret(file=tmp_path / "wrong")
    (tmp_path / "wrong").write_text("guessed")
    (tmp_path / "wrong").chmod(0o600)
    keys = {"version": version, "username": "farm"}
    for spec in (spec_of(guarded.port, password=wrong, **keys), spec_of(guarded.port, version=version)):
        assert (await fault_of(spec, home)).endswith("it refuses: not authorized. Check username and password")
    async with broker_of(spec_of(guarded.port, password=right, **keys), home) as ends:
        assert ends.broker.state == "up"


async def test_a_secret_is_read_anew_at_each_connect(guarded: Mosquitto, home: Home, tmp_path: Path) -> None:
    path = tmp_path / "later"
    spec = spec_of(guarded.port, username="farm", password=Secret(file=path))
    assert "no such file" in await fault_of(spec, home)
    async with broker_of(spec, home, up=False) as ends:
        assert ends.broker.state == "down"
        path.touch(0o600)
        path.write_text(PASSWORD)
        await eventually(lambda: ends.broker.state == "up", "the broker to be up")


async def test_a_publish_that_is_not_allowed_is_refused_by_mqtt_5(
    guarded: Mosquitto, home: Home, tmp_path: Path
) -> None:
    spec = spec_of(guarded.port, username="farm", password=secret_of(tmp_path, PASSWORD))
    async with broker_of(spec, home) as ends:
        [answer] = await ends.publish(Message("1", "forbidden", b""))
        assert isinstance(answer, NotPermitted)
        assert "'forbidden'" in str(answer)


async def test_a_publish_that_costs_the_connection_is_found_among_others(
    guarded: Mosquitto, home: Home, tmp_path: Path
) -> None:
    """mosquitto 2.0.11 says no and closes the connection, and what it has said may be lost with it."""
    spec = spec_of(guarded.port, username="farm", password=secret_of(tmp_path, PASSWORD))
    async with broker_of(spec, home) as ends:
        left = {n: Message(f"id-{n}", "forbidden" if n == 25 else "a.b", b"%d" % n) for n in range(50)}
        final: dict[int, Any] = {}
        while left:
            await eventually(lambda: ends.broker.state == "up", "the broker to be up")
            answers = await ends.publish(*left.values())
            done = {n: answer for n, answer in zip(left, answers, strict=True) if not isinstance(answer, BrokerError)}
            final |= done
            left = {n: message for n, message in left.items() if n not in done}
        assert isinstance(final.pop(25), NotPermitted)
        assert all(isinstance(answer, Published) for answer in final.values())


async def test_what_is_too_large_for_a_server_that_did_not_say_so_is_refused_for_good(
    make_server: MakeServer, home: Home
) -> None:
    server = make_server("allow_anonymous true\nmessage_size_limit 1000")
    async with broker_of(spec_of(server.port), home) as ends:
        answer = await last_word_on(Message("1", "a.b", b"x" * 1001), ends)
        assert isinstance(answer, InputError)
        assert str(answer).endswith(": packet too large")
        assert isinstance(await last_word_on(Message("2", "a.b", b"x" * 1000), ends), Published)


async def test_a_subscription_that_is_refused_is_no_small_matter(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.brokers.mqtt_lane.AGAIN_S", 0.2)
    port = free_port()
    user = "user: farm, password: open-sesame, permissions: {{ subscribe: {{ {} }} }}"
    rules = "authorization {{ users = [ {{ " + user + " }} ] }}"
    config = f'server_name: one\nmqtt {{ host: "127.0.0.1", port: {port} }}\n'
    server = NatsServer(tmp_path / "nats", config + rules.format('deny: "later.>"'), jetstream=True)
    server.start()
    spec = spec_of(port, username="farm", password=secret_of(tmp_path, PASSWORD), version="3.1.1")
    async with broker_of(spec, home) as ends:
        came = ends.trigger(0, "a.*", granted=1000)
        await ends.ready("a.b", came)
        other = ends.trigger(1, "later.*", granted=1000)
        await eventually(lambda: ends.broker.state == "down", "the refusal")
        assert "refuses the subscription 'later/+'" in ends.broker.fault
        before = len(came)
        assert isinstance((await ends.publish(Message("1", "a.b", b"works")))[0], Published)
        await eventually(lambda: len(came) > before, "what still works")
        server.config = config + rules.format('deny: "never.>"')
        server.command()  # writes it down
        os.kill(server.pid, signal.SIGHUP)
        await eventually(lambda: ends.broker.state == "up", "the broker to be up")
        await ends.ready("later.x", other)
        ends.broker.settle([*came, *other])
    server.stop()


@pytest.mark.parametrize("version", VERSIONS)
async def test_another_client_with_our_id_is_told(make_server: MakeServer, home: Home, version: Any) -> None:
    server = make_server(KEPT)
    async with broker_of(spec_of(server.port, client_id="one", version=version), home) as ends:
        assert ends.states[-1] == ("up", "")
        for _ in range(3):
            taker = PlainClient(server.port, five=True, client_id="one")
            before = len(ends.states)
            await taker.open()
            await eventually(lambda: "down" in [state for state, _ in ends.states[before:]], "the broker to see it")  # noqa: B023
            await taker.close()
            await eventually(lambda: ends.broker.state == "up", "the broker to be up again")
        faults = [fault for state, fault in ends.states if state == "down"]
        assert any("another client has our id, 'one'" in each for each in faults)


async def test_two_farms_with_one_id_are_both_told_why_they_come_and_go(
    make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server(KEPT)
    spec = spec_of(server.port, client_id="one")
    async with (
        broker_of(spec, home_of(tmp_path / "home", 0)) as one,
        broker_of(spec, home_of(tmp_path / "home", 1), up=False) as other,
    ):
        for ends in (one, other):
            await eventually(lambda: any("has our id, 'one'" in fault for _, fault in ends.states), "to be told")  # noqa: B023


async def test_a_server_of_3_1_1_is_told_from_a_wrong_password(home: Home, tmp_path: Path) -> None:
    port = free_port()
    config = f'server_name: one\nmqtt {{ host: "127.0.0.1", port: {port} }}'
    server = NatsServer(tmp_path / "nats", config, jetstream=True)
    server.start()
    assert await fault_of(spec_of(port), home) == 'it speaks no MQTT 5: set version = "3.1.1"'
    server.stop()


async def test_a_server_without_qos_1_is_told(make_server: MakeServer, home: Home) -> None:
    server = make_server(f"{KEPT}\nmax_qos 0")
    assert "set qos = 0" in await fault_of(spec_of(server.port), home)
    async with broker_of(spec_of(server.port, qos=0), home) as ends:
        came = ends.trigger(0, "a.b", granted=10)
        await ends.ready("a.b", came)


async def test_what_is_no_mqtt_server_is_told(home: Home, tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    server.start()
    assert await fault_of(spec_of(server.port), home) == "it does not speak MQTT"
    server.stop()


async def test_a_server_without_tls_is_guessed(make_server: MakeServer, home: Home) -> None:
    server = make_server(KEPT)
    fault = await fault_of(spec_of(server.port, url=f"mqtts://127.0.0.1:{server.port}"), home)
    assert fault.endswith(": perhaps it speaks no TLS")


async def test_tls_with_an_authority_and_a_certificate_of_our_own(
    make_server: MakeServer, home: Home, tmp_path: Path
) -> None:
    files = certificates(tmp_path / "pki")
    tls = f"cafile {files.ca}\ncertfile {files.server}\nkeyfile {files.server_key}\nrequire_certificate true"
    server = make_server(f"{KEPT}\n{tls}")
    url = f"mqtts://127.0.0.1:{server.port}"
    ours = TlsSpec(files.ca, files.client, files.client_key)
    async with broker_of(spec_of(server.port, url=url, tls=ours), home) as ends:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        large = bytes(1 << 20)
        await ends.publish(Message("id", "a.b", large))
        await eventually(lambda: large in [each.message.payload for each in came], "a large message")
        ends.broker.settle(came)
    fault = await fault_of(spec_of(server.port, url=url), home)
    assert "its certificate is not trusted" in fault
    assert fault.endswith('. Name its authority: tls = { ca = ".." }')
    missing = TlsSpec(files.ca, tmp_path / "none.pem")
    assert f"cannot use {missing.certificate}" in await fault_of(spec_of(server.port, url=url, tls=missing), home)
    missing = TlsSpec(tmp_path / "none.pem")
    assert f"cannot use {missing.ca}" in await fault_of(spec_of(server.port, url=url, tls=missing), home)
    assert await fault_of(spec_of(server.port, url=url, tls=TlsSpec(files.ca)), home) == WANTED
    assert (await fault_of(spec_of(server.port), home)).endswith("perhaps it wants TLS (mqtts://)")


async def test_a_server_that_says_why_it_ends_the_connection_is_believed(home: Home) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"\x20\x03\x00\x00\x00" + b"\xe0\x09\x8e\x07\x1f\x00\x04away")
        await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with broker_of(spec_of(port), home, up=False) as ends:
        fault = "it closed the connection: session taken over (away)"
        await eventually(lambda: any(each.endswith(fault) for _, each in ends.states), "to be told")
    server.close()


async def test_what_a_server_confirms_with_its_last_words_is_confirmed(home: Home) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"\x20\x03\x00\x00\x00")
        published = await reader.read(1000)
        number = published[7:9]  # behind the topic, `a/b`
        writer.write(b"\x40\x02" + number + b"\xe0\x02\x8b\x00")
        await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with broker_of(spec_of(server.sockets[0].getsockname()[1]), home) as ends:
        assert isinstance((await ends.publish(Message("1", "a.b", b"x")))[0], Published)
        fault = "it closed the connection: server shutting down"
        await eventually(lambda: any(each.endswith(fault) for _, each in ends.states), "to be told")
    server.close()


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_inside_a_websocket(home: Home, tmp_path: Path, scheme: str) -> None:
    files, port = certificates(tmp_path / "pki"), free_port()
    tls = (
        f'tls {{ cert_file: "{files.server}", key_file: "{files.server_key}" }}' if scheme == "wss" else "no_tls: true"
    )
    listeners = (
        f'mqtt {{ host: "127.0.0.1", port: {free_port()} }}\nwebsocket {{ host: "127.0.0.1", port: {port}, {tls} }}'
    )
    server = NatsServer(tmp_path / "nats", f"server_name: one\n{listeners}", jetstream=True)
    server.start()
    ca = TlsSpec(files.ca) if scheme == "wss" else None
    spec = spec_of(port, url=f"{scheme}://127.0.0.1:{port}", tls=ca, version="3.1.1")
    async with broker_of(spec, home) as ends:
        came = ends.trigger(0, "a.b", granted=1000)
        heard, _ = ends.listener("a.b")
        await ends.ready("a.b", came, heard)
        payloads = [b"", bytes(range(256)), bytes(200_000)]
        await ends.publish(*(Message("id", "a.b", payload) for payload in payloads))
        await eventually(lambda: [each.message.payload for each in came][-3:] == payloads, "all of them")
        ends.broker.settle(came)
        server.stop()
        await eventually(lambda: ends.broker.state != "up", "the broker to see it")
        server.start()
        came.clear()
        await ends.ready("a.b", came)
        ends.broker.settle(came)
    elsewhere = spec_of(port, url=f"{scheme}://127.0.0.1:{port}/elsewhere", tls=ca, version="3.1.1")
    assert await fault_of(elsewhere, home)
    server.stop()


async def test_over_a_unix_socket(make_server: MakeServer, home: Home, tmp_path: Path) -> None:
    path = tmp_path / "mosquitto.sock"
    server = make_server(f"{KEPT}\nlistener 0 {path}")
    async with broker_of(spec_of(server.port, url=f"unix://{path}"), home) as ends:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        ends.broker.settle(came)
    assert "no such file" in await fault_of(spec_of(server.port, url=f"unix://{path}.none"), home)


async def test_a_file_that_cannot_be_read_begins_the_session_anew(make_server: MakeServer, home: Home) -> None:
    server = make_server(KEPT)
    (home.folder() / "session.json").write_text("{")
    async with broker_of(spec_of(server.port), home) as ends:
        came = ends.trigger(0, "a.b", granted=1000)
        await ends.ready("a.b", came)
        ends.broker.settle(came)


async def test_a_client_that_sends_what_no_server_should_pass_on_does_not_cut_the_connection(
    make_server: MakeServer, home: Home
) -> None:
    server = make_server(KEPT)
    async with broker_of(spec_of(server.port), home) as ends, client_of(server.port) as client:
        came = ends.trigger(0, "a.>", granted=1000)
        await ends.ready("a.b", came)
        states = len(ends.states)
        await ends.publish(Message("i\x00d", "a.b", b"x", (("x-k", "a\x00\n\ud800"),)))
        await client.send("a/" + "b/" * 50, b"deep")
        await client.send("a/" + "c" * 5000, b"long")
        await eventually(lambda: {b"x", b"deep", b"long"} <= {each.message.payload for each in came}, "all of them")
        assert len(ends.states) == states
        ends.broker.settle(came)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_message_that_is_too_large_for_us_does_not_come_for_ever(
    make_server: MakeServer, home: Home, monkeypatch: pytest.MonkeyPatch, version: Any
) -> None:
    monkeypatch.setattr("farm.brokers.mqtt_link.PACKET_LIMIT_BYTES", 100_000)
    server = make_server(KEPT)
    async with broker_of(spec_of(server.port, version=version), home) as ends, client_of(server.port) as client:
        came = ends.trigger(0, "a.>", granted=1000)
        await ends.ready("a.b", came)
        states = len(ends.states)
        await client.send("a/large", bytes(200_000))
        await client.send("a/b", b"mark")
        await eventually(lambda: b"mark" in [each.message.payload for each in came], "the mark")
        assert ends.broker.counters.dropped == 1
        assert len(ends.states) == states
        ends.broker.settle(came)
        await eventually(lambda: not held_by(ends), "everything acknowledged")


def test_a_broker_is_made_without_touching_anything(home: Home) -> None:
    broker = MqttBroker(spec_of(1), home)
    assert (broker.state, broker.fault) == ("connecting", "")
    assert not list(home.folder().iterdir())


async def test_what_is_asked_for_before_the_start_is_there_after_it(make_server: MakeServer, home: Home) -> None:
    server = make_server(KEPT)
    ends = Ends(MqttBroker(spec_of(server.port), home))
    came = ends.trigger(0, "a.b", granted=1000)
    heard, _ = ends.listener("a.b")
    await ends.start()
    await ends.ready("a.b", came, heard)
    await ends.broker.close()
