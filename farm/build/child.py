"""Build in a child: code at import may never end or take all memory, and the tool itself can die.

    child > parent   the last line of standard output, JSON: {"wasm": path} or {"error": code, "problems": [..]}
The child leads a process group, so that what it starts (pip) ends with it; it ends when its parent does.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, cast

from farm.build.files import build_folder, new_prefix, packages_folder, refuse_if_full, root_of, shown
from farm.build.python import wanted
from farm.errors import BadComponent, FarmError, Internal, NoRoom, NotPermitted, Problem, SourceMissing, denied

REFUSALS: Final = (BadComponent, SourceMissing, NotPermitted, NoRoom)
ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KINDS: Final[dict[str, type[FarmError]]] = {each.code: each for each in REFUSALS}


def build_in_child(source: Path, watch: Sequence[str] = (), timeout_s: float = 120.0) -> Path:
    """The component of the present sources, built by a child if it is not there.

    Args:
      watch: globs, from the manifest's folder, of what else the handler reads at import.
    Raises:
      SourceMissing: there is no such file.
      BadComponent: the handler is wrong, its code at import does not end in time, or takes the builder down.
      NotPermitted, NoRoom: the folder for components cannot be written.
    """
    wasm = wanted(source, watch)
    if wasm.is_file():
        return wasm
    root = root_of(source)
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # One that came between a beginning and its being known would leave what nobody cleans up.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        temporary = _temporary(root)
        try:
            process = _start([str(source.absolute()), *watch], temporary)
            return _run(process, root, timeout_s, shown(source.absolute(), root), unblocked)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)


def _temporary(root: Path) -> str:
    try:
        build_folder(root).mkdir(parents=True, exist_ok=True)
        return tempfile.mkdtemp(prefix=".child-", dir=build_folder(root))
    except OSError as error:
        todo = "Where farm may not write, run `farm build` beforehand"
        raise denied("cannot keep components", str(build_folder(root)), error, todo) from error


def _start(arguments: Sequence[str], temporary: str) -> subprocess.Popen[bytes]:
    package = Path(__file__).absolute().parent.parent.parent
    path = os.pathsep.join(each for each in (str(package), os.environ.get("PYTHONPATH", "")) if each)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "farm.build", str(os.getpid()), *arguments],
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": temporary, "RUST_BACKTRACE": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _run(process: subprocess.Popen[bytes], root: Path, timeout_s: float, where: str, unblocked: Iterable[int]) -> Path:
    """Wait for a child, the one time when signals may come; called, and left, with them blocked."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        why = f"code at import or pip did not end in {timeout_s:.0f} s"
        raise BadComponent(Problem("build took too long", where, why, "Do at import what ends soon")) from None
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        _end(process)
        for folder in (build_folder(root), packages_folder(root)):
            # A child that was killed could not remove what it had begun.
            for left in folder.glob(f"{new_prefix(process.pid)}*"):
                shutil.rmtree(left, ignore_errors=True)
    return _result(output, errors, process.returncode, where, root)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _result(output: bytes, errors: bytes, code: int, where: str, root: Path) -> Path:
    lines = output.decode(errors="replace").splitlines()
    try:
        answer = cast("dict[str, Any]", json.loads(lines[-1] if lines else ""))
        if "wasm" in answer:
            return Path(answer["wasm"])
        problems = [Problem(**each) for each in answer["problems"]]
        kind = KINDS.get(answer["error"], Internal)
    except (ValueError, TypeError, KeyError):
        ended = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        last = (errors.decode(errors="replace").strip().splitlines() or [""])[-1]
        refuse_if_full(last, root)
        raise BadComponent(Problem("the builder died", where, f"it ended {ended}: {last[:500]}")) from None
    raise kind(*problems)
