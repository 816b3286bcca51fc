"""The members of one farm: where each stands, how its process is begun, and which process hears of which.

ingest hears of every worker and of the gateway           Peer at each birth, Gone at each death of a worker
workers and gateway hear of every life of ingest          Peer, once that life is ready
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from farm import log
from farm.control import child
from farm.control.child import Launch
from farm.control.member import Life, Member, draw_id
from farm.control.roles import ROLES, Role, counts
from farm.rundir import Rundir
from farm.spec import FarmSpec
from farm.wire import lifeline
from farm.wire.lifeline import Post
from farm.wire.pulse import Board

START_S: Final = 30.0  # until a child must have beaten for the first time
NO_FORK_S: Final = 1.0


@dataclass(frozen=True)
class Plan:
    """What is to run. entries: component name -> what the compiler reported of it; secrets: descriptor of the sealed
    memory file, if there is one.
    """

    spec: FarmSpec
    rundir: Rundir
    workers: int
    level: log.Level
    entries: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    secrets: int | None = None
    roles: tuple[Role, ...] = ROLES


class Family:
    """Ingest first, then the gateway, then the workers: each has one slot of the pulse for as long as the farm runs."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.entries = dict(plan.entries)  # what workers are started with
        self._board = Board()
        how_many = counts(plan.spec, plan.workers)
        places = [(role, index) for role in plan.roles for index in range(how_many[role.name])]
        self.members = [Member(*place, self._board.slot(slot)) for slot, place in enumerate(places)]
        self.ingest = self.members[0]

    @property
    def ready(self) -> bool:
        """Whether everybody serves."""
        return all(member.ready for member in self.members)

    @property
    def over(self) -> bool:
        """Whether nobody has a process, nor gets one again."""
        return all(member.over for member in self.members)

    def of(self, role: str) -> list[Member]:
        """The members of one role."""
        return [member for member in self.members if member.role.name == role]

    def lives(self) -> Iterator[tuple[Member, Life]]:
        """Everybody who has a process."""
        return ((member, member.life) for member in self.members if member.life is not None)

    def due(self, now_s: float) -> list[Member]:
        """Those whose process is to begin by now."""
        return [member for member in self.members if (at_s := member.waits_until_s()) is not None and at_s <= now_s]

    def next_due_s(self) -> float | None:
        """When the next one is to begin, monotonic."""
        return min((at_s for member in self.members if (at_s := member.waits_until_s()) is not None), default=None)

    def start(self, member: Member) -> Life | None:
        """Fork a member's process and make it known; None when there can be none at present."""
        now_s = time.monotonic()
        member.pulse.clear()
        member.pulse.promise(START_S)
        member.restarts.started(now_s)
        try:
            life = member.life = self._fork(member)
        except OSError as error:  # no memory, too many processes, too many open files: that may pass
            member.start_at_s = now_s + NO_FORK_S
            log.get().error("cannot start a process", process=member.name, reason=error.strerror)
            return None
        log.get().info("started", process=member.name, pid=life.pid)
        self._introduce(member, life)
        return life

    def hurry(self, role: str) -> None:
        """Let those of a role that wait for their next process have it now."""
        now_s = time.monotonic()
        for member in self.of(role):
            if member.waits_until_s() is not None:
                member.start_at_s = now_s

    def _fork(self, member: Member) -> Life:
        parent_end, child_end = lifeline.pair()
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
            entries=dict(self.entries),
            secrets=self._plan.secrets if member.role.secrets else None,
        )
        try:
            pid, pidfd = child.fork(Launch(member.role, post, self._plan.level))
        except OSError:
            parent_end.close()
            raise
        finally:
            child_end.close()
        return Life(pid, pidfd, parent_end, post.id, hears=not member.role.foreign)

    def _introduce(self, member: Member, life: Life) -> None:
        if member is self.ingest:
            for other, _ in self.lives():
                if other is not member and not other.role.foreign:
                    life.say(other.peer())
        elif self.ingest.life and not member.role.foreign:
            self.ingest.life.say(member.peer())
            if self.ingest.ready:
                life.say(self.ingest.peer())

    def tell_of_ingest(self) -> None:
        """Everybody hears of this life of ingest, which is ready."""
        for other, life in self.lives():
            if other is not self.ingest:
                life.say(self.ingest.peer())

    def tell_of_death(self, member: Member, life: Life, why: str) -> None:
        """Ingest hears of a worker that was reaped, and of what its slot says; the slot is used again only then."""
        if member.role.name == "worker" and self.ingest.life:
            self.ingest.life.say(member.gone(life, why))
