"""Make a component by the user's own command: `build = "cargo component build"` for any other language.

It runs in the manifest's folder, by the shell, as its user types it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from farm.build.files import shown
from farm.build.sources import watched_files
from farm.errors import BadComponent, Problem

OUTPUT_LINES: Final = 20


@dataclass(frozen=True)
class Command:
    """How one component is made. source: the .wasm that comes out; folder: the manifest's; watch: globs from there."""

    line: str
    source: Path
    folder: Path
    watch: Sequence[str] = ()


def stale(command: Command) -> bool:
    """Whether the .wasm is missing, or older than a file that `watch` names.

    Raises:
      BadComponent: `watch` is no glob.
    """
    if not command.source.is_file():
        return True
    made = command.source.stat().st_mtime_ns
    others = (path for path in watched_files(command.folder, command.watch) if path != command.source)
    return any(path.stat().st_mtime_ns > made for path in others)


def build(command: Command, timeout_s: float = 600.0) -> Path:
    """Run the command, whether or not it seems needed; the .wasm.

    Raises:
      BadComponent: it failed, ran out of time, or made no .wasm; with the end of its output.
    """
    # The user's own command, which the manifest holds to be run by a shell.
    process = subprocess.Popen(  # noqa: S602
        command.line,
        shell=True,
        cwd=command.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        output = _end(process)
        raise BadComponent(_problem(command, f"it did not end in {timeout_s:.0f} s", output)) from None
    finally:
        # Also when Ctrl-C ends the wait: the command leads a session of its own and would not hear of it.
        _end(process)
    if process.returncode:
        raise BadComponent(_problem(command, f"exit code {process.returncode}", output))
    if not command.source.is_file():
        raise BadComponent(_problem(command, f"it made no {shown(command.source, command.folder)}", output))
    return command.source


def _end(process: subprocess.Popen[bytes]) -> bytes:
    """Kill what still runs of it; what it had said."""
    if process.poll() is not None:
        return b""
    os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()[0]


def _problem(command: Command, why: str, output: bytes) -> Problem:
    lines = output.decode(errors="replace").rstrip().splitlines()[-OUTPUT_LINES:]
    said = f"; it said: {' | '.join(line.strip() for line in lines)}" if lines else ""
    return Problem(f"build command failed: {command.line}", shown(command.source, command.folder), f"{why}{said}")
