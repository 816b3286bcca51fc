"""The ingest process: brokers, the in-flight table, and the two links that it binds.

    relay, brokers -> intake -> dispatcher -> work link -> workers
                                    ^                         |
                  settlement <- circuit <--------- work link -+
Callbacks note, and a turn acts: one turn for all that came in one turn of the loop. No future and no coroutine per
message.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections import Counter
from math import inf
from pathlib import Path
from typing import Final

import uvloop

from farm import log
from farm.broker import Broker, Delivery
from farm.ingest.brokers import close_brokers, durable_of, farm_id, open_brokers, start_brokers
from farm.ingest.circuit import Circuit
from farm.ingest.crew import Crew
from farm.ingest.dead_letters import LetterFile
from farm.ingest.dispatcher import Dispatcher
from farm.ingest.intake import Intake
from farm.ingest.relay import Relay
from farm.ingest.status import IngestStatus, Reporter
from farm.ingest.table import Trigger
from farm.secrets import Secrets
from farm.spec import FarmSpec
from farm.wire.lifeline import Drain, Gone, Peer, Post, Quiet, Ready
from farm.wire.sockets import Pump, Sockets

PROMISE_S: Final = 15.0
BEAT_S: Final = 1.0
PING_S: Final = 10.0
QUIET: Final = "the farm is stopping"
TIMER_MIN_S: Final = 0.0005
INTERNAL: Final = 70


def main(post: Post) -> int:
    """Run ingest until drained; the exit code. Runs after the fork, owns all it opens."""
    with Sockets() as sockets, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(post, sockets))


async def _serve(post: Post, sockets: Sockets) -> int:
    ingest = Ingest(post, sockets)
    await ingest.start()
    gc.freeze()
    code = await ingest.ended
    await ingest.close()
    return code


def triggers_of(spec: FarmSpec, own_id: str) -> list[Trigger]:
    """Every trigger of a manifest, numbered. own_id: what tells this farm from others at a server."""
    found: list[Trigger] = []
    for name, component in spec.components.items():
        seen = Counter[tuple[str, str]]()
        for place, trigger in enumerate(component.triggers):
            durable = durable_of(trigger, name, own_id, seen[trigger.broker, trigger.topic])
            found.append(Trigger(len(found), name, trigger, durable, place))
            if not trigger.group:
                seen[trigger.broker, trigger.topic] += 1
    return found


class Ingest:
    """Everything that ingest holds, and its turn."""

    def __init__(self, post: Post, sockets: Sockets) -> None:
        """
        Raises:
          NotPermitted, NoRoom: the dead-letter file or the farm's id cannot be opened.
          ManifestError: a broker's type cannot be used.
          OSError: a link cannot be bound.
        """
        self._post = post
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        own_id = farm_id(post.rundir.state)
        self._brokers = open_brokers(post.spec, post.rundir, Secrets(post.secrets), own_id)
        triggers = triggers_of(post.spec, own_id)
        self._dispatcher = Dispatcher(post.spec.components.values())
        self._intake = Intake(triggers, self._brokers, self._dispatcher, self.want_turn)
        # Our socket outlives a life of ingest that was cut off; the supervisor removes it before the first.
        self._second_life = Path(post.rundir.work.removeprefix("ipc://")).exists()
        letters = LetterFile(post.rundir.dead_letters)
        self._circuit = Circuit(self._dispatcher, self._intake, self._brokers, letters, time.monotonic)
        self._reporter = Reporter(post.spec, self._brokers, self._dispatcher.lanes, triggers, self._circuit)
        self._work = sockets.router(post.rundir.work)
        self._relay_router = sockets.router(post.rundir.relay)
        self._crew = Crew(self._work, self._dispatcher, self._circuit, post.lifeline, post.board)
        self._relay = Relay(self._relay_router, self._brokers, triggers, self._status, self.want_turn)
        self._turn_wanted = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self._due_s = 0.0  # when the next thing is due, as of the end of the last turn
        self._drain_until_s: float | None = None
        self._pumps: list[Pump] = []

    async def start(self) -> None:
        """Start the brokers, subscribe, serve, and say Ready."""
        post = self._post
        self._loop.set_exception_handler(self._failed)
        self._beat()
        self._intake.open()  # before the brokers start: one that is up has its subscriptions, so Ready means them too
        await start_brokers(self._brokers, post.spec, first=not self._second_life)
        self._loop.add_reader(post.lifeline.fileno(), self._hear)
        self._pumps = [
            Pump(self._work, self._loop, self._hear_workers),
            Pump(self._relay_router, self._loop, self._hear_clients),
        ]
        self._loop.call_later(PING_S, self._ping)
        post.lifeline.send(Ready(boot=self._crew.boot))
        self._say_what_is_not_kept()

    def _say_what_is_not_kept(self) -> None:
        volatile = [broker for broker in self._brokers.values() if broker.volatile]
        for broker in volatile:
            if self._second_life:
                broker.counters.gaps += 1
                log.get().warning("what this broker held is lost with the ingest before", broker=broker.name)
        if volatile and not self._second_life:
            names = ", ".join(broker.name for broker in volatile)
            log.get().info("what waits here is lost if ingest dies", brokers=names)

    async def close(self) -> None:
        """Leave everything in order; what is still held goes back to its broker."""
        self._loop.remove_reader(self._post.lifeline.fileno())
        for pump in self._pumps:
            pump.close()
        # What brokers still confirm makes turns, in which clients are answered; who has closed is asked nothing.
        self._drain_until_s = None
        self._intake.pause(self._intake.triggers, QUIET)
        self._give_back({trigger.number for trigger in self._intake.triggers})
        await close_brokers(self._brokers)
        self._closed = True
        self._circuit.letters.close()
        self._work.close()
        self._relay_router.close()

    def want_turn(self) -> None:
        """Have a turn soon; several wishes in one turn of the loop make one."""
        if not self._turn_wanted:
            self._turn_wanted = True
            self._loop.call_soon(self._wanted_turn)

    def _wanted_turn(self) -> None:
        if self._turn_wanted:
            self._turn()

    def _turn(self) -> None:
        """Act on all that was noted: take in, give out, tell listeners, and set the clock for what comes later."""
        if self._closed:
            return
        now_s = time.monotonic()
        self._turn_wanted = True  # what is noted from here on is dealt with below
        if now_s >= self._due_s:
            self._crew.wake(now_s)
            self._circuit.wake(now_s)
        self._intake.grant()
        self._intake.take()
        if self._crew.assign(now_s):
            self._pumps[0].touched()
        self._relay.flush()
        if self._relay.spoke():
            self._pumps[1].touched()
        self._turn_wanted = False
        self._set_timer(now_s)
        if self._drain_until_s is not None:
            self._see_end(now_s)

    def _hear_workers(self) -> bool:
        self._turn_wanted = True
        more = self._crew.receive(self._hear)
        self._turn()
        return more

    def _hear_clients(self) -> bool:
        self._turn_wanted = True
        more = self._relay.receive()
        self._turn()
        return more

    def _hear(self) -> None:
        """Do what the supervisor has said since."""
        lifeline = self._post.lifeline
        for word in lifeline.receive():
            if isinstance(word, Peer):
                if word.role == "worker":
                    self._crew.named(word)
            elif isinstance(word, Gone):
                self._crew.gone(word, time.monotonic())
            elif isinstance(word, Quiet):
                self._quiet()
            else:
                self._drain(word)
        if lifeline.closed:
            os._exit(INTERNAL)
        self.want_turn()

    def _quiet(self) -> None:
        """Take nothing more from brokers that keep it. What a volatile one holds would be lost: it is taken while time
        remains."""
        for broker in self._brokers.values():
            broker.quiet()
        self._intake.pause([trigger for trigger in self._intake.triggers if not self._is_volatile(trigger)], QUIET)

    def _drain(self, word: Drain) -> None:
        """Finish: refuse clients, give back what no worker has; what cannot be given back has one attempt more, at
        once, and is then a dead letter.
        """
        self._quiet()
        self._relay.publishing.draining = True
        self._drain_until_s = time.monotonic() + word.seconds
        self._give_back({trigger.number for trigger in self._intake.triggers if not self._is_volatile(trigger)})
        self._circuit.stopping = True
        self._dispatcher.hurry()

    def _see_end(self, now_s: float) -> None:
        assert self._drain_until_s is not None
        volatile = [trigger for trigger in self._intake.triggers if self._is_volatile(trigger)]
        waiting = sum(self._broker_of(trigger).waiting_for(trigger.number) for trigger in volatile)
        left = waiting + len(self._dispatcher)
        if (now_s >= self._drain_until_s or not left) and not self.ended.done():
            if left:
                log.get().warning("drain cut short", in_flight=len(self._dispatcher), waiting=waiting)
            self.ended.set_result(0)

    def _give_back(self, triggers: set[int]) -> None:
        records = self._dispatcher.release(triggers)
        by_broker: dict[str, list[Delivery]] = {}
        for record in records:
            by_broker.setdefault(record.trigger.spec.broker, []).append(record.delivery)
        for name, deliveries in by_broker.items():
            self._brokers[name].release(deliveries)
        self._intake.closed(records)

    def _status(self) -> bytes:
        dispatcher = self._dispatcher
        own = IngestStatus(
            life=f"{self._crew.boot:x}",
            stale=dispatcher.stale,
            ignored=self._crew.ignored,
            left_out=self._relay.listeners.left_out,
            take_backs=dispatcher.take_backs,
            taken_back=dispatcher.taken_back_count,
        )
        return self._reporter.json(time.monotonic(), own)

    def _is_volatile(self, trigger: Trigger) -> bool:
        return self._broker_of(trigger).volatile

    def _broker_of(self, trigger: Trigger) -> Broker:
        return self._brokers[trigger.spec.broker]

    def _beat(self) -> None:
        self._post.pulse.promise(PROMISE_S)
        self._loop.call_later(BEAT_S, self._beat)

    def _ping(self) -> None:
        self._relay.ping()
        self._pumps[1].touched()
        self._loop.call_later(PING_S, self._ping)

    def _set_timer(self, now_s: float) -> None:
        """Have a turn when the next thing is due."""
        times = [self._crew.next_wake_s(), self._circuit.next_wake_s(now_s), self._drain_until_s]
        due_s = min((time_s for time_s in times if time_s is not None), default=None)
        self._due_s = inf if due_s is None else due_s
        if due_s is None or (self._timer is not None and self._timer_s <= due_s):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = due_s
        self._timer = self._loop.call_later(max(TIMER_MIN_S, due_s - now_s), self._timed)

    def _timed(self) -> None:
        self._timer = None
        self._turn()

    def _failed(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """A fault of our own in a callback: what we hold can no longer be trusted, so end; we are started again."""
        error = context.get("exception")
        log.get().error(
            "internal error",
            error=str(context.get("message")),
            exc_info=error if isinstance(error, Exception) else None,
        )
        if not self.ended.done():
            self.ended.set_result(INTERNAL)
