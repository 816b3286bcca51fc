"""wrk's and hey's outputs are read as they are."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.bench.load_http import Shot, hey, read_hey, read_wrk, wrk
from tests.bench.load_result import Latency, Result
from tests.conftest import RequireProgram

SHOT = Shot("http://127.0.0.1:1/publish/in", 100, 8, 1)

WRK = """Running 3s test @ http://127.0.0.1:41027/publish/load.in
  13828 requests in 3.09s, 2.66MB read
RESULT {"us": 3000000, "p50": 78384, "p99": 684251, "p999": 2145800, "max": 2857949,\
 "statuses": {"202": 100, "503": 5},"refused": 1, "read": 2, "write": 3, "timeout": 4}
"""

HEY = """
Summary:
  Total:\t2.0126 secs
  Slowest:\t0.0566 secs
  Fastest:\t0.0004 secs

Latency distribution:
  10% in 0.0015 secs
  50% in 0.0037 secs
  99% in 0.0327 secs

Status code distribution:
  [202]\t3143 responses
  [503]\t7 responses

Error distribution:
  [11]\tPost "http://127.0.0.1:3978/publish/in": dial tcp 127.0.0.1:3978: connect: connection refused
  [2]\tPost "http://127.0.0.1:3978/publish/in": context deadline exceeded (Client.Timeout exceeded)
  [3]\tPost "http://127.0.0.1:3978/publish/in": EOF
"""


def test_wrk_s_percentiles_statuses_and_errors_are_read() -> None:
    found = read_wrk(WRK, SHOT)
    assert (found.requests, found.accepted, found.seconds) == (105, 100, 3.0)
    assert found.latency == Latency(78.384, 684.251, 2145.8, 2857.949)
    assert found.errors == {"503": 5, "refused": 1, "broken": 5, "timeouts": 4}
    assert found.unknown == 8 + 5 + 5 + 4  # on their way at the end, broken, 503, timed out


def test_hey_s_percentiles_statuses_and_errors_are_read() -> None:
    found = read_hey(HEY, SHOT)
    assert (found.requests, found.accepted, found.seconds) == (3150, 3143, 2.0126)
    assert (found.latency.p50_ms, found.latency.p99_ms, found.latency.p999_ms) == pytest.approx((3.7, 32.7, None))
    assert found.latency.max_ms == pytest.approx(56.6)
    assert found.errors == {"503": 7, "refused": 11, "timeouts": 2, "broken": 3}
    assert found.unknown == 8 + 7 + 2 + 3


def test_a_program_that_failed_is_an_error_and_no_zero() -> None:
    assert read_wrk("unable to connect to 127.0.0.1:1 Connection refused", SHOT).errors == {"unable to connect": 1}
    assert read_hey("flag provided but not defined: -zz", SHOT).errors == {"hey failed": 1}


class Gate(BaseHTTPRequestHandler):
    """Answers 202, and every third request 503."""

    protocol_version = "HTTP/1.1"
    count = 0

    def do_POST(self) -> None:
        assert self.rfile.read(int(self.headers["Content-Length"])) == b"x" * SHOT.payload_bytes
        Gate.count += 1
        self.send_response(503 if Gate.count % 3 == 0 else 202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Patient(ThreadingHTTPServer):
    """Clients hang up at the end."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of it."""


@pytest.fixture
def url() -> Iterator[str]:
    server = Patient(("127.0.0.1", 0), Gate)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/publish/in"
    server.shutdown()
    thread.join()
    server.server_close()


Program = tuple[str, Callable[[Shot, Path], list[str]], Callable[[str, Shot], Result]]


@pytest.mark.parametrize("program", [("wrk", wrk, read_wrk), ("hey", hey, read_hey)], ids=["wrk", "hey"])
def test_the_real_program_sends_what_is_asked_and_says_what_it_got(
    program: Program, url: str, tmp_path: Path, require_program: RequireProgram
) -> None:
    name, command, read = program
    require_program(name)
    shot = Shot(url, SHOT.payload_bytes, 2, 1)
    found = read(subprocess.run(command(shot, tmp_path), capture_output=True, text=True).stdout, shot)
    assert 0 < found.accepted < found.requests
    assert found.errors == {"503": found.requests - found.accepted}
    assert found.latency.p50_ms is not None
    assert found.latency.max_ms is not None
    assert 0 < found.latency.p50_ms <= found.latency.max_ms
