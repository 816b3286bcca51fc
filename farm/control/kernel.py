"""The few words with Linux that Python has no function for, and the limits a process sets itself."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import resource
import signal
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38

FILES_WANTED: Final = 65_536
FILES_NEEDED: Final = 2000 + 256  # connections of a gateway, and all else


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def load() -> None:
    """Find libc now, so that a child has nothing to look for."""
    _libc()


def _prctl(option: int, value: int) -> None:
    if _libc().prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def die_with_parent(parent: int) -> None:
    """Be killed when `parent` ends; exit at once when it has already."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def harden() -> None:
    """No core dump, no new privileges, and no reading of this process's memory by others of the same user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    conceal()


def conceal() -> None:
    """No reading of this process's memory and files by others of the same user."""
    _prctl(PR_SET_DUMPABLE, 0)


def raise_file_limit() -> int:
    """Allow this process and its children as many descriptors as the system lets it; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def fill_standard_descriptors() -> None:
    """Open /dev/null on each of 0-2 that is closed, else the next file opened would become one of them."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            # The lowest free descriptor is the one that open takes, and all below are open.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(fd, True)
