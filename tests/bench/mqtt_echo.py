"""MQTT to MQTT with QoS 1: who echoes how many messages a second, with one mosquitto, in turn.

    bare paho     a callback that publishes, and acknowledges once that is confirmed; one process, no component
    farm          a Python guest, 2 workers
Each with MQTT 5 and with 3.1.1. The feeder is this process: packets made once, answers counted by their topic, so that
it is no part of the figure. The server keeps nothing on the disk and has no Nagle, so that nobody waits for either.
Run: python -m tests.bench.mqtt_echo
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from farm.brokers.mqtt_packets import publish
from tests.bench import farms
from tests.bench.machine import quietest
from tests.bench.ratios import Ratio, ratio
from tests.bench.report import FULL, Effort, Report, Row, Say, Table
from tests.servers import Mosquitto

PAYLOAD: Final = b"x" * 100
BLOCK: Final = 64  # messages in one write
WINDOW: Final = 1024  # on their way at most
WARM_S: Final = 0.5
PATIENCE_S: Final = 30.0
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


class Feeder:
    """Publishes to `in/<name>` with QoS 1 and counts what comes on `out/<name>`. It speaks MQTT 3.1.1."""

    def __init__(self, port: int, name: str) -> None:
        self._socket: Final = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(PATIENCE_S)
        self._block: Final = b"".join(publish(b"in/" + name.encode(), PAYLOAD, 1 + n, None) for n in range(BLOCK))
        self._mark: Final = b"out/" + name.encode()
        self._rest = b""
        self._ahead = 0
        own, topic = b"feeder-" + name.encode(), self._mark
        connect = b"\x00\x04MQTT\x04\x02\x00\x00" + len(own).to_bytes(2) + own
        subscribe = b"\x00\x01" + len(topic).to_bytes(2) + topic + b"\x00"
        self._socket.sendall(bytes((0x10, len(connect))) + connect + bytes((0x82, len(subscribe))) + subscribe)

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def wait_ready(self, name: str) -> None:
        """Until somebody answers."""
        end_s = time.monotonic() + PATIENCE_S
        self._socket.settimeout(0.2)
        while time.monotonic() < end_s:
            self._socket.sendall(self._block)
            try:
                while not self._take():
                    pass
            except TimeoutError:
                continue
            self._drain()
            return
        raise TimeoutError(f"nobody echoes for {name}")

    def rate(self, seconds: float) -> float:
        """Answers per second."""
        self._flood(WARM_S)
        began_s = time.monotonic()
        count = self._flood(seconds)
        took_s = time.monotonic() - began_s
        self._drain()
        return count / took_s

    def _flood(self, seconds: float) -> int:
        end_s, count = time.monotonic() + seconds, 0
        while time.monotonic() < end_s:
            while self._ahead <= WINDOW - BLOCK:
                self._socket.sendall(self._block)
                self._ahead += BLOCK
            taken = self._take()
            self._ahead -= taken
            count += taken
        return count

    def _drain(self) -> None:
        """Take what is still on its way."""
        self._socket.settimeout(0.5)
        try:
            while True:
                self._take()
        except TimeoutError:
            self._ahead = 0
        self._socket.settimeout(PATIENCE_S)

    def _take(self) -> int:
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed the connection")
        data = self._rest + data
        self._rest = data[-len(self._mark) + 1 :]
        return data.count(self._mark)


@dataclass(frozen=True)
class Stand:
    """Everything that is measured, ready. pids: of all its processes."""

    feeders: dict[str, Feeder]
    pids: Sequence[int]

    def round(self, number: int, seconds: float, say: Say) -> dict[str, float]:
        """Each in turn: answers per second."""
        say(f"mqtt: round {number + 1}")
        names = list(self.feeders) if number % 2 else list(reversed(self.feeders))
        return {name: self.feeders[name].rate(seconds) for name in names}


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
    feeders = {name: Feeder(server.port, name) for name in NAMES}
    for name, feeder in feeders.items():
        stack.callback(feeder.close)
        feeder.wait_ready(name)
    return Stand(feeders, [*pids, *(pid for some in farms.pids(made).values() for pid in some)])


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


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    for table in measure(FULL, _print).tables:
        _print(table.text())
