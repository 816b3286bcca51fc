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
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench import farms
from tests.bench.feeder import BLOCK, PATIENCE_S, Feeder, Stand
from tests.bench.machine import quietest
from tests.bench.ratios import Ratio, ratio
from tests.bench.report import Effort, Report, Row, Say, Table
from tests.servers import NatsServer

PAYLOAD: Final = b"x" * 100
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


class NatsFeeder(Feeder):
    """Publishes to `in.<name>` and counts what comes on `out.<name>`."""

    window = 8000  # farm's backlog has 10,000
    probe_s = 0.1

    def __init__(self, port: int, name: str) -> None:
        block = b"PUB in.%s %d\r\n%s\r\n" % (name.encode(), len(PAYLOAD), PAYLOAD) * BLOCK
        super().__init__(port, block, b"MSG out." + name.encode())
        self._socket.sendall(b'CONNECT {"verbose":false}\r\nSUB out.%s 1\r\n' % name.encode())

    def heard(self, data: bytes) -> None:
        """A server that asks is answered."""
        if data.startswith(b"PING"):
            self._socket.sendall(b"PONG\r\n")


@contextmanager
def service(python: str, name: str, port: int) -> Iterator[int]:
    """One of the programs in nats_echoes: its pid."""
    process = subprocess.Popen([python, SERVICES / f"{name}.py", str(port)], stdout=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


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
    feeders = {name: NatsFeeder(server.port, name) for name in names}
    for name, feeder in feeders.items():
        stack.callback(feeder.close)
        feeder.wait_ready(name)
    return Stand("nats", feeders, [*pids, *(pid for some in farms.pids(made).values() for pid in some)])


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
