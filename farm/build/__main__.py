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
from farm.errors import FarmError, NotPermitted, Problem

PR_SET_PDEATHSIG: Final = 1
# The tool needs 0.5 GB; a component's own memory ends at 4 GiB, so code at import could take that.
MEMORY_LIMIT_BYTES: Final = 3 << 30


def main(parent: int, source: Path, watch: list[str]) -> int:
    """Build, and say how it went; 0, or 1 if it did not."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return 1
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    answer_to = os.dup(1)
    # What code at import prints must not get in between.
    os.dup2(2, 1)
    answer, code = _answer(source, watch)
    os.write(answer_to, json.dumps(answer).encode() + b"\n")
    return code


def _answer(source: Path, watch: list[str]) -> tuple[dict[str, Any], int]:
    try:
        return {"wasm": str(build(source, watch))}, 0
    except FarmError as error:
        return {"error": error.code, "problems": [asdict(each) for each in error.problems]}, 1
    except OSError as error:
        problem = Problem("cannot build", str(error.filename or source), error.strerror or str(error))
        return {"error": NotPermitted.code, "problems": [asdict(problem)]}, 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
