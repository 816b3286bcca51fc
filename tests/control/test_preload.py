"""What the supervisor imports before it forks leaves it a process that may fork."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from farm.control import preload
from tests.control.conftest import ROOT
from tests.control.standins import spec_at

AFTER = """
import asyncio, os, sys
from farm.control import preload
from tests.control.standins import spec_at
from pathlib import Path
preload.preload(preload.modules(spec_at(Path("/nowhere"))))
assert len(os.listdir("/proc/self/task")) == 1, "a thread"
assert asyncio._get_running_loop() is None, "a loop"
fds = [os.readlink(fd) for fd in map("/proc/self/fd/{}".format, os.listdir("/proc/self/fd")) if os.path.lexists(fd)]
assert not [fd for fd in fds if "event" in fd or "socket" in fd], fds
import zmq
assert zmq.Context._instance is None, "a ZeroMQ context"
assert {"farm.ingest.process", "farm.gateway.process", "farm.workers.process"} <= set(sys.modules), "the roles' code"
print("fit")
"""


def test_with_the_code_of_every_role_it_has_one_thread_no_loop_and_no_socket() -> None:
    ended = subprocess.run([sys.executable, "-c", AFTER], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.stdout == "fit\n", ended.stderr


def test_a_web_server_is_loaded_only_where_there_is_a_gateway() -> None:
    assert "sanic" in preload.modules(spec_at(Path("/nowhere")))
    assert "sanic" not in preload.modules(spec_at(Path("/nowhere"), gateway=False))
