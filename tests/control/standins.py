"""Roles that do nothing but live: what a supervisor needs of its children, and ways to misbehave.

Each writes what it hears to `<state>/heard.jsonl`. `<state>/<name>.does`, read when it begins, says how it behaves.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import select
import sys
import time
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from farm.brokers.options.nats import JetStreamSpec
from farm.control.roles import SERVER, Role
from farm.errors import PortTaken, Problem
from farm.rundir import of
from farm.spec import AppSpec, BrokerSpec, FarmSpec, GatewaySpec, MemorySpec
from farm.wire.lifeline import Drain, Post, Ready, Restart, State

ROLES = (
    Role("ingest", "tests.control.standins:ingest", essential=True),
    Role("gateway", "tests.control.standins:gateway", essential=True),
    Role("worker", "tests.control.standins:worker", environment=False),
    SERVER,
)
PROMISE_S = 1.0
PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS = 3, 39  # linux/prctl.h


def spec_at(folder: Path, *, gateway: bool = True) -> FarmSpec:
    """A farm of one broker and no component; of a second, whose server is embedded, if there is a file `embedded`."""
    listener = GatewaySpec(port=0) if gateway else None
    brokers: dict[str, BrokerSpec] = {"test": MemorySpec(name="test", gateway=listener)}
    if (folder / "embedded").exists():
        brokers["durable"] = JetStreamSpec(name="durable", type="jetstream", server="embedded")
    return FarmSpec(path=folder / "farm.toml", app=AppSpec(name="example"), brokers=brokers, components={})


class Standin:
    """One process: beats, writes down what it hears, ends on Drain."""

    def __init__(self, post: Post) -> None:
        self.post = post
        self.name = f"{post.role}-{post.index}"
        script = post.rundir.state / f"{self.name}.does"
        self.does = script.read_text().split() if script.exists() else []
        # Above 0-2, and without the one that reads this.
        descriptors = len([fd for fd in Path("/proc/self/fd").iterdir() if int(fd.name) > 2]) - 1
        self.note(
            "begins",
            pid=os.getpid(),
            id=post.id.hex(),
            listens=post.listens,
            environ=len(os.environ),
            descriptors=descriptors,
            dumpable=ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0),
            no_new_privileges=ctypes.CDLL(None).prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
            core_bytes=resource.getrlimit(resource.RLIMIT_CORE)[1],
        )

    def note(self, what: str, **more: Any) -> None:
        line = json.dumps({"who": self.name, "what": what, **more})
        with (self.post.rundir.state / "heard.jsonl").open("a") as file:
            file.write(f"{line}\n")

    def run(self, ready: Ready) -> int:
        post = self.post
        if "crash" in self.does:
            return 9
        self.refuse()
        if "call" in self.does:
            post.pulse.start(42, time.monotonic_ns(), int(PROMISE_S * 1e9))
        if "late" in self.does:  # it is never ready
            while not any(isinstance(word, Drain) for word in post.lifeline.receive()):
                post.pulse.promise(PROMISE_S)
                time.sleep(0.05)
            return 0
        post.lifeline.send(State("at work"))
        post.lifeline.send(ready)
        post.pulse.promise(PROMISE_S)
        if "hang" in self.does:
            (post.rundir.state / f"{self.name}.does").unlink()
            time.sleep(600)
        while "deaf" in self.does:
            post.pulse.promise(PROMISE_S)
            time.sleep(0.1)
        while True:
            select.select([post.lifeline.fileno()], [], [], 0.1)
            for word in post.lifeline.receive():
                told = {key: value.hex() if isinstance(value, bytes) else value for key, value in asdict(word).items()}
                self.note("hears", word=type(word).__name__, **told)
                if isinstance(word, Drain) and "stay" not in self.does:
                    self.note("drains", pid=os.getpid())
                    return 0
            if post.lifeline.closed:
                return 0
            self.obey()
            post.pulse.promise(PROMISE_S)

    def refuse(self) -> None:
        """Say that it cannot start, if it shall."""
        if "refuse" in self.does:
            raise PortTaken(Problem("port taken", where="127.0.0.1:3005", why="in use", todo="Choose another"))
        if "full" in self.does:
            raise OSError(errno.ENOSPC, "No space left on device", "/state/work.sock")

    def obey(self) -> None:
        """Do what a test asks a process that already runs for."""
        order = self.post.rundir.state / f"{self.name}.order"
        if not order.exists():
            return
        what, _, argument = order.read_text().partition(" ")
        order.unlink()
        if what == "restart":
            self.post.lifeline.send(Restart(bytes.fromhex(argument), "its frames do not parse"))


def ingest(post: Post) -> int:
    """Has a nonce of its own in each life."""
    return Standin(post).run(Ready(boot=os.getpid()))


def gateway(post: Post) -> int:
    """Says where it listens; where it listened before, again."""
    return Standin(post).run(Ready(listens=post.listens or {"test": f"127.0.0.1:{os.getpid() % 60000 + 1024}"}))


def worker(post: Post) -> int:
    """One of many."""
    return Standin(post).run(Ready())


def crash(_: Post) -> int:
    """A compiler that dies without a word."""
    os.abort()


def fall_silent(_: Post) -> int:
    """A compiler that ends without a word."""
    return 0


def main(folder: str, workers: str) -> int:
    """`farm up` with these roles, in this process."""
    from farm import log
    from farm.control import kernel, terminal
    from farm.control.cli.family import ready_line
    from farm.control.family import Plan
    from farm.control.supervisor import Supervisor

    kernel.fill_standard_descriptors()
    spec = spec_at(Path(folder))
    rundir = of(spec.path)
    rundir.make()
    rundir.acquire("shop")
    log.configure("debug", "supervisor")
    plan = Plan(spec, rundir, int(workers), "debug", roles=ROLES)
    ended = Supervisor(plan, lambda status: terminal.say(ready_line(status))).run()
    for problem in ended.problems:
        terminal.error(problem)
    return ended.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
