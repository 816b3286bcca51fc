"""JetStream to JetStream: fetch, publish with an id and have it confirmed, acknowledge and have that confirmed.

    bare nats-py     batches of 256, answers on one shared inbox, no future per message, the next pull under way; one
                     process, no component
    broker class     farm's, in one process: each delivery is published again and settled
    farm             a tiny or a Python guest, 2 workers
One nats-server with its default settings. Each finds its input waiting in the stream; the time is that from its first
outputs until all are stored and all inputs acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

import nats
import uvloop
from nats.aio.client import Client

from farm.broker import Delivery, Published, Refused, Subscription
from farm.brokers.jetstream import JetStreamBroker
from farm.brokers.options.nats import JetStreamSpec
from farm.message import Message
from farm.testing.rig import home_of
from tests.bench import farms
from tests.bench.ratios import Ratio, ratio
from tests.bench.report import Effort, Report, Say, Table
from tests.servers import NatsServer
from tests.system.family import Family

PAYLOAD: Final = b"x" * 100
BATCH: Final = 256
WINDOW: Final = 1024  # what ingest grants
COUNT: Final = 160 * BATCH
PATIENCE_S: Final = 60.0
HEADS: Final = {"who": "who", "per_s": "messages/s", "of_bare": "of bare"}
SHOWN: Final = {
    "bare": "bare nats-py, one inbox",
    "class": "farm's broker alone",
    "tiny": "farm, tiny guest, 2 workers",
    "python": "farm, Python guest, 2 workers",
}
CONFIG: Final = 'jetstream {{ store_dir: "{folder}/store" }}'
MANIFEST: Final = """
[app]
name = "bench"
[brokers.js]
type = "jetstream"
servers = ["127.0.0.1:{port}"]
stream = "IN"
[components.tiny]
source = "tiny.wasm"
triggers = [{{ broker = "js", topic = "in.tiny", publish = {{ subject = "out.tiny" }} }}]
[components.python]
source = "python.wasm"
triggers = [{{ broker = "js", topic = "in.python", publish = {{ subject = "out.python" }} }}]
"""


class Stream:
    """The server's side: what waits, and what came out."""

    def __init__(self, port: int) -> None:
        self.url = f"nats://127.0.0.1:{port}"
        self._client: Client | None = None

    async def open(self) -> None:
        """The streams, empty."""
        self._client = await nats.connect(self.url)
        for name, subjects in (("IN", ["in.>"]), ("OUT", ["out.>"]), ("farm-dead-letters", ["farm.dlq.>"])):
            await self.ask(f"STREAM.CREATE.{name}", {"name": name, "subjects": subjects})

    async def close(self) -> None:
        """Leave."""
        assert self._client is not None
        await self._client.close()

    async def ask(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """A request of the API."""
        assert self._client is not None
        answer = json.loads((await self._client.request(f"$JS.API.{what}", json.dumps(body).encode(), timeout=20)).data)
        assert "error" not in answer, answer
        return answer

    async def fill(self, name: str, count: int) -> None:
        """Have so many messages in the stream, and nothing of before."""
        assert self._client is not None
        for stream in ("IN", "OUT"):
            await self.ask(f"STREAM.PURGE.{stream}", {})
        for _ in range(count):
            await self._client.publish(f"in.{name}", PAYLOAD)
        await self._client.flush()
        while (await self.state("IN"))["messages"] < count:  # noqa: ASYNC110  (it is another process's)
            await asyncio.sleep(0.01)

    async def state(self, name: str) -> dict[str, Any]:
        """Of a stream."""
        return (await self.ask(f"STREAM.INFO.{name}", {}))["state"]

    async def consumer(self, name: str) -> str:
        """The consumer of who reads `in.<name>`, once it is there."""
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            for one in (await self.ask("CONSUMER.LIST.IN", {}))["consumers"] or ():
                if one["config"].get("filter_subject") == f"in.{name}":
                    return one["name"]
            await asyncio.sleep(0.01)
        raise TimeoutError(f"nobody reads in.{name}")

    async def rate(self, name: str, count: int) -> float:
        """Messages per second of whoever reads `in.<name>` and has just begun to; its first ones do not count."""
        consumer = await self.consumer(name)
        end_s, began_s, early = time.monotonic() + PATIENCE_S, 0.0, 0
        while (done := (await self.state("OUT"))["messages"]) < count or await self._owed(consumer):
            assert time.monotonic() < end_s, f"{name} does not finish"
            if not early and done >= count // 20:
                began_s, early = time.monotonic(), done
            await asyncio.sleep(0.02)
        return (count - early) / (time.monotonic() - began_s)

    async def _owed(self, consumer: str) -> int:
        found = await self.ask(f"CONSUMER.INFO.IN.{consumer}", {})
        return found["num_ack_pending"] + found["num_pending"]


async def bare(url: str) -> None:
    """nats-py as fast as it goes without a future per message: for ever."""
    client = await nats.connect(url)
    config = {"durable_name": "bare", "ack_policy": "explicit", "filter_subject": "in.bare", "max_ack_pending": -1}
    body = json.dumps({"stream_name": "IN", "config": config}).encode()
    await client.request("$JS.API.CONSUMER.CREATE.IN.bare", body)
    inbox, answers, done = client.new_inbox(), {"p": 0, "a": 0}, asyncio.Event()
    arrived: asyncio.Queue[list[Any]] = asyncio.Queue()
    batch: list[Any] = []

    async def heard(message: Any) -> None:
        kind = message.subject[-1]
        assert kind == "a" or b'"stream"' in message.data, message.data
        answers[kind] += 1
        done.set()

    async def came(message: Any) -> None:
        nonlocal batch
        if message.headers and "Status" in message.headers:
            await pull()
            return
        batch.append(message)
        if len(batch) == BATCH:
            full, batch = batch, []
            arrived.put_nowait(full)

    async def pull() -> None:
        request = json.dumps({"batch": BATCH, "expires": 300_000_000_000}).encode()
        await client.publish("$JS.API.CONSUMER.MSG.NEXT.IN.bare", request, reply=f"{inbox}d")

    async def until(kind: str, count: int) -> None:
        while answers[kind] < count:
            done.clear()
            await done.wait()

    await client.subscribe(f"{inbox}.*", cb=heard, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await client.subscribe(f"{inbox}d", cb=came, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await pull()
    await client.flush()
    total = 0
    while True:
        messages = await arrived.get()
        total += len(messages)
        await pull()
        for number, message in enumerate(messages, total):
            headers = {"Nats-Msg-Id": f"{time.monotonic_ns()}:{number}"}
            await client.publish("out.bare", message.data, reply=f"{inbox}.p", headers=headers)
        await until("p", total)
        for message in messages:
            await client.publish(message.reply, b"+ACK", reply=f"{inbox}.a")
        await until("a", total)


async def alone(url: str, folder: Path) -> None:
    """farm's broker, whose deliveries are published and settled: for ever."""
    spec = JetStreamSpec(name="js", type="jetstream", servers=(url,), stream="IN")
    broker = JetStreamBroker(spec, home_of(folder))
    await broker.start()

    def came(deliveries: list[Delivery]) -> None:
        outputs = [
            Message(f"{one.message.id}:0", "out.class", one.message.payload, (), None, one.message.id, 1)
            for one in deliveries
        ]

        def done(answers: Sequence[Published | Refused]) -> None:
            assert all(isinstance(answer, Published) for answer in answers), answers
            broker.settle(deliveries)
            broker.grant(0, len(deliveries))

        broker.publish(outputs, done)

    broker.deliver(Subscription(0, "in.class", "", "class"), came)
    broker.grant(0, WINDOW)
    await asyncio.Event().wait()


async def rate_of(stream: Stream, name: str, count: int, folder: Path) -> float:
    """Of one that runs in a process of its own."""
    await stream.fill(name, count)
    words = [sys.executable, "-m", "tests.bench.jetstream_echo", name, stream.url, str(folder)]
    process = await asyncio.create_subprocess_exec(*words)
    try:
        return await stream.rate(name, count)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _measure(stream: Stream, farm: Family, effort: Effort, say: Say) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in SHOWN}
    await stream.open()
    count = COUNT if effort.pairs > 1 else COUNT // 4
    for number in range(effort.pairs):
        for name in SHOWN if number % 2 else reversed(SHOWN):
            say(f"jetstream: {name}")
            if name in ("tiny", "python"):
                await stream.fill(name, count)
                farm.up(2)
                rates[name].append(await stream.rate(name, count))
                farm.down()
            else:
                rates[name].append(await rate_of(stream, name, count, farm.folder))
    await stream.close()
    return rates


def measure(effort: Effort, say: Say) -> Report:
    """The whole section."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jetstream-")))
        server = NatsServer(folder, CONFIG.format(folder=folder))
        server.start()
        stack.callback(server.stop)
        farm = stack.enter_context(farms.farm(["tiny", "Python"], text=MANIFEST.format(port=server.port)))
        rates = asyncio.run(_measure(Stream(server.port), farm, effort, say))
    report = Report()
    rows = [
        {"who": SHOWN[name], "per_s": round(median(found)), "of_bare": _of_bare(name, rates).value}
        for name, found in rates.items()
    ]
    report.tables.append(Table("jetstream", "jetstream: fetch, publish, acknowledge, all confirmed", HEADS, list(rows)))
    report.ratios += [_of_bare(name, rates) for name in SHOWN if name != "bare"]
    return report


def _of_bare(name: str, rates: dict[str, list[float]]) -> Ratio:
    return ratio(f"jetstream: {SHOWN[name]} / {SHOWN['bare']}", "higher", rates[name], rates["bare"])


def main(name: str, url: str, folder: str) -> None:
    """Be one of those that are measured: `rate_of` starts this file."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bare(url) if name == "bare" else alone(url, Path(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
