"""The two directories of a farm, found from the manifest's path alone.

state    <id>/ under $FARM_STATE_DIR, else the user's state directory: lock, keys, dead-letters.jsonl, cache/, brokers/
runtime  $XDG_RUNTIME_DIR/farm-<id>, else <state>/run: work.sock, relay.sock, admin.sock. The lock says which it was
<id>     name of the manifest's folder and 8 hex digits of its real path: two clones do not collide
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import platformdirs

from farm.errors import AlreadyRunning, NotPermitted, Problem, denied

SOCKET_PATH_LIMIT_BYTES: Final = 107  # sun_path less its terminator (unix(7))
LOG_TAIL_BYTES: Final = 4096
FAULT_MARKS: Final = ("[FTL]", "[ERR]")  # of nats-server
LOCK_BYTES: Final = 8192  # more than a pid, a name and a path
LOCK_TRIES: Final = 3
LOCK_PAUSE_S: Final = 0.01


@dataclass(frozen=True)
class Holder:
    """Who holds a farm's lock: its pid, the name of its app, its runtime directory."""

    pid: int
    app: str
    runtime: Path


@dataclass(frozen=True)
class Rundir:
    """Where one farm keeps what outlives it (state) and what does not (runtime)."""

    state: Path
    runtime: Path

    @property
    def work(self) -> str:
        """The address of the work link."""
        return f"ipc://{self.runtime / 'work.sock'}"

    @property
    def relay(self) -> str:
        """The address of the relay."""
        return f"ipc://{self.runtime / 'relay.sock'}"

    @property
    def admin(self) -> Path:
        """The path of the admin socket."""
        return self.runtime / "admin.sock"

    @property
    def lock(self) -> Path:
        """The lock file: whoever holds it is the running farm."""
        return self.state / "lock"

    @property
    def cache(self) -> Path:
        """Compiled components."""
        return self.state / "cache"

    @property
    def dead_letters(self) -> Path:
        """The local dead-letter file."""
        return self.state / "dead-letters.jsonl"

    def broker(self, name: str) -> Path:
        """What one broker keeps, its embedded server too; made by whoever needs it (`make_private`)."""
        return self.state / "brokers" / name

    def make(self) -> None:
        """Make both directories, 0700 and ours.

        Raises:
          NotPermitted: one is a link, belongs to someone else, or its socket paths would be too long.
          NoRoom: the disk is full.
        """
        for folder in (self.state, self.cache, self.runtime):
            make_private(folder)
        longest = max(len(os.fsencode(self.runtime / name)) for name in ("work.sock", "relay.sock", "admin.sock"))
        if longest > SOCKET_PATH_LIMIT_BYTES:
            raise NotPermitted(
                Problem(
                    "socket path too long",
                    where=str(self.runtime),
                    why=f"{longest} bytes exceed the system's limit of {SOCKET_PATH_LIMIT_BYTES}",
                    todo="Set XDG_RUNTIME_DIR to a shorter directory",
                )
            )

    def clear_sockets(self) -> None:
        """Remove sockets that a farm left behind. Only under the lock."""
        for name in ("work.sock", "relay.sock", "admin.sock"):
            (self.runtime / name).unlink(missing_ok=True)

    def acquire(self, app: str) -> int:
        """Become the running farm of this directory; the lock's descriptor, held until the process ends.

        Args:
          app: the name of its app, for those who ask before it listens.

        Raises:
          AlreadyRunning: another process holds it; its pid is in the text.
        """
        fd = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if not _lock(fd, fcntl.LOCK_EX):
            holder = _said(fd)
            os.close(fd)
            where = f"pid {holder.pid if holder is not None else 'unknown'}"
            raise AlreadyRunning(
                Problem("a farm is already running here", where=where, todo="Stop it with `farm down`")
            )
        os.ftruncate(fd, 0)
        os.pwrite(fd, os.fsencode(f"{os.getpid()} {app}\n{self.runtime}\n"), 0)
        return fd

    def holder(self) -> Holder | None:
        """The farm that holds the lock, None when there is none, or it is not ours to look at."""
        try:
            fd = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            return None if _lock(fd, fcntl.LOCK_SH) else _said(fd)
        finally:
            os.close(fd)

    def running(self) -> Rundir:
        """These, with the sockets of the farm that runs: it may have been started with another XDG_RUNTIME_DIR."""
        holder = self.holder()
        return replace(self, runtime=holder.runtime) if holder is not None else self


@dataclass(frozen=True)
class ServerFolder:
    """Where an embedded server and the broker that speaks with it meet: the folder of `Rundir.broker`."""

    path: Path

    @property
    def config(self) -> Path:
        """The server's configuration, 0600."""
        return self.path / "nats.conf"

    @property
    def password(self) -> Path:
        """Of this life of the server, 0600."""
        return self.path / "password"

    @property
    def store(self) -> Path:
        """What the server keeps."""
        return self.path / "store"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.path / "server.log"

    def last_words(self) -> str:
        """The last fault that the server wrote down, without its stamp; nothing: none, or no log."""
        try:
            lines = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").splitlines()
        except OSError:
            return ""
        faults = [line.partition(mark)[2].strip() for line in lines for mark in FAULT_MARKS if mark in line]
        return faults[-1] if faults else ""

    @property
    def ports(self) -> list[Path]:
        """The file that the server writes once it listens, whose name has its pid; none before."""
        return sorted(self.path.glob("*.ports"))


def of(manifest: Path) -> Rundir:
    """The directories of the farm whose manifest lies at `manifest`; nothing is created.

    Raises: NotPermitted: no variable says where, and the user has no home.
    """
    real = manifest.resolve()
    name = re.sub(r"[^A-Za-z0-9_-]", "-", real.parent.name)[:40] or "root"
    farm_id = f"{name}-{hashlib.sha256(os.fsencode(real)).hexdigest()[:8]}"
    above = os.environ.get("FARM_STATE_DIR")
    state = (Path(above).absolute() if above else _home()) / farm_id
    runtime_above = os.environ.get("XDG_RUNTIME_DIR")
    runtime = Path(runtime_above).absolute() / f"farm-{farm_id}" if runtime_above else state / "run"
    return Rundir(state=state, runtime=runtime)


def _home() -> Path:
    """Where this user's farms keep their state unless FARM_STATE_DIR says it."""
    try:
        return platformdirs.user_state_path("farm")
    except RuntimeError as error:  # a uid without an entry in passwd, as containers have it, and no HOME
        raise NotPermitted(
            Problem(
                "no place for farm's state directory",
                why=f"uid {os.getuid()} has no home",
                todo="Set FARM_STATE_DIR to a folder that it may write",
            )
        ) from error


def _lock(fd: int, how: int) -> bool:
    """Take a lock if it is free. Who only looks has it for a moment, and is no farm: so not one try alone."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(LOCK_PAUSE_S)
    return False


def _said(lock: int) -> Holder | None:
    """What whoever took a lock has written into it; None: nothing yet."""
    who, _, runtime = os.fsdecode(os.pread(lock, LOCK_BYTES, 0)).partition("\n")
    pid, _, app = who.partition(" ")  # no app: a farm of before 0.1
    return Holder(int(pid), app, Path(runtime.removesuffix("\n"))) if pid.isdigit() else None


def make_private(folder: Path) -> None:
    """Make a directory, 0700 and ours, if it is not there.

    Raises: NotPermitted: it is a link, belongs to someone else, or cannot be made. NoRoom: the disk is full.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        todo = "Let farm's user write there, or name another place with FARM_STATE_DIR or XDG_RUNTIME_DIR"
        raise denied("cannot make a directory", str(folder), error, todo) from error
    if not stat.S_ISDIR(found.st_mode):
        raise NotPermitted(Problem("not a directory", where=str(folder), todo="Remove what lies there"))
    if found.st_uid != os.getuid():
        raise NotPermitted(Problem("directory of another user", where=str(folder), why=f"owned by uid {found.st_uid}"))
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)
