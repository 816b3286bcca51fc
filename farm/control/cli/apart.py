"""A look at a manifest's files in a process of its own: nothing of the secrets in them stays in this one."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from farm import log
from farm.control import kernel
from farm.errors import Internal, Problem
from farm.manifest.files import Lack, look, names_files
from farm.manifest.read import Manifest


def look_apart(manifest: Manifest, environ: Mapping[str, str]) -> list[Lack]:
    """As `farm.manifest.files.look`, with no file read in this process, which has one thread."""
    if not names_files(manifest.spec):
        return look(manifest, environ)
    kernel.load()
    parent = os.getpid()
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.die_with_parent(parent)
            kernel.harden()
            with os.fdopen(write_end, "wb") as report:
                report.write(msgspec.json.encode(look(manifest, environ)))
        except Exception:  # noqa: BLE001  the last resort of a process: what it died of is logged, never lost
            log.get().error("crashed", exc_info=True)
        finally:
            os._exit(0)  # nothing of the parent's is finalised here
    os.close(write_end)
    with os.fdopen(read_end, "rb") as report:
        said = report.read()
    os.waitpid(pid, 0)
    if not said:
        raise Internal(Problem("cannot look at the manifest's files", why="the process that was to do it has died"))
    return msgspec.json.decode(said, type=list[Lack])
