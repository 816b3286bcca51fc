"""A whole farm, from outside: messages in, answers out, and what its status says of it."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.sync.client import connect

from farm.client.blocking import Missed, Subscription
from tests.guests import wat
from tests.system.family import FARM, Family, family, wait_until

MANIFEST = """
[app]
name = "echoes"
[brokers.test]
type = "memory"
gateway = { port = 0, websockets = "text" }
[brokers.secondary]
type = "memory"
gateway = { port = 0, websockets = "json" }
[components.echo]
source = "echo.wasm"
triggers = [{ broker = "test", topic = "hello.*", publish = { broker = "secondary", subject = "good.bye" } }]
[components.again]
source = "echo.wasm"
triggers = [{ broker = "secondary", topic = "good.bye", publish = { broker = "test", subject = "sink" } }]
"""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    guests = {"echo": wat.wasm("echo")}
    with family(tmp_path_factory.mktemp("echoes"), MANIFEST, guests) as made:
        made.up(workers=3)
        yield made


def address(farm: Family, broker: str) -> str:
    return farm.counters()["brokers"][broker].get("gateway") or farm.status()["brokers"][broker]["gateway"]


def post(url: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=20) as answer:
        return answer.status, dict(answer.headers), answer.read()


def test_a_message_goes_through_both_components_and_both_brokers(farm: Family) -> None:
    with farm.connect() as client, client.subscribe("sink", broker="test") as heard:
        client.publish("hello.world", b"Ada", broker="test")
        word = next(iter(heard))
    assert not isinstance(word, Missed)
    assert (word.subject, word.payload) == ("sink", b"Ada")


def test_an_output_has_its_parents_id_in_its_own(farm: Family) -> None:
    with farm.connect() as client, client.subscribe("sink", broker="test") as heard:
        receipt = client.publish("hello.world", b"x")
        word = next(iter(heard))
    assert not isinstance(word, Missed)
    assert word.id == f"{receipt.id}:echo:0:again:0"


def test_http_publishes_and_a_websocket_hears(farm: Family) -> None:
    with connect(f"ws://{address(farm, 'secondary')}/subscribe/good.*") as heard:
        status, headers, _ = post(f"http://{address(farm, 'test')}/publish/hello.http", b"Grace")
        frame: dict[str, Any] = json.loads(heard.recv(timeout=20))
    assert status == 202
    assert headers["Farm-Message-Id"]
    assert bytes(frame["message"]) == b"Grace"
    assert (frame["subject"], frame["broker"]) == ("good.bye", "secondary")


def test_the_command_line_publishes_and_subscribes(farm: Family) -> None:
    with farm.connect() as client, client.subscribe("good.*", broker="secondary") as heard:
        ended = farm.run("publish", "hello.cli", "Lin")
        word = next(iter(heard))
    assert ended.returncode == 0, ended.stderr.decode()
    assert not isinstance(word, Missed)
    assert word.payload == b"Lin"


def test_status_says_what_happened(farm: Family) -> None:
    farm.wait_settled()
    before = farm.status()
    with farm.connect() as client:
        client.publish("hello.counted", b"x")
    wait_until(lambda: farm.component("again")["handled"] == before["components"]["again"]["handled"] + 1, "both calls")
    farm.wait_settled()
    after = farm.status()
    assert after["state"] == "ready"
    assert after["app"] == "echoes"
    assert after["components"]["echo"]["handled"] == before["components"]["echo"]["handled"] + 1
    assert after["brokers"]["test"]["published"] == before["brokers"]["test"]["published"] + 2
    assert [p["role"] for p in after["processes"]] == ["ingest", "gateway", "worker", "worker", "worker"]
    assert len(after["components"]["echo"]["digest"]) == 64


def test_status_keeps_its_promised_shape(farm: Family) -> None:
    status = farm.status()
    assert {"app", "state", "pid", "processes", "brokers", "components", "ingest"} <= status.keys()
    assert {"stale", "ignored", "left_out", "take_backs", "taken_back"} <= status["ingest"].keys()
    for process in status["processes"]:
        assert {"role", "index", "pid", "state", "restarts"} <= process.keys()
    for broker in status["brokers"].values():
        assert {
            "type",
            "state",
            "gateway",
            "received",
            "published",
            "refused",
            "unmatched",
            "gaps",
            "dropped",
        } <= broker.keys()
    counted = {
        "received",
        "handled",
        "failed",
        "retried",
        "dead_lettered",
        "in_flight",
        "waiting",
        "last_error",
        "digest",
    }
    for component in status["components"].values():
        assert counted <= component.keys()


def test_a_worker_may_hold_half_a_gib_and_twice_what_its_guests_may(farm: Family) -> None:
    guests_bytes = 2 * (128 << 20)
    limits_bytes = [psutil.Process(pid).rlimit(psutil.RLIMIT_DATA)[0] for pid in farm.pids("worker")]
    assert limits_bytes == [(512 << 20) + 2 * guests_bytes] * 3


def test_every_one_of_20000_messages_is_handled_exactly_once_by_8_workers(tmp_path: Path) -> None:
    count = 20_000
    guests = {"echo": wat.wasm("echo")}
    with family(tmp_path, MANIFEST, guests) as made:
        made.up(workers=8)
        (tmp_path / "messages").write_bytes(b"\n".join(b"%d" % n for n in range(count)))
        with made.connect() as client, client.subscribe("sink", broker="test") as heard:
            with subprocess.Popen(
                [FARM, "publish", "hello.many", "--file", "messages"], cwd=tmp_path, env=made.env
            ) as publisher:
                seen, missed = collect(heard, count)
            assert publisher.returncode == 0
        made.wait_settled()
        components = made.counters()["components"]
        for name in ("echo", "again"):
            assert components[name]["received"] == components[name]["handled"] == count
            assert components[name]["failed"] == components[name]["retried"] == components[name]["dead_lettered"] == 0
        assert len(seen) + missed <= count
        assert set(seen.values()) == {1}, "an answer came twice"
        assert missed or len(seen) == count
        assert made.down() == 0


def collect(heard: Subscription, count: int) -> tuple[dict[bytes, int], int]:
    """Hear until `count` messages came or nothing comes any more: how often each payload, and how many were missed."""
    seen: dict[bytes, int] = {}
    missed = 0
    while len(seen) + missed < count and (word := heard.next(5.0)) is not None:
        if isinstance(word, Missed):
            missed += word.count
        else:
            seen[word.payload] = seen.get(word.payload, 0) + 1
    return seen, missed
