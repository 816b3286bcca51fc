"""`farm up` and `farm down`: the beginning and the end of a family."""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from farm import log, rundir
from farm.control import terminal
from farm.control.cli.options import App, manifest_path, rundir_of
from farm.control.cli.overview import ask
from farm.control.roles import check_files, check_workers
from farm.errors import NotRunning, Problem, Unanswered, refusal_of
from farm.rundir import Rundir
from farm.secrets import FD_VARIABLE, seal, take_descriptor, variables_of
from farm.spec import FarmSpec
from farm.wire.admin import FamilyStatus

ANSWER_S: Final = 5.0
GONE_S: Final = 40.0  # a drain takes 25 s at most

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", envvar="FARM_WORKERS", help="How many worker processes. Default: one for each core."
    ),
]
LogLevel = Annotated[log.Level, typer.Option("--log-level", envvar="FARM_LOG_LEVEL", help="Logs go to stderr.")]


def up(workers: Workers = None, app: App = None, log_level: LogLevel = "info") -> int:
    """Run the farm of this folder in the foreground.

    Builds what changed, starts the processes, says on stderr where it listens, then prints one line that begins with
    "ready". Ctrl-C, SIGTERM or `farm down` finish what is in flight (25 s at most) and end it; a second Ctrl-C ends it
    at once.

    Exit code 0 when it was told to end; what `farm check` has when something is wrong beforehand; 69 when a port is
    taken or a broker that is required is away, 70 when a process died over and over, 74 when a disk is full, 75 when a
    farm runs here already.

    \b
    Examples:
      farm up
      farm up --workers 8 --log-level debug
      farm up --app services/orders
    """
    how_many = len(os.sched_getaffinity(0)) if workers is None else workers
    check_workers(how_many)
    return _run(manifest_path(app), how_many, log_level)


def _run(manifest: Path, workers: int, level: log.Level) -> int:
    from farm.control import kernel, preload
    from farm.control.cli.apart import look_apart
    from farm.control.family import Plan
    from farm.control.prepare import prepare
    from farm.control.signals import ToldToEnd, told_to_end
    from farm.control.supervisor import Supervisor
    from farm.gateway.listening import look
    from farm.manifest.files import refuse
    from farm.manifest.read import read

    kernel.fill_standard_descriptors()
    log.configure(level, "supervisor")
    secrets_fd = take_descriptor()
    found = read(manifest, os.environ)
    spec = found.spec
    if secrets_fd is None:
        refuse(look_apart(found, os.environ))
        _hide_secrets(spec)
    else:
        kernel.conceal()
    directories = rundir.of(manifest)
    directories.make()
    try:
        lock = directories.acquire(spec.app.name)  # held until this process ends, and by no child
    except OSError as error:
        refusal = refusal_of(error, str(directories.lock))
        if refusal is None:
            raise
        raise refusal from error
    files = kernel.raise_file_limit()
    check_files(files, spec, workers)
    if files < kernel.FILES_NEEDED:
        log.get().warning("few open files allowed", limit=files, needed=kernel.FILES_NEEDED, todo="raise `ulimit -n`")
    look(spec)
    preload.preload(preload.modules(spec))
    try:
        with told_to_end():
            prepared = prepare(spec, directories, level)
    except ToldToEnd as signal:
        log.get().info("ended before it had started", signal=str(signal))
        return 0
    os.umask(0o077)
    plan = Plan(prepared.spec, directories, workers, level, prepared.entries, secrets_fd)
    ended = Supervisor(plan, lambda status: terminal.say(ready_line(status))).run()
    os.close(lock)
    for problem in ended.problems:
        terminal.error(problem)
    return ended.exit_code


def _hide_secrets(spec: FarmSpec) -> None:
    """Where the environment holds secrets of the manifest: become a process whose environment holds none."""
    values = variables_of(spec, os.environ)
    if values:
        fd = seal(values)
        kept = {name: value for name, value in os.environ.items() if name not in values}
        os.execve(sys.executable, sys.orig_argv, {**kept, FD_VARIABLE: str(fd)})


def ready_line(status: FamilyStatus) -> str:
    """What `farm up` prints when everybody is there."""
    workers = sum(process.role == "worker" for process in status.processes)
    where = "".join(f", {broker} on http://{address}" for broker, address in status.listens.items())
    return f"ready: {status.app}, {workers} worker{'s' if workers != 1 else ''}{where} (pid {status.pid})"


def down(app: App = None) -> int:
    """Drain the running farm of this folder, and wait until it is gone.

    Exit code 0 when it is, 69 when none runs, 75 when it does not end.

    \b
    Examples:
      farm down
      farm down --app services/orders
    """
    directories = rundir_of(app)
    try:
        status, _ = ask(directories, "down", ANSWER_S)
    except NotRunning:
        holder = directories.holder()
        if holder is None:
            raise
        os.kill(holder.pid, signal.SIGTERM)  # it builds, and listens to nobody yet
        _await_end(directories, holder.pid)
        print(f"stopped: {holder.app} (pid {holder.pid}), before it had started")
        return 0
    _await_end(directories, status.pid)
    print(f"stopped: {status.app} (pid {status.pid})")
    return 0


def _await_end(directories: Rundir, pid: int) -> None:
    """Wait until a farm's process has ended.

    Raises: Unanswered: it did not.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    ended = poll.poll(GONE_S * 1000)
    os.close(pidfd)
    if not ended:
        todo = f"`kill -9 {pid}` ends it at once, and its children with it"
        raise Unanswered(Problem("the farm did not end", where=f"pid {pid}", why=f"in {GONE_S:g} s", todo=todo))
