"""What the conformance suite needs of each type of broker: a rig, which makes brokers and holds their server.

class TestMine(BrokerSuite):                # in a file of tests; see farm.testing.suite
    @pytest.fixture
    def rig(self, tmp_path):
        server = start_my_server(tmp_path)
        yield MyRig(tmp_path, server)
        server.stop()
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Protocol

from farm.broker import Broker, Delivery, Home, Published, Refused, Subscription
from farm.message import Headers, Message
from farm.spec import BrokerSpec, Secret

WITHIN_S = 20.0  # a test of the suite itself has less patience


class Outside(Protocol):
    """A plain client of the server that knows nothing of farm."""

    async def publish(self, subject: str, payload: bytes, headers: Headers = (), reply_to: str | None = None) -> None:
        """Publish as any program would; it is with the server when this returns."""
        ...

    async def read(self, subject: str) -> list[bytes]:
        """From now on, what is published to a subject: a list that grows."""
        ...


class Server(Protocol):
    """The program behind the broker. One that has `pause()` is silent from then on, until it is killed."""

    def stop(self) -> None:
        """End it in order."""
        ...

    def kill(self) -> None:
        """End it by SIGKILL."""
        ...

    def start(self) -> None:
        """Start it again, where it was and with what it had; it accepts connections when this returns."""
        ...


class Rig(ABC):
    """One type of broker under test, on an empty server of its own.

    server: None where there is none (memory). keeps: what was published and not settled is there after the server
    was killed. lease_s: how long a delivery is ours if nobody extends it, 0: for ever.
    subjects, wild: subjects that a topic with wildcards matches, and that topic; empty where topics have none.
    everything: a topic that matches every subject; empty where there is none, None: that of its grammar.
    """

    server: Server | None = None
    keeps: bool = False
    lease_s: float = 0.0
    wild: str = "a.*"
    subjects: Sequence[str] = ("a.b", "a.c")
    everything: str | None = None

    @abstractmethod
    def spec(self) -> BrokerSpec:
        """The settings of a broker that works: with leases as short as they may be."""

    @abstractmethod
    def make(self, home: Home) -> Broker:
        """A broker of that spec, not started."""

    def outside(self) -> AbstractAsyncContextManager[Outside] | None:
        """A plain client of the server; None where nobody else can reach it."""
        return None

    def misled(self, home: Home) -> Mapping[str, Broker]:
        """Brokers that will not get through, by what is wrong: a wrong password, an unknown host, a closed port."""
        return {}

    @property
    def secrets(self) -> Sequence[str]:
        """Passwords and the like that no text may show."""
        return ()


def home_of(folder: Path, number: int = 0, secret: Callable[[Secret], str] | None = None) -> Home:
    """What a farm is to its brokers; another number, another farm."""

    def own() -> Path:
        mine = folder / f"farm{number}"
        mine.mkdir(parents=True, exist_ok=True)
        return mine

    return Home("under-test", f"{number:012d}", own, secret or _read)


def _read(secret: Secret) -> str:
    assert secret.file is not None, "give home_of a way to read this"
    return secret.file.read_text(encoding="utf-8").rstrip("\n")


async def eventually(look: Callable[[], bool], what: str, within_s: float | None = None) -> None:
    """Wait until `look` is true; fails, naming what was waited for, after WITHIN_S unless told."""
    within_s = within_s or WITHIN_S
    end_s = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < end_s, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(0.002)


class Ends:
    """The ends of one broker that ingest would hold: what came for triggers and listeners, and the answers to
    publishes.
    """

    def __init__(self, broker: Broker, farm: int = 0) -> None:
        """
        Args:
          farm: the number of its home (`home_of`).
        """
        self.broker = broker
        self.farm = farm
        self.states: list[tuple[str, str]] = []
        broker.on_change = lambda changed: self.states.append((changed.state, changed.fault))

    async def start(self) -> Ends:
        """This one, once its broker is up."""
        await self.broker.start()
        await eventually(lambda: self.broker.state == "up", f"the broker to be up ({self.broker.fault})")
        return self

    def trigger(self, number: int, topic: str, granted: int = 0, group: str = "") -> list[Delivery]:
        """Subscribe a trigger; what will come for it."""
        came: list[Delivery] = []
        durable = f"{group}-{topic}" if group else f"farm-{self.farm}-{number}-{topic}"
        plain = "".join(c if c.isalnum() else "-" for c in durable)
        self.broker.deliver(Subscription(number, topic, group, plain), came.extend)
        if granted:
            self.broker.grant(number, granted)
        return came

    def listener(self, pattern: str) -> tuple[list[Message], Callable[[], None]]:
        """Subscribe a listener; what it will hear, and the way to end it."""
        heard: list[Message] = []
        return heard, self.broker.listen(pattern, heard.extend)

    async def publish(self, *messages: Message) -> list[Published | Refused]:
        """Publish at once; the answers, which come in one call."""
        calls: list[list[Published | Refused]] = []
        self.broker.publish(messages, lambda answers: calls.append(list(answers)))
        await eventually(lambda: bool(calls), "the answer to a publish")
        assert len(calls) == 1
        assert len(calls[0]) == len(messages)
        return calls[0]

    async def ready(self, subject: str, *came: Sequence[Delivery] | Sequence[Message]) -> None:
        """Wait until what was subscribed to is live: until probes, published to a subject that all of these match,
        arrive everywhere. They are settled, and stay in the lists.
        """
        end_s = time.monotonic() + WITHIN_S
        while not all(came):
            assert time.monotonic() < end_s, f"nothing arrives on {subject}"
            await self.publish(Message(f"probe-{time.monotonic_ns()}", subject, PROBE))
            await asyncio.sleep(0.02)


PROBE: Final = b"is anybody there"


def numbered(count: int, subject: str = "a.b", first: int = 0) -> list[Message]:
    """So many messages that can be told apart."""
    return [Message(f"id-{n}", subject, f"{n}".encode()) for n in range(first, first + count)]


def payloads(came: Sequence[Delivery] | Sequence[Message]) -> list[bytes]:
    """What came, in its order, without probes."""
    messages = [one.message if isinstance(one, Delivery) else one for one in came]
    return [message.payload for message in messages if message.payload != PROBE]
