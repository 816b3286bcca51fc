"""A whole ingest process in a thread of the test, with the ends that its family would hold: lifeline, workers,
clients.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from farm.errors import FarmError
from farm.ingest import process
from farm.invocation import Failed, Finished, Invoke, Output
from farm.rundir import Rundir
from farm.spec import AppSpec, ComponentSpec, FarmSpec, MemorySpec, PublishSpec, TriggerSpec
from farm.wire import relay, work
from farm.wire.lifeline import Drain, Gone, Peer, Post, Ready, pair
from farm.wire.pulse import Board
from farm.wire.sockets import Dealer, Sockets

T = TypeVar("T")

WITHIN_S = 20.0


def until(look: Callable[[], T | None], what: str = "") -> T:
    """What `look` finds, as soon as it is truthy."""
    end_s = time.monotonic() + WITHIN_S
    while time.monotonic() < end_s:
        if found := look():
            return found
        time.sleep(0.001)
    raise AssertionError(f"not within {WITHIN_S} s: {what or look}")


def component(name: str, *triggers: TriggerSpec, **more: Any) -> ComponentSpec:
    return ComponentSpec(name=name, source=Path("/handler.py"), triggers=triggers, **more)


def farm_spec(*components: ComponentSpec, brokers: tuple[str, ...] = ("test", "secondary")) -> FarmSpec:
    return FarmSpec(
        path=Path("/app/farm.toml"),
        app=AppSpec("example"),
        brokers={name: MemorySpec(name=name) for name in brokers},
        components={one.name: one for one in components},
    )


EXAMPLE = farm_spec(
    component("hello", TriggerSpec("test", "hello.*", PublishSpec("secondary", "good.bye"))),
    component("goodbye", TriggerSpec("secondary", "good.bye", PublishSpec("test", "sink"))),
)

Answer = Callable[[Invoke], list[Output] | Failed | None]


def echo(invoke: Invoke) -> list[Output]:
    return [Output(invoke.payload)]


class Worker:
    """A worker that answers as the test says. `answer` returns None for a call that never ends."""

    def __init__(self, house: House, index: int, answer: Answer) -> None:
        self.house = house
        self.id = os.urandom(16)
        self.index = index
        self.slot = house.board.slot(10 + index)
        self.answer = answer
        self.seen: list[Invoke] = []
        self.dealer = house.sockets.dealer(house.rundir.work, self.id)

    def name(self) -> None:
        self.house.lifeline.send(Peer("worker", self.index, self.id, self.slot.slot, os.getpid()))

    def join(self, boot: int | None = None) -> None:
        self.dealer.send(work.join(self.house.boot if boot is None else boot))

    def serve(self) -> int:
        """Answer what has arrived; how much."""
        count = 0
        for frames in self.dealer.receive():
            word = work.from_ingest(frames)
            answers: list[Finished] = []
            for invoke in word.invokes:
                self.seen.append(invoke)
                self.slot.start(invoke.seq, time.monotonic_ns(), 0)
                said = self.answer(invoke)
                if said is None:
                    continue
                if isinstance(said, Failed):
                    answers.append(Finished(invoke.delivery, invoke.attempt, 100, [], said))
                else:
                    answers.append(Finished(invoke.delivery, invoke.attempt, 100, said))
                self.slot.idle()
            count += len(word.invokes)
            if answers:
                self.dealer.send(work.results(word.boot, answers))
        return count

    def die(self, *, why: str = "signal 9", late: bool = False) -> None:
        """Be found dead: with what its slot says at this moment."""
        self.dealer.close()
        started, since = self.slot.started()
        self.house.lifeline.send(Gone(self.id, started, bool(since), late, why))


class Client:
    """A client of the relay."""

    def __init__(self, dealer: Dealer) -> None:
        self.dealer = dealer
        self.words: list[Any] = []

    def say(self, word: relay.FromClient) -> None:
        assert self.dealer.send(relay.pack(word)) == "sent"

    def hear(self, kind: type[T]) -> T:
        """The next word of a kind; others are kept for later."""

        def look() -> T | None:
            self.words += [relay.from_ingest(frames) for frames in self.dealer.receive()]
            for place, word in enumerate(self.words):
                if isinstance(word, kind):
                    return self.words.pop(place)
            return None

        return until(look, f"a {kind.__name__}")

    def publish(self, *items: relay.Publish, batch: int = 1) -> relay.Published:
        self.say(relay.Publishes(batch, list(items)))
        return self.hear(relay.Published)

    def status(self) -> dict[str, Any]:
        self.say(relay.AskStatus(7))
        return msgspec.json.decode(self.hear(relay.StatusAnswer).status)


class House:
    """The family around one ingest."""

    def __init__(self, spec: FarmSpec, folder: Path) -> None:
        self.board = Board()
        self.rundir = Rundir(folder / "state", folder / "run")
        self.rundir.make()
        self.sockets = Sockets()
        self.lifeline, child = pair()
        self.code: int | None = None
        self.refused: FarmError | None = None
        self.boot = 0
        self.workers: list[Worker] = []
        self.up: list[Any] = []
        post = Post(spec, self.rundir, "ingest", 0, b"", 1, child, self.board.slot(1), self.board)
        self._thread = threading.Thread(target=self._run, args=(post,), daemon=True)
        self._thread.start()

    def opened(self) -> House:
        """This one, once its ingest serves."""
        self.boot = self.word(Ready).boot
        return self

    def word(self, kind: type[T]) -> T:
        """The next word of a kind that ingest says to its supervisor."""

        def look() -> T | None:
            self.up += self.lifeline.receive()
            for place, word in enumerate(self.up):
                if isinstance(word, kind):
                    return self.up.pop(place)
            return None

        return until(look, f"a {kind.__name__}")

    def worker(self, answer: Answer = echo, *, named: bool = True, boot: int | None = None) -> Worker:
        """A worker that has joined."""
        worker = Worker(self, len(self.workers), answer)
        self.workers.append(worker)
        if named:
            worker.name()
        worker.join(boot)
        return worker

    def client(self) -> Client:
        return Client(self.sockets.dealer(self.rundir.relay))

    def serve_until(self, look: Callable[[], T | None], what: str = "") -> T:
        """Let all workers answer until `look` finds something."""

        def turn() -> T | None:
            for worker in self.workers:
                worker.serve()
            return look()

        return until(turn, what)

    def start_drain(self, seconds: float = WITHIN_S) -> None:
        self.lifeline.send(Drain(seconds))

    def drain(self, seconds: float = WITHIN_S) -> int:
        self.start_drain(seconds)
        return self.serve_until(lambda: None if self.code is None else (self.code,), "the end of ingest")[0]

    def close(self) -> None:
        if self.code is None:
            self.lifeline.send(Drain(0.0))
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()
        self.sockets.close()
        self.lifeline.close()

    def _run(self, post: Post) -> None:
        try:
            self.code = process.main(post)
        except FarmError as error:  # a process tells its supervisor of it
            self.refused = error


@contextmanager
def house_of(spec: FarmSpec, folder: Path) -> Iterator[House]:
    house = House(spec, folder)
    try:
        yield house.opened()
    finally:
        house.close()
