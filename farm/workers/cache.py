"""The compile cache: one file of native code for each (.wasm, wasmtime, settings), authenticated.

    <state>/cache.key             32 random bytes, 0600: without them nobody makes an entry that is accepted
    <state>/cache/<key>.cwasm     native code                 <key>.mac    its HMAC, bound to the name
The compiler child checks an entry once a start and reports what the file is (device, inode, size, times of change); a
worker compares that with the descriptor it maps, so that nothing can be put in its place after the check. wasmtime
itself checks next to nothing: most flipped bytes load and run.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import mmap
import os
import stat
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
import wasmtime
from wasmtime import component as wt

from farm.errors import Internal, NotPermitted, Problem, denied
from farm.rundir import Rundir
from farm.workers.engine import Engine, fingerprint

KEY_BYTES: Final = 32
OLD_ENTRIES_KEPT: Final = 8


class Entry(msgspec.Struct, frozen=True):
    """A checked file of native code, and what fstat said of it."""

    path: str
    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int  # nobody can set it back

    def encoded(self) -> bytes:
        """As it travels over the lifeline."""
        return msgspec.msgpack.encode(self)


class Tampered(Exception):
    """An entry is there and not what farm wrote: it is not used."""


class Cache:
    """Where compiled components are kept: the state directory; where that is full, in memory while farm runs."""

    def __init__(self, rundir: Rundir) -> None:
        self.folder: Final = rundir.cache
        self.spares: Final = (rundir.runtime / "cache", Path("/dev/shm") / f"farm-{os.getuid()}-{rundir.state.name}")
        self._key_file = rundir.state / "cache.key"

    def find(self, digest: str) -> Entry | None:
        """The checked entry of a .wasm, by the hex sha256 of its bytes; None when there is none.

        Raises:
          Tampered: there is one that farm did not write, or that changed since.
        """
        name = entry_name(digest)
        try:
            with closing(_Folder(self.folder)) as folder:
                fd = folder.open(f"{name}.cwasm")
                try:
                    expected = folder.read(f"{name}.mac")
                    if not hmac.compare_digest(expected, self._mac(name, fd)):
                        raise Tampered("its authentication code does not match")
                    return _entry(self.folder / f"{name}.cwasm", os.fstat(fd))
                finally:
                    os.close(fd)
        except FileNotFoundError:
            return None

    def store(self, digest: str, code: bytes | bytearray) -> tuple[Entry, str]:
        """Keep native code; its entry, and a warning or "" when it is kept where it will not outlive this farm.

        Raises:
          NoRoom, NotPermitted: it could be written nowhere; a place is not ours alone.
        """
        name, warning = entry_name(digest), ""
        refused = OSError()
        for folder in (self.folder, *self.spares):
            try:
                _make_private(folder)
                return self._write(folder, name, code), warning
            except OSError as error:
                refused = error if not warning else refused  # by the state directory, where it belongs
                warning = f"cannot keep compiled components in {self.folder}: {refused.strerror}"
        raise denied("cannot keep compiled components", str(self.folder), refused) from refused

    def prune(self, used: Iterable[Entry]) -> None:
        """Remove entries that no component uses any more, but for the newest few, and what a compiler that died has
        left half written. Only under the farm's lock, while nothing compiles.
        """
        for path in self.folder.glob("*.new"):
            path.unlink(missing_ok=True)
        names = {Path(entry.path).stem for entry in used}
        unused = [path for path in self.folder.glob("*.cwasm") if path.stem not in names]
        unused.sort(key=lambda path: path.lstat().st_mtime_ns, reverse=True)
        for path in unused[OLD_ENTRIES_KEPT:]:
            path.with_suffix(".mac").unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def clear_spares(self) -> None:
        """Remove what was kept outside the state directory. Only under the farm's lock, while nothing maps it."""
        for folder in self.spares:
            if not folder.is_dir() or folder.lstat().st_uid != os.getuid():
                continue
            for path in (*folder.glob("*.cwasm"), *folder.glob("*.mac"), *folder.glob("*.new")):
                path.unlink(missing_ok=True)
            folder.rmdir()

    def _write(self, folder: Path, name: str, code: bytes | bytearray) -> Entry:
        with closing(_Folder(folder)) as place:
            place.remove(f"{name}.mac")  # first: an old code must never meet new bytes
            found = place.write(f"{name}.cwasm", code)
            fd = place.open(f"{name}.cwasm")
            try:
                place.write(f"{name}.mac", self._mac(name, fd))
            finally:
                os.close(fd)
        return _entry(folder / f"{name}.cwasm", found)

    def _mac(self, name: str, fd: int) -> bytes:
        mac = hmac.new(self._key(), name.encode() + b"\0", hashlib.sha256)
        if os.fstat(fd).st_size:
            with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as content:
                mac.update(content)
        return mac.digest()

    def _key(self) -> bytes:
        """The key, made at the first use, and anew when it is damaged or others could have read it."""
        name = self._key_file.name
        with closing(_Folder(self._key_file.parent)) as folder:
            try:
                key = folder.read(name)
            except (FileNotFoundError, Tampered):
                key = b""
            if len(key) != KEY_BYTES:
                key = os.urandom(KEY_BYTES)
                folder.write(name, key)
            return key


class _Folder:
    """A private directory of ours, held open: every name is looked up in it and never followed out of it."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (NotADirectoryError, PermissionError) as error:  # the first: a link too
            raise Tampered("no directory that farm may open") from error
        try:
            _check_private(os.fstat(self._fd), str(path))
        except Tampered:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._fd)

    def open(self, name: str) -> int:
        try:
            # Without O_NONBLOCK a FIFO would hold us until somebody writes.
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Tampered(f"{name} is a link") from error
            raise
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise Tampered(f"{name} is no file")
            _check_private(found, name)
        except Tampered:
            os.close(fd)
            raise
        return fd

    def read(self, name: str) -> bytes:
        fd = self.open(name)
        try:
            return os.read(fd, 4096)
        finally:
            os.close(fd)

    def write(self, name: str, content: bytes | bytearray) -> os.stat_result:
        """Whole or not at all: a new name, then renamed."""
        new = f"{name}.{os.getpid()}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._fd)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
            os.rename(new, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            return os.fstat(fd)
        except OSError:
            self.remove(new)
            raise
        finally:
            os.close(fd)

    def remove(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            return


def entry_name(digest: str) -> str:
    """The name of an entry: of the .wasm's digest, wasmtime's version and the engine's settings."""
    return hashlib.sha256(f"{digest}\0{fingerprint()}".encode()).hexdigest()


def decoded(entry: bytes) -> Entry:
    """An entry that came over the lifeline, from the compiler by way of the supervisor.

    Raises:
      Internal: it is none.
    """
    try:
        return msgspec.msgpack.decode(entry, type=Entry)
    except msgspec.DecodeError as error:
        raise Internal(f"cache entry of {len(entry)} bytes does not parse") from error


def intact(entry: Entry) -> bool:
    """Whether an entry is still the file that was checked."""
    try:
        return _entry(Path(entry.path), Path(entry.path).lstat()) == entry
    except OSError:
        return False


def load(engine: Engine, entry: Entry) -> wt.Component:
    """Map an entry in a worker: shared with every other worker that maps it.

    Raises:
      Internal: the file is gone, or another than the compiler checked.
    """
    try:
        fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Internal(Problem("compiled component gone", entry.path, error.strerror or "", "Restart farm")) from error
    try:
        if _entry(Path(entry.path), os.fstat(fd)) != entry:
            raise Internal(Problem("compiled component changed", entry.path, todo="Restart farm"))
        return wt.Component.deserialize_file(engine.raw, f"/proc/self/fd/{fd}")
    except wasmtime.WasmtimeError as error:
        raise Internal(Problem("compiled component does not load", entry.path, str(error), "Restart farm")) from error
    finally:
        os.close(fd)


def _entry(path: Path, found: os.stat_result) -> Entry:
    return Entry(str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _check_private(found: os.stat_result, name: str) -> None:
    if found.st_uid != os.getuid():
        raise Tampered(f"{name} belongs to uid {found.st_uid}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise Tampered(f"{name} is open to others (mode {stat.S_IMODE(found.st_mode):04o})")


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with closing(_Folder(folder)):
            return
    except (Tampered, PermissionError) as error:
        raise NotPermitted(Problem("cannot use the cache directory", str(folder), str(error), "Remove it")) from error
