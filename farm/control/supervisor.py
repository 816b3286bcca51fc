"""The supervisor: starts the family, watches it, starts again what dies, and ends it in order.

    fork -> starting -> ready -> (dies: reaped, ingest told, started again after a delay) -> told to drain -> reaped
One synchronous loop over descriptors: a pidfd and a lifeline for each child, the admin socket, the signals' pipe. The
callbacks of a turn do what their descriptor says; time (promises, delays, the drain) is looked at once a turn, and a
turn waits 0.2 s at most.
It forks for its whole life, so it never has a thread, an event loop, a ZeroMQ context or a wasm engine.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from setproctitle import setproctitle

from farm import log
from farm.control.admin import Admin
from farm.control.drain import DRAIN_S, Drain
from farm.control.family import Family, Plan
from farm.control.inspection import Inspector
from farm.control.member import Life, Member
from farm.control.renewal import Renewal
from farm.control.roles import COMPILER, SERVER, WORKER, embedded
from farm.control.signals import Signals
from farm.errors import Problem, WireError
from farm.rundir import ServerFolder
from farm.wire import lifeline
from farm.wire.admin import FamilyStatus, FarmState
from farm.wire.lifeline import Quiet, Ready, Refused, Restart, Up

TURN_S: Final = 0.2
STALL_S: Final = 1.0  # a turn that took longer: this process was stopped, and so perhaps was everybody
GRACE_S: Final = 3.5
ECHO_S: Final = 0.3  # one wish may come as two signals: `timeout` tells its child and then the whole group
CLOSED_S: Final = 1.0  # until a child that closed its lifeline must have ended
REFUSED_DRAIN_S: Final = 5.0
GAVE_UP: Final = 70
NEEDED: Final = ("worker", "server")  # started again even in a drain, until their stage of it


@dataclass(frozen=True)
class Ended:
    """How a farm ended. problems: why it could not start, one line each."""

    exit_code: int
    problems: Sequence[str] = ()


class Supervisor:
    """One family, from the first fork to the last reaped child."""

    def __init__(self, plan: Plan, announce: Callable[[FamilyStatus], None]) -> None:
        """`announce` is called once, when every process is ready for the first time."""
        self._plan = plan
        self._announce = announce
        self._announced = False
        self._began_s = time.monotonic()
        self._family = Family(plan)
        self._selector = selectors.DefaultSelector()
        self._drain: Drain | None = None
        self._ended = Ended(0)
        self._cut = False
        self._asked_at_s = -ECHO_S  # when a signal began the drain
        self._grace_until_s = 0.0
        inspector = Inspector(plan.spec, plan.rundir, COMPILER, plan.level)
        self._renewal = Renewal(
            self._family.entries, inspector, self._selector, lambda: self._family.hurry(WORKER.name)
        )

    def run(self) -> Ended:
        """Run until everybody has gone.

        Raises: OSError: the admin socket cannot be bound.
        """
        setproctitle(f"farm: supervisor ({self._plan.spec.app.name})")
        self._plan.rundir.clear_sockets()
        signals = Signals()
        self._selector.register(signals.fd, selectors.EVENT_READ, lambda: self._heed_signals(signals))
        admin = Admin(self._plan.rundir.admin, self._selector, self.status, self._end)
        try:
            while not (self._drain and self._family.over):
                self._turn()
        finally:
            self._renewal.close()
            admin.close()
            signals.close()
            self._selector.close()
            self._plan.rundir.clear_sockets()
        return self._ended

    def status(self) -> FamilyStatus:
        """What `farm status` shall know of the processes."""
        return FamilyStatus(
            app=self._plan.spec.app.name,
            state=self._state(),
            pid=os.getpid(),
            processes=[member.status() for member in self._family.members],
            listens={broker: where for member in self._family.members for broker, where in member.listens.items()},
            digests={name: component.digest for name, component in self._plan.spec.components.items()},
            uptime_s=round(time.monotonic() - self._began_s, 3),
        )

    def _state(self) -> FarmState:
        if self._drain:
            return "draining"
        if not self._announced:
            return "starting"
        return "ready" if self._family.ready else "degraded"

    # One turn

    def _turn(self) -> None:
        began_s = time.monotonic()
        self._start_due(began_s)
        for key, _ in self._selector.select(self._wait_s(began_s)):
            key.data()
        now_s = time.monotonic()
        if now_s - began_s > STALL_S:
            log.get().warning("the supervisor itself stood still", seconds=round(now_s - began_s, 1))
            self._grace_until_s = now_s + GRACE_S
        self._watch(now_s)
        self._renewal.wake(now_s)
        self._advance(now_s)

    def _wait_s(self, now_s: float) -> float:
        due_s = self._family.next_due_s()
        return TURN_S if due_s is None else max(0.0, min(TURN_S, due_s - now_s))

    def _watch(self, now_s: float) -> None:
        """Kill what broke its promise, overran its time, or does not read."""
        for member, life in self._family.lives():
            if life.killed:
                continue
            life.flush()
            if life.kill_at_s is not None and now_s > life.kill_at_s:
                self._kill(member, life, life.kill_why)
            elif life.hung:
                self._kill(member, life, "does not read its lifeline")
            elif not life.draining and now_s > self._grace_until_s and member.late(now_s):
                life.late = True
                self._kill(member, life, "was not heard of in time")

    def _kill(self, member: Member, life: Life, why: str) -> None:
        log.get().warning("killed", process=member.name, pid=life.pid, why=why)
        life.kill(why)

    # Births

    def _start_due(self, now_s: float) -> None:
        for member in self._family.due(now_s):
            life = self._family.start(member)
            if life is not None:
                self._listen(member, life)

    def _listen(self, member: Member, life: Life) -> None:
        self._selector.register(life.lifeline, selectors.EVENT_READ, lambda: self._hear(member, life))
        self._selector.register(life.pidfd, selectors.EVENT_READ, lambda: self._bury(member, life))

    # Words

    def _hear(self, member: Member, life: Life) -> None:
        if member.life is not life:
            return  # it ended in this same turn
        try:
            words = life.lifeline.receive()
        except WireError as error:
            self._kill(member, life, str(error))
            return
        for word in words:
            self._heed(member, life, word)
        if life.lifeline.closed and life.watched:
            self._unwatch(life)
            if not member.role.foreign:
                life.kill_at_s, life.kill_why = time.monotonic() + CLOSED_S, "closed its lifeline and did not end"

    def _unwatch(self, life: Life) -> None:
        if life.watched:
            self._selector.unregister(life.lifeline)
            life.watched = False

    def _heed(self, member: Member, life: Life, word: Up) -> None:
        if isinstance(word, Ready):
            self._heed_ready(member, life, word)
        elif isinstance(word, Refused):
            life.refused = word
        elif isinstance(word, lifeline.State):
            member.note = word.text
        elif isinstance(word, Restart) and member is self._family.ingest:
            for other, its_life in self._family.lives():
                if its_life.id == word.worker:
                    self._kill(other, its_life, word.why)
        else:
            self._kill(member, life, f"{type(word).__name__} is no word of a {member.role.name}")

    def _heed_ready(self, member: Member, life: Life, word: Ready) -> None:
        life.ready, life.boot = True, word.boot
        member.restarts.ready(time.monotonic())
        if word.listens:
            member.listens = dict(word.listens)
            for broker, where in word.listens.items():
                log.get().info("listening", broker=broker, url=f"http://{where}")
        if member is self._family.ingest:
            self._family.tell_of_ingest()
        if not self._announced and not self._drain and self._family.ready:
            self._announced = True
            self._announce(self.status())

    # Deaths

    def _bury(self, member: Member, life: Life) -> None:
        """Reap it, hand its slot's last words on, and settle whether and when its place is filled again."""
        self._hear(member, life)
        self._unwatch(life)
        self._selector.unregister(life.pidfd)
        why = life.reap()
        member.life = None
        member.note = ""
        self._family.tell_of_death(member, life, why)
        if self._drain:
            self._bury_in_drain(member, life, why)
        elif life.refused and not self._announced:
            member.start_at_s = None
            self._end(Ended(life.refused.exit_code, life.refused.problems), REFUSED_DRAIN_S)
        else:
            self._start_again(member, life, why)

    def _bury_in_drain(self, member: Member, life: Life, why: str) -> None:
        assert self._drain
        # What is in flight still needs workers and servers; a dead ingest or gateway has nothing left to finish.
        role = member.role.name
        if role in NEEDED and not self._drain.begun(role) and not self._cut:
            self._start_again(member, life, why)
            return
        member.start_at_s = None
        if why == "exit 0" or life.killed:  # of who is killed that is said already
            log.get().info("ended", process=member.name, pid=life.pid, why=why)
        else:
            texts = life.refused.problems if life.refused else []
            log.get().warning("ended", process=member.name, pid=life.pid, why=why, problems=texts)

    def _obituary(self, member: Member, why: str) -> str:
        what = f"{member.name} died again and again"
        if member.role.name != SERVER.name:
            return f"{what}, last by {why}"
        folder = ServerFolder(self._plan.rundir.broker(embedded(self._plan.spec)[member.index]))
        return str(Problem(what, where=str(folder.log), why=folder.last_words() or why))

    def _start_again(self, member: Member, life: Life, why: str) -> None:
        now_s = time.monotonic()
        # A farm that never was ready, and whose workers only crash, would say "starting" for ever.
        delay_s = member.restarts.died(now_s, essential=member.role.essential or not self._announced)
        texts = life.refused.problems if life.refused else []
        if delay_s is None:
            member.start_at_s = None
            log.get().error("gave up: it dies again and again", process=member.name, why=why, problems=texts)
            self._end(Ended(GAVE_UP, [self._obituary(member, why)]))
            return
        if life.refused and member.role.name == WORKER.name:
            self._renewal.look(now_s)
        member.start_at_s = now_s + delay_s
        member.restarts_count += 1
        log.get().warning(
            "died",
            process=member.name,
            pid=life.pid,
            why=life.killed or why,
            again_in_s=round(delay_s, 2),
            problems=texts,
        )

    # The end

    def _heed_signals(self, signals: Signals) -> None:
        now_s = time.monotonic()
        for number in signals.take():
            if self._drain is None:
                log.get().info("draining", signal=number.name)
                self._asked_at_s = now_s
                self._end()
            elif now_s - self._asked_at_s >= ECHO_S:
                self._cut_short(number)

    def _end(self, ended: Ended = Ended(0), within_s: float = DRAIN_S) -> None:
        """Begin to drain, unless that has begun; the first reason is the one that is kept."""
        if self._drain is None:
            self._ended = ended
            self._drain = Drain(time.monotonic(), within_s)

    def _cut_short(self, number: signal.Signals) -> None:
        """A second signal: everybody goes now, nothing is acked."""
        log.get().warning("cut", signal=number.name)
        self._ended = Ended(128 + number)
        self._cut = True
        for member in self._family.members:
            member.start_at_s = None
            if member.life:
                member.life.kill("cut by a second signal")

    def _advance(self, now_s: float) -> None:
        """Begin every stage of the drain whose turn it is."""
        while self._drain:
            stage = self._drain.stage
            if stage and not all(one.over for one in self._family.of(stage.role)):
                return
            begun = self._drain.advance(now_s)
            if begun is None:
                return
            if begun.role == "gateway" and self._family.ingest.life:
                self._family.ingest.life.say(Quiet())
            for member in self._family.of(begun.role):
                member.drain(begun)
