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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from setproctitle import setproctitle

from farm import log
from farm.control import child
from farm.control.admin import Admin
from farm.control.child import Launch
from farm.control.drain import DRAIN_S, Drain
from farm.control.member import Life, Member, draw_id
from farm.control.roles import ROLES, Role, counts
from farm.control.signals import Signals
from farm.errors import WireError
from farm.rundir import Rundir
from farm.spec import FarmSpec
from farm.wire import lifeline
from farm.wire.admin import FamilyStatus, FarmState
from farm.wire.lifeline import Post, Quiet, Ready, Refused, Restart, Up
from farm.wire.pulse import Board

TURN_S: Final = 0.2
STALL_S: Final = 1.0  # a turn that took longer: this process was stopped, and so perhaps was everybody
GRACE_S: Final = 3.5
START_S: Final = 30.0  # until a child must have beaten for the first time
CLOSED_S: Final = 1.0  # until a child that closed its lifeline must have ended
NO_FORK_S: Final = 1.0
REFUSED_DRAIN_S: Final = 5.0
GAVE_UP: Final = 70


@dataclass(frozen=True)
class Plan:
    """What is to run. entries: component name -> what the compiler reported of it."""

    spec: FarmSpec
    rundir: Rundir
    workers: int
    level: log.Level
    entries: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    roles: tuple[Role, ...] = ROLES


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
        self._board = Board()
        self._members = _members(plan, self._board)
        self._ingest = self._members[0]
        self._selector = selectors.DefaultSelector()
        self._drain: Drain | None = None
        self._ended = Ended(0)
        self._cut = False
        self._grace_until_s = 0.0

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
            while not (self._drain and all(member.over for member in self._members)):
                self._turn()
        finally:
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
            processes=[member.status() for member in self._members],
            listens={broker: where for member in self._members for broker, where in member.listens.items()},
            digests={name: component.digest for name, component in self._plan.spec.components.items()},
            uptime_s=round(time.monotonic() - self._began_s, 3),
        )

    def _state(self) -> FarmState:
        if self._drain:
            return "draining"
        if not self._announced:
            return "starting"
        return "ready" if all(member.ready for member in self._members) else "degraded"

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
        self._advance(now_s)

    def _wait_s(self, now_s: float) -> float:
        due = [member.start_at_s for member in self._members if member.life is None and member.start_at_s is not None]
        return max(0.0, min([TURN_S, *(at_s - now_s for at_s in due)]))

    def _watch(self, now_s: float) -> None:
        """Kill what broke its promise, overran its time, or does not read."""
        for member in self._members:
            life = member.life
            if life is None or life.killed:
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
        for member in self._members:
            if member.life is None and member.start_at_s is not None and member.start_at_s <= now_s:
                self._start(member, now_s)

    def _start(self, member: Member, now_s: float) -> None:
        parent_end, child_end = lifeline.pair()
        member.pulse.clear()
        member.pulse.promise(START_S)
        post = Post(
            spec=self._plan.spec,
            rundir=self._plan.rundir,
            role=member.role.name,
            index=member.index,
            id=draw_id(),
            slot=member.pulse.slot,
            lifeline=child_end,
            pulse=member.pulse,
            board=self._board,
            listens=dict(member.listens),
            entries=dict(self._plan.entries),
        )
        member.restarts.started(now_s)
        try:
            pid, pidfd = child.fork(Launch(member.role, post, self._plan.level))
        except OSError as error:  # no memory, too many processes: that may pass
            parent_end.close()
            member.start_at_s = now_s + NO_FORK_S
            log.get().error("cannot start a process", process=member.name, reason=error.strerror)
            return
        finally:
            child_end.close()
        life = Life(pid, pidfd, parent_end, post.id)
        member.life = life
        self._selector.register(parent_end, selectors.EVENT_READ, lambda: self._hear(member, life))
        self._selector.register(pidfd, selectors.EVENT_READ, lambda: self._bury(member, life))
        log.get().info("started", process=member.name, pid=pid)
        self._introduce(member, life)

    def _introduce(self, member: Member, life: Life) -> None:
        """Ingest hears of everybody; everybody hears of ingest once it is ready."""
        others = [one for one in self._members if one is not self._ingest]
        if member is self._ingest:
            for other in others:
                if other.life:
                    life.say(other.peer())
        elif self._ingest.life:
            self._ingest.life.say(member.peer())
            if self._ingest.ready:
                life.say(self._ingest.peer())

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
        elif isinstance(word, Restart) and member is self._ingest:
            for other in self._members:
                if other.life and other.life.id == word.worker:
                    self._kill(other, other.life, word.why)
        else:
            self._kill(member, life, f"{type(word).__name__} is no word of a {member.role.name}")

    def _heed_ready(self, member: Member, life: Life, word: Ready) -> None:
        life.ready, life.boot = True, word.boot
        member.restarts.ready(time.monotonic())
        if word.listens:
            member.listens = dict(word.listens)
            for broker, where in word.listens.items():
                log.get().info("listening", broker=broker, url=f"http://{where}")
        if member is self._ingest:
            for other in self._members:
                if other.life and other is not member:
                    other.life.say(member.peer())
        if not self._announced and not self._drain and all(one.ready for one in self._members):
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
        if member.role.name == "worker" and self._ingest.life:
            self._ingest.life.say(member.gone(life, why))
        if self._drain:
            self._bury_in_drain(member, life, why)
        elif life.refused and not self._announced:
            member.start_at_s = None
            self._end(Ended(life.refused.exit_code, life.refused.problems), REFUSED_DRAIN_S)
        else:
            self._start_again(member, life, why)

    def _bury_in_drain(self, member: Member, life: Life, why: str) -> None:
        assert self._drain
        # What is in flight still needs workers; a dead ingest or gateway has nothing left to finish.
        if member.role.name == "worker" and not self._drain.begun("worker") and not self._cut:
            self._start_again(member, life, why)
            return
        member.start_at_s = None
        log.get().info("ended", process=member.name, pid=life.pid, why=why)

    def _start_again(self, member: Member, life: Life, why: str) -> None:
        now_s = time.monotonic()
        # A farm that never was ready, and whose workers only crash, would say "starting" for ever.
        delay_s = member.restarts.died(now_s, essential=member.role.essential or not self._announced)
        texts = life.refused.problems if life.refused else []
        if delay_s is None:
            member.start_at_s = None
            log.get().error("gave up: it dies again and again", process=member.name, why=why, problems=texts)
            self._end(Ended(GAVE_UP, [f"{member.name} died again and again, last by {why}"]))
            return
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
        for number in signals.take():
            if self._drain is None:
                log.get().info("draining", signal=number.name)
                self._end()
            else:
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
        for member in self._members:
            member.start_at_s = None
            if member.life:
                member.life.kill("cut by a second signal")

    def _advance(self, now_s: float) -> None:
        """Begin every stage of the drain whose turn it is."""
        while self._drain:
            stage = self._drain.stage
            if stage and not all(one.over for one in self._members if one.role.name == stage.role):
                return
            begun = self._drain.advance(now_s)
            if begun is None:
                return
            if begun.role == "gateway" and self._ingest.life:
                self._ingest.life.say(Quiet())
            for member in self._members:
                if member.role.name == begun.role:
                    member.drain(begun)


def _members(plan: Plan, board: Board) -> list[Member]:
    """Ingest first, then the gateway, then the workers: each has one slot for the whole life of the farm."""
    how_many = counts(plan.spec, plan.workers)
    places = [(role, index) for role in plan.roles for index in range(how_many[role.name])]
    return [Member(role, index, board.slot(slot)) for slot, (role, index) in enumerate(places)]
