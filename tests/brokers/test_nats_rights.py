"""What a NATS server does not let farm subscribe to, and what becomes of it when it does after all."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from farm.brokers.nats import NatsBroker
from farm.brokers.options.nats import NatsSpec
from farm.spec import Secret
from farm.testing.rig import Ends, eventually, home_of, numbered, payloads
from tests.brokers import nats_house
from tests.brokers.jetstream_house import down, running, up
from tests.brokers.nats_house import MakeServer
from tests.servers import NatsServer

make_server = nats_house.make_server


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was refused is asked for again soon."""
    monkeypatch.setattr("farm.brokers.nats_connection.AGAIN_S", 0.2)


def denying(filters: str) -> str:
    permissions = f"{{ subscribe: {{ deny: {filters} }} }}"
    return f"authorization {{ users: [ {{ user: u, password: p, permissions: {permissions} }} ] }}"


def reload(server: NatsServer, config: str) -> None:
    """Have it read another configuration; connections stay."""
    server.config = config
    server.command()  # writes it down
    os.kill(server.pid, signal.SIGHUP)


def keys_of(folder: Path) -> dict[str, Any]:
    password = folder / "password"
    password.write_text("p")
    password.chmod(0o600)
    return {"user": "u", "password": Secret(file=password)}


def ends_at(server: NatsServer, folder: Path, **keys: Any) -> Ends:
    spec = NatsSpec(name="test", type="nats", servers=(f"127.0.0.1:{server.port}",), ping_interval_s=1.0, **keys)
    return Ends(NatsBroker(spec, home_of(folder / "home")))


async def test_a_subject_that_is_permitted_later_is_heard_from_then_on(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(denying('["secret.>"]'))
    ends = ends_at(server, tmp_path, **keys_of(tmp_path))
    came = ends.trigger(0, "secret.a", granted=1000)
    queued = ends.trigger(1, "secret.q", granted=1000, group="g")
    await ends.broker.start()
    await down(ends, "it refuses the subscription to secret.a, secret.q")
    reload(server, denying('["secret.a"]'))
    await eventually(lambda: ends.broker.fault.endswith("subscription to secret.a"), "the one that is still refused")
    reload(server, denying('["nothing"]'))
    await up(ends)
    await ends.publish(*numbered(3, "secret.a"), *numbered(3, "secret.q"))
    await eventually(lambda: len(payloads(came)) == len(payloads(queued)) == 3, "all of them")
    assert ends.broker.counters.gaps == 2  # nobody knows what was sent meanwhile
    await ends.broker.close()


async def test_a_subject_that_is_permitted_no_longer_is_told(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(denying('["nothing"]'))
    ends = await ends_at(server, tmp_path, **keys_of(tmp_path)).start()
    came = ends.trigger(0, "secret.a", granted=1000)
    await ends.ready("secret.a", came)
    reload(server, denying('["secret.a"]'))
    await down(ends, "it refuses the subscription to secret.a")
    reload(server, denying('["nothing"]'))
    await up(ends)
    before = len(payloads(came))
    await ends.publish(*numbered(3, "secret.a"))
    await eventually(lambda: len(payloads(came)) == before + 3, "all of them")
    await ends.broker.close()


async def test_more_subscriptions_than_a_server_allows_are_told(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server("max_subscriptions: 2")
    ends = await ends_at(server, tmp_path).start()
    first = ends.trigger(0, "a.a", granted=1000)
    heard, end = ends.listener("a.b")
    await ends.ready("a.a", first)
    await ends.ready("a.b", heard)
    last = ends.trigger(1, "a.c", granted=1000)
    await down(ends, "it refuses the subscription to a.c")
    end()
    await up(ends)
    await ends.ready("a.c", last)
    await ends.broker.close()


async def test_where_no_answer_can_be_heard_jetstream_says_so(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(denying('["_INBOX.>"]'), jetstream=True)
    async with running(server, tmp_path, **keys_of(tmp_path)) as ends:
        came = ends.trigger(0, "a.b", granted=1000)
        await down(ends, "the server does not let us hear answers: permit subscriptions to _INBOX.>")
        reload(server, denying('["nothing"]'))
        await up(ends)
        await ends.ready("a.b", came)
        ends.broker.settle(came)
