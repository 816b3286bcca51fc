"""MQTT to MQTT with QoS 1: who echoes how many messages a second, with one mosquitto, in turn.

    bare paho     a callback that publishes, and acknowledges once that is confirmed; one process, no component
    farm          a Python guest, 2 workers
Each with MQTT 5 and with 3.1.1. The feeder is this process: packets made once, answers counted by their topic, so that
it is no part of the figure. The server keeps nothing on the disk and has no Nagle, so that nobody waits for either.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from farm.brokers.mqtt_packets import publish
from tests.bench import farms
from tests.bench.feeder import BLOCK, PATIENCE_S, Feeder, Stand
from tests.bench.machine import quietest
from tests.bench.ratios import Ratio, ratio
from tests.bench.report import Effort, Report, Row, Say, Table
from tests.servers import Mosquitto

PAYLOAD: Final = b"x" * 100
ECHO: Final = Path(__file__).parent / "mqtt_echoes" / "bare.py"
VERSIONS: Final = ("5", "3")
HEADS: Final = {"who": "who", "per_s": "messages/s", "of_bare": "of bare"}
NAMES: Final = {
    "bare5": "bare paho, MQTT 5",
    "farm5": "farm, MQTT 5, Python guest, 2 workers",
    "bare3": "bare paho, MQTT 3.1.1",
    "farm3": "farm, MQTT 3.1.1, Python guest, 2 workers",
}
SERVER: Final = "allow_anonymous true\nset_tcp_nodelay true\nmax_inflight_messages 8192\nautosave_interval 0"
MANIFEST: Final = """
[app]
name = "bench"
[brokers.five]
type = "mqtt"
url = "mqtt://127.0.0.1:{port}"
[brokers.three]
type = "mqtt"
url = "mqtt://127.0.0.1:{port}"
version = "3.1.1"
[components.python]
source = "python.wasm"
triggers = [
  {{ broker = "five", topic = "in.farm5", publish = {{ subject = "out.farm5" }} }},
  {{ broker = "three", topic = "in.farm3", publish = {{ subject = "out.farm3" }} }},
]
"""


class MqttFeeder(Feeder):
    """Publishes to `in/<name>` with QoS 1 and counts what comes on `out/<name>`. It speaks MQTT 3.1.1."""

    window = 1024
    probe_s = 0.2

    def __init__(self, port: int, name: str) -> None:
        topic = b"out/" + name.encode()
        block = b"".join(publish(b"in/" + name.encode(), PAYLOAD, 1 + n, None) for n in range(BLOCK))
        super().__init__(port, block, topic)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        own = b"feeder-" + name.encode()
        connect = b"\x00\x04MQTT\x04\x02\x00\x00" + len(own).to_bytes(2) + own
        subscribe = b"\x00\x01" + len(topic).to_bytes(2) + topic + b"\x00"
        self._socket.sendall(bytes((0x10, len(connect))) + connect + bytes((0x82, len(subscribe))) + subscribe)


def measure(effort: Effort, say: Say) -> Report:
    """The whole section."""
    seconds = max(1.0, effort.window_s * 3)
    with ExitStack() as stack:
        say("mqtt: starting the server and those that echo")
        stand = _stand(stack)
        rounds = quietest(lambda number: stand.round(number, seconds, say), effort.pairs, effort.rounds, stand.pids)
    rates = {name: [each[name] for each in rounds] for name in NAMES}
    report = Report()
    report.tables.append(Table("mqtt", "mqtt: MQTT - echo - MQTT, QoS 1, 100 bytes", HEADS, _rows(rates)))
    report.ratios += _ratios(rates)
    return report


@contextmanager
def _echo(port: int, version: str) -> Iterator[int]:
    """paho alone: its pid."""
    process = subprocess.Popen([sys.executable, ECHO, str(port), version], stdout=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _stand(stack: ExitStack) -> Stand:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mqtt-")))
    server = Mosquitto(folder, SERVER)
    server.start()
    stack.callback(server.stop)
    pids = [server.pid, *(stack.enter_context(_echo(server.port, version)) for version in VERSIONS)]
    made = stack.enter_context(farms.farm(["Python"], text=MANIFEST.format(port=server.port)))
    made.up(2)
    stack.callback(made.down)
    feeders = {name: MqttFeeder(server.port, name) for name in NAMES}
    for name, feeder in feeders.items():
        stack.callback(feeder.close)
        feeder.wait_ready(name)
    return Stand("mqtt", feeders, [*pids, *(pid for some in farms.pids(made).values() for pid in some)])


def _rows(rates: dict[str, list[float]]) -> list[Row]:
    return [
        {
            "who": NAMES[name],
            "per_s": round(median(found)),
            "of_bare": ratio("", "higher", found, rates[f"bare{name[-1]}"]).value,
        }
        for name, found in rates.items()
    ]


def _ratios(rates: dict[str, list[float]]) -> list[Ratio]:
    return [
        ratio(f"mqtt {shown}, Python guest: farm / bare paho", "higher", rates[f"farm{last}"], rates[f"bare{last}"])
        for last, shown in (("5", "5"), ("3", "3.1.1"))
    ]
