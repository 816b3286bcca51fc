"""One place in the family, and the process that fills it, one life after another.

Member   role, index, slot of the pulse, how often it was restarted         for as long as the farm runs
Life     pid, both ends that tell of it, what it was told and said          from a fork until it is reaped
"""

from __future__ import annotations

import os
import random
import secrets
import signal
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from farm.control.child import title
from farm.control.drain import Stage
from farm.control.restarts import Restarts
from farm.control.roles import Role
from farm.wire.admin import ProcessState, ProcessStatus
from farm.wire.lifeline import Down, Drain, Gone, ParentEnd, Peer, Refused
from farm.wire.pulse import Pulse

UNSAID_LIMIT: Final = 4096  # words a child may leave unread before it counts as hung
WORKER_ID_BYTES: Final = 16


def draw_id() -> bytes:
    """A routing id. ZeroMQ keeps those that begin with a zero byte for itself."""
    return b"f" + secrets.token_bytes(WORKER_ID_BYTES - 1)


@dataclass
class Life:
    """One process of a member.

    hears: whether it is told anything at all; watched: whether the loop listens to its lifeline; kill_at_s: when it is
    killed unless it has ended, monotonic.
    """

    pid: int
    pidfd: int
    lifeline: ParentEnd
    id: bytes
    hears: bool = True
    watched: bool = True
    ready: bool = False
    boot: int = 0
    refused: Refused | None = None
    draining: bool = False
    killed: str = ""
    late: bool = False
    kill_at_s: float | None = None
    kill_why: str = ""
    unsaid: deque[Down] = field(default_factory=deque[Down])

    def say(self, word: Down) -> None:
        """Say a word, or keep it until the child has read what came before."""
        if self.hears:
            self.unsaid.append(word)
            self.flush()

    def flush(self) -> None:
        """Say what is still unsaid."""
        while self.unsaid and not self.lifeline.closed and self.lifeline.send(self.unsaid[0]):
            self.unsaid.popleft()

    @property
    def hung(self) -> bool:
        """Whether it leaves too much unread."""
        return len(self.unsaid) > UNSAID_LIMIT

    def kill(self, why: str) -> None:
        """SIGKILL; the first reason is the one that is kept."""
        if not self.killed:
            self.killed = why
            with suppress(ProcessLookupError):  # it has ended by itself, and is about to be reaped
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM: what a program that is not ours understands."""
        with suppress(ProcessLookupError):  # as above
            signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)

    def reap(self) -> str:
        """How it ended: `exit 0`, `signal 9`. Only when `pidfd` is readable; closes both descriptors."""
        ended = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.pidfd)
        self.lifeline.close()
        if ended is None:  # cannot be: without WNOHANG it waits
            return "unknown"
        return f"{'exit' if ended.si_code == os.CLD_EXITED else 'signal'} {ended.si_status}"


class Member:
    """One place in the family."""

    def __init__(self, role: Role, index: int, pulse: Pulse) -> None:
        self.role = role
        self.index = index
        self.pulse = pulse
        self.restarts = Restarts(random.random)
        self.restarts_count = 0
        self.life: Life | None = None
        self.start_at_s: float | None = 0.0  # monotonic; None: not again
        self.listens: dict[str, str] = {}
        self.note = ""

    @property
    def name(self) -> str:
        """What it is called in the log and in `ps`."""
        return title(self.role, self.index)

    @property
    def ready(self) -> bool:
        """Whether it has a process that serves."""
        return self.life is not None and self.life.ready

    @property
    def over(self) -> bool:
        """Whether it has no process and gets none again."""
        return self.life is None and self.start_at_s is None

    def waits_until_s(self) -> float | None:
        """When it is to get a process, monotonic; None: it has one, or gets none again."""
        return None if self.life else self.start_at_s

    def state(self) -> ProcessState:
        """What `farm status` calls it."""
        if self.life is None:
            return "draining" if self.start_at_s is None else "restarting" if self.restarts_count else "starting"
        if self.life.draining:
            return "draining"
        return "ready" if self.life.ready else "starting"

    def status(self) -> ProcessStatus:
        """The line of `farm status`."""
        return ProcessStatus(
            role=self.role.name,
            index=self.index,
            pid=self.life.pid if self.life else None,
            state=self.state(),
            restarts=self.restarts_count,
            note=self.note,
        )

    def peer(self) -> Peer:
        """The word that tells another process of this one, which is alive."""
        assert self.life is not None
        return Peer(self.role.name, self.index, self.life.id, self.pulse.slot, self.life.pid, self.life.boot)

    def gone(self, life: Life, why: str) -> Gone:
        """The word that tells of the end of `life`: the slot still holds what that process wrote last."""
        started, since = self.pulse.started()
        return Gone(life.id, started, since != 0, life.late, why)

    def late(self, now_s: float) -> bool:
        """Whether it promised to be heard of by now."""
        return not self.role.foreign and now_s * 1e9 > self.pulse.promised_ns()

    def drain(self, stage: Stage) -> None:
        """Tell it to finish; without a process it is over."""
        self.start_at_s = None
        if self.life:
            self.life.draining = True
            self.life.kill_at_s, self.life.kill_why = stage.over_at_s, "did not finish in time"
            if self.role.foreign:
                self.life.terminate()
            else:
                self.life.say(Drain(stage.told_s))
