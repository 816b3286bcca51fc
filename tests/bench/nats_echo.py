"""NATS to NATS: who echoes how many messages a second, with one nats-server, in turn.

    bare nats-py     a callback that publishes; one process, no component
    FastStream       a handler whose answer is published; one process. Asked for by FASTSTREAM_PYTHON, the Python of an
                     environment with faststream[nats] and uvloop; without it the row is left out
    farm             a Python guest, 2 workers
The feeder is this process: bytes made once, answers counted by their first words, so that it is no part of the figure.
It keeps as many messages on their way as farm's backlog holds, so nothing is dropped anywhere.
"""

from __future__ import annotations

import os
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

from tests.bench import farms
from tests.bench.machine import quietest
from tests.bench.ratios import Ratio, ratio
from tests.bench.report import Effort, Report, Row, Say, Table
from tests.servers import NatsServer

PAYLOAD: Final = b"x" * 100
BLOCK: Final = 64  # messages in one write
WINDOW: Final = 8000  # on their way at most; farm's backlog has 10,000
WARM_S: Final = 0.5
PATIENCE_S: Final = 30.0
PYTHON: Final = "FASTSTREAM_PYTHON"
SERVICES: Final = Path(__file__).parent / "nats_echoes"
HEADS: Final = {"who": "who", "per_s": "messages/s", "of_bare": "of bare", "of_faststream": "of FastStream"}
MANIFEST: Final = """
[app]
name = "bench"
[brokers.nats]
type = "nats"
servers = ["127.0.0.1:{port}"]
[components.python]
source = "python.wasm"
triggers = [{{ broker = "nats", topic = "in.farm", publish = {{ subject = "out.farm" }} }}]
"""


class Feeder:
    """Publishes to `in.<name>` and counts what comes on `out.<name>`."""

    def __init__(self, port: int, name: str) -> None:
        self._socket: Final = socket.create_connection(("127.0.0.1", port))
        self._socket.settimeout(PATIENCE_S)
        self._block: Final = b"PUB in.%s %d\r\n%s\r\n" % (name.encode(), len(PAYLOAD), PAYLOAD) * BLOCK
        self._mark: Final = b"MSG out." + name.encode()
        self._rest = b""
        self._ahead = 0
        self._socket.sendall(b'CONNECT {"verbose":false}\r\nSUB out.%s 1\r\n' % name.encode())

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def wait_ready(self, name: str) -> None:
        """Until somebody answers."""
        end_s = time.monotonic() + PATIENCE_S
        self._socket.settimeout(0.1)
        while time.monotonic() < end_s:
            self._socket.sendall(self._block)
            try:
                if self._take():
                    break
            except TimeoutError:
                continue
        else:
            raise TimeoutError(f"nobody echoes for {name}")
        self._drain()

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
        """Take what is still on its way; what was lost before somebody listened never comes."""
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
        if data.startswith(b"PING"):
            self._socket.sendall(b"PONG\r\n")
        data = self._rest + data
        self._rest = data[-len(self._mark) + 1 :]
        return data.count(self._mark)


@contextmanager
def service(python: str, name: str, port: int) -> Iterator[int]:
    """One of the programs in nats_echoes: its pid."""
    process = subprocess.Popen([python, SERVICES / f"{name}.py", str(port)], stdout=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@dataclass(frozen=True)
class Stand:
    """Everything that is measured, ready. pids: of all its processes."""

    feeders: dict[str, Feeder]
    pids: Sequence[int]

    def round(self, number: int, seconds: float, say: Say) -> dict[str, float]:
        """Each in turn: answers per second."""
        say(f"nats: round {number + 1}")
        names = list(self.feeders) if number % 2 else list(reversed(self.feeders))
        return {name: self.feeders[name].rate(seconds) for name in names}


def measure(effort: Effort, say: Say) -> Report:
    """The whole section."""
    names = ["bare", *(["faststream"] if os.environ.get(PYTHON) else []), "farm"]
    seconds = max(1.0, effort.window_s * 3)
    with ExitStack() as stack:
        say("nats: starting the server and those that echo")
        stand = _stand(stack, names)
        rounds = quietest(lambda number: stand.round(number, seconds, say), effort.pairs, effort.rounds, stand.pids)
    rates = {name: [each[name] for each in rounds] for name in names}
    report = Report()
    report.tables.append(Table("nats", "nats: NATS - echo - NATS, 100 bytes", HEADS, _rows(rates), _notes(names)))
    report.ratios += _ratios(rates)
    return report


def _stand(stack: ExitStack, names: Sequence[str]) -> Stand:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nats-")))
    server = NatsServer(folder)
    server.start()
    stack.callback(server.stop)
    pids = [server.pid, stack.enter_context(service(sys.executable, "bare", server.port))]
    if "faststream" in names:
        pids.append(stack.enter_context(service(os.environ[PYTHON], "faststream_echo", server.port)))
    made = stack.enter_context(farms.farm(["Python"], text=MANIFEST.format(port=server.port)))
    made.up(2)
    stack.callback(made.down)
    feeders = {name: Feeder(server.port, name) for name in names}
    for name, feeder in feeders.items():
        stack.callback(feeder.close)
        feeder.wait_ready(name)
    return Stand(feeders, [*pids, *(pid for some in farms.pids(made).values() for pid in some)])


def _rows(rates: dict[str, list[float]]) -> list[Row]:
    shown = {"bare": "bare nats-py", "faststream": "FastStream", "farm": "farm, Python guest, 2 workers"}
    return [
        {
            "who": shown[name],
            "per_s": round(median(found)),
            "of_bare": ratio("", "higher", found, rates["bare"]).value,
            "of_faststream": ratio("", "higher", found, rates["faststream"]).value if "faststream" in rates else None,
        }
        for name, found in rates.items()
    ]


def _notes(names: Sequence[str]) -> list[str]:
    if "faststream" in names:
        return []
    return [f"FastStream left out: {PYTHON} names no Python that has it."]


def _ratios(rates: dict[str, list[float]]) -> list[Ratio]:
    return [
        ratio(f"nats, Python guest: farm / {shown}", "higher", rates["farm"], rates[name])
        for name, shown in (("bare", "bare nats-py"), ("faststream", "FastStream"))
        if name in rates
    ]


if __name__ == "__main__":
    from tests.bench.report import FULL

    found = measure(FULL, lambda text: print(text, file=sys.stderr))
    print(found.tables[0].text())
