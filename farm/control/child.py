"""One fork, and the child's first steps: from a copy of the supervisor to a process of its own role.

    signals blocked | fork | die with the parent | close what is not ours | ignore signals | mask back | import | run
The order is the point: no handler of the supervisor runs in the child, no sibling's lifeline stays open in it (there
would never be an end-of-file), and a supervisor that died in between leaves no orphan.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from setproctitle import setproctitle

from farm import log
from farm.control import kernel
from farm.control.roles import Role
from farm.errors import FarmError, refusal_of
from farm.wire.lifeline import Post, Refused

CRASHED: Final = 70
# Ctrl-C, and systemd, reach the whole group; the supervisor alone decides, and says so on the lifeline.
IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGPIPE)

Main = Callable[[Post], int]


@dataclass(frozen=True)
class Launch:
    """What a child becomes."""

    role: Role
    post: Post
    level: log.Level


def fork(child: Launch) -> tuple[int, int]:
    """Start it; its pid, and a descriptor that becomes readable when it ends.

    The caller closes its copy of the child's end of the lifeline.
    Raises: OSError: no process, or no descriptor, can be had.
    """
    kernel.load()
    parent = os.getpid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # inherited as ignored, no child could be waited for
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _live(child, parent, before)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)  # nobody would ever hear of its end
        os.waitpid(pid, 0)
        raise


def _live(child: Launch, parent: int, mask: set[signal.Signals | int]) -> NoReturn:
    code = CRASHED
    try:
        _first_steps(child, parent, mask)
        code = _run(child)
    except BaseException:  # noqa: BLE001  nothing may return into the supervisor's frames, which lie below this one
        log.get().error("crashed", exc_info=True)
    finally:
        os._exit(code)  # nor is anything of the supervisor's finalised here


def _first_steps(child: Launch, parent: int, mask: set[signal.Signals | int]) -> None:
    kernel.die_with_parent(parent)
    first = 3
    for own in sorted(_descriptors(child)):
        os.closerange(first, own)
        first = own + 1
    os.closerange(first, 2**31 - 1)
    log.silence(0)
    signal.set_wakeup_fd(-1)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    gc.freeze()
    kernel.harden()
    # It writes where the arguments and the environment lie, which it finds by the environment: so before that goes.
    setproctitle(f"farm: {title(child.role, child.post.index)} ({child.post.spec.app.name})")
    if not child.role.environment:
        os.environ.clear()


def _descriptors(child: Launch) -> list[int]:
    """What of the supervisor's a child may have, beside 0-2."""
    post = child.post
    return [post.lifeline.fileno()] + ([post.secrets] if post.secrets is not None else [])


def _run(child: Launch) -> int:
    post = child.post
    log.configure(child.level, title(child.role, post.index))
    try:
        return _import(child.role.target)(post)
    except Exception as error:  # noqa: BLE001  the last resort of a process: what it died of is logged, never lost
        refused = refusal_of(error) if isinstance(error, OSError) else error
        if not isinstance(refused, FarmError):
            log.get().error("crashed", exc_info=True)
            return CRASHED
        log.get().debug("refused", exc_info=True)
        post.lifeline.send(Refused(refused.exit_code, [str(problem) for problem in refused.problems]))
        return refused.exit_code


def title(role: Role, index: int) -> str:
    """What a process is called in `ps` and the log: "ingest", "worker 3"."""
    return f"{role.name} {index}" if role.name == "worker" else role.name


def _import(target: str) -> Main:
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)
