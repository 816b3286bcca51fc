"""An ingest for tests: the other end of the relay, in a thread of the test's process."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from farm import message, subject
from farm.rundir import Rundir
from farm.wire import relay
from farm.wire.sockets import Router, Sockets


@dataclass
class _Ear:
    broker: str
    matches: subject.Matcher
    credit: int
    count: int = 0


@dataclass
class StandIn:
    """Answers as ingest does; its attributes change how, also while it runs."""

    rundir: Rundir
    brokers: tuple[str, ...] = ("test", "secondary")
    triggers: int = 1  # that match any message
    refusal: tuple[str, str, bool] | None = None  # code, text, retry: what every publish is told
    refuse_count: int | None = None  # only the first so many
    take_count: int = 0  # first so many are taken all the same
    deaf: bool = False
    silent: bool = False  # takes publishes, and gives no answer
    nearest: str | None = None
    sequence: int | None = None
    receivers: int | None = None
    status: bytes = b'{"brokers": {}, "components": {}}'
    publishes: list[relay.Publish] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)  # how many items each batch had
    granted: int = 0
    ignored: int = 0  # words it was deaf to
    holding: bool = False
    held: threading.Event = field(default_factory=threading.Event)  # cleared: publishes wait for it
    _ears: dict[tuple[bytes, int], _Ear] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> Self:
        """A life; the socket is bound when this returns."""
        bound = threading.Event()
        self._stop = threading.Event()
        self.held.set()
        self._thread = threading.Thread(target=self._run, args=(bound,), daemon=True)
        self._thread.start()
        assert bound.wait(10)
        return self

    def stop(self) -> None:
        """The end of this life: nothing of it is known in the next."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join(10)
            self._ears.clear()
            self._thread = None

    def restart(self) -> None:
        """Die and live again."""
        self.stop()
        self.start()

    def reset(self) -> None:
        """Forget what was published; answer as at first."""
        self.refusal, self.refuse_count, self.take_count = None, None, 0
        self.deaf, self.silent, self.nearest = False, False, None
        self.publishes.clear()
        self.batches.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def listeners(self) -> int:
        """How many listeners are live."""
        return len(self._ears)

    def _run(self, bound: threading.Event) -> None:
        with Sockets() as sockets:
            router = sockets.router(self.rundir.relay)
            bound.set()
            poll = select.poll()
            poll.register(router.fd, select.POLLIN)
            while not self._stop.is_set():
                if not router.readable():
                    poll.poll(10)
                for client, frames in router.receive():
                    if self.deaf:
                        self.ignored += 1
                    else:
                        self._answer(router, client, relay.from_client(frames))
            router.close()

    def _answer(self, router: Router, client: bytes, word: relay.FromClient) -> None:
        match word:
            case relay.Publishes(batch, items):
                self.batches.append(len(items))
                self.holding = not self.held.is_set()
                assert self.held.wait(60)
                answer = self._published(router, batch, items)
                if not self.silent:
                    router.send(client, relay.pack(answer))
            case relay.Listen():
                router.send(client, relay.pack(self._listening(client, word)))
            case relay.Grant(listener, count):
                self.granted += count
                self._ears[client, listener].credit += count
            case relay.Unlisten(listener):
                self._ears.pop((client, listener), None)
            case relay.AskStatus(question):
                router.send(client, relay.pack(relay.StatusAnswer(question, self.status)))

    def _listening(self, client: bytes, word: relay.Listen) -> relay.FromIngest:
        broker = word.broker or self.brokers[0]
        if broker not in self.brokers:
            return relay.ListenRefused(word.listener, "unknown-broker", f"no broker {broker!r}")
        matches = subject.compile_filter(word.pattern, "reference")
        self._ears[client, word.listener] = _Ear(broker, matches, word.credit)
        return relay.Listening(word.listener, broker)

    def _published(self, router: Router, batch: int, items: list[relay.Publish]) -> relay.Published:
        answer = relay.Published(batch, [], [], self.brokers[0])
        heard: dict[tuple[bytes, int], relay.Heard] = {}
        for number, item in enumerate(items):
            if self.refusal is not None and self.refuse_count != 0 and len(self.publishes) >= self.take_count:
                if self.refuse_count is not None:
                    self.refuse_count -= 1
                answer.refused.append(relay.Refusal(number, *self.refusal))
                continue
            self.publishes.append(item)
            one_id = message.new_id() if item.key is None else message.keyed_id("0", item.key)
            one = relay.HeardMessage(one_id, item.subject, item.payload, item.headers, item.reply_to)
            ears = self._hear(one, item.broker or self.brokers[0], heard)
            answer.accepted.append(
                relay.Accepted(number, one.id, self.triggers, ears, self.nearest, self.sequence, self.receivers)
            )
        for (client, _), word in heard.items():
            router.send(client, relay.pack(word))
        return answer

    def _hear(self, one: relay.HeardMessage, broker: str, heard: dict[tuple[bytes, int], relay.Heard]) -> int:
        count = 0
        for key, ear in self._ears.items():
            if ear.broker != broker or not ear.matches(one.subject):
                continue
            count += 1
            ear.count += 1
            if ear.credit <= 0:
                continue
            ear.credit -= 1
            word = heard.setdefault(key, relay.Heard(key[1], ear.count, []))
            if word.first + len(word.messages) != ear.count:
                raise AssertionError("the stand-in does not split a batch around a gap")
            word.messages.append(one)
        return count


def rundir_in(folder: Path) -> Rundir:
    """The directories of a farm that lives in a test's folder."""
    found = Rundir(state=folder / "state", runtime=folder / "run")
    found.make()
    return found


def eventually(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait until something holds; fail when it does not."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)
