"""The child of `farm.build.child`: python -m farm.build PARENT SOURCE WATCH.. builds one component."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from farm.build.python import build
from farm.errors import FarmError, denied

PR_SET_PDEATHSIG: Final = 1
# The tool needs 0.5 GB; a component's own memory ends at 4 GiB, so code at import could take that.
MEMORY_LIMIT_BYTES: Final = 3 << 30


def main(parent: int, source: Path, watch: list[str]) -> int:
    """Build, and say how it went; 0, or 1 if it did not."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return 1
    # Our parent blocks what would end it while it starts us.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    answer_to = os.dup(1)
    # What code at import prints must not get in between.
    os.dup2(2, 1)
    said, code = answer(source, watch)
    os.write(answer_to, json.dumps(said).encode() + b"\n")
    return code


def answer(source: Path, watch: list[str]) -> tuple[dict[str, Any], int]:
    """What is said of a build, and the exit code: `{"wasm": path}`, or `{"error": code, "problems": [..]}`."""
    try:
        return {"wasm": str(build(source, watch))}, 0
    except FarmError as error:
        refused = error
    except OSError as error:
        # Of a copy the second name is the one that could not be written.
        refused = denied("cannot build", str(error.filename2 or error.filename or source), error)
    return {"error": refused.code, "problems": [asdict(each) for each in refused.problems]}, 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
