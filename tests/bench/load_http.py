"""The phases that other programs drive: wrk and hey, each by its command line, and read by its own output. Pure.

wrk corrects its latencies for what it could not send while it waited; hey does not, and knows no 99.9th percentile.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.load_result import Latency, Result

ACCEPTED: Final = "202"
TIMEOUT_S: Final = 10
THREADS: Final = 2  # of wrk: more would be taken from farm

SCRIPT: Final = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "text/plain"
wrk.body = %(body)s

local threads = {}
function setup(thread) table.insert(threads, thread) end
function init() statuses = {} end
function response(status) statuses[status] = (statuses[status] or 0) + 1 end

function done(summary, latency)
  local counts = {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("statuses")) do counts[status] = (counts[status] or 0) + count end
  end
  local parts = {}
  for status, count in pairs(counts) do table.insert(parts, string.format('"%%d": %%d', status, count)) end
  local errors = summary.errors
  print(string.format(
    'RESULT {"us": %%d, "p50": %%d, "p99": %%d, "p999": %%d, "max": %%d, "statuses": {%%s},' ..
    ' "refused": %%d, "read": %%d, "write": %%d, "timeout": %%d}',
    summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max,
    table.concat(parts, ", "), errors.connect, errors.read, errors.write, errors.timeout))
end
"""

_HEY_STATUS: Final = re.compile(r"^\s*\[(\d{3})\]\s+(\d+) responses", re.MULTILINE)
_HEY_ERROR: Final = re.compile(r"^\s*\[(\d+)\]\s+(\S.*)$", re.MULTILINE)
_HEY_KINDS: Final = (
    ("refused", "connection refused"),
    ("timeouts", "timeout|deadline"),
    ("broken", "reset|EOF|broken"),
)


@dataclass(frozen=True)
class Shot:
    """What to send, and how."""

    url: str
    payload_bytes: int
    connections: int
    seconds: int


def wrk(shot: Shot, folder: Path) -> list[str]:
    """wrk's command line; its script is written into the folder."""
    script = folder / "publish.lua"
    script.write_text(SCRIPT % {"body": f'string.rep("x", {shot.payload_bytes})'})
    words = ["--threads", str(min(THREADS, shot.connections)), "--connections", str(shot.connections)]
    return ["wrk", *words, "--duration", f"{shot.seconds}s", "--timeout", f"{TIMEOUT_S}s", "-s", str(script), shot.url]


def read_wrk(output: str, shot: Shot) -> Result:
    """What wrk printed. Of the requests that were on their way when it stopped it says nothing."""
    found = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
    if found is None:
        return Result(errors={"unable to connect" if "unable to connect" in output else "wrk failed": 1})
    said = json.loads(found[1])
    statuses: dict[str, int] = said["statuses"]
    errors = Counter({status: count for status, count in statuses.items() if status != ACCEPTED})
    errors += Counter({"refused": said["refused"], "broken": said["read"] + said["write"], "timeouts": said["timeout"]})
    requests = sum(statuses.values())
    lost = said["read"] + said["write"] + said["timeout"] + _unanswered(statuses)
    latency = (
        Latency(said["p50"] / 1e3, said["p99"] / 1e3, said["p999"] / 1e3, said["max"] / 1e3) if requests else Latency()
    )
    return Result(requests, statuses.get(ACCEPTED, 0), shot.connections + lost, said["us"] / 1e6, latency, dict(errors))


def hey(shot: Shot, folder: Path) -> list[str]:
    """hey's command line; the body is written into the folder."""
    body = folder / "body"
    body.write_bytes(b"x" * shot.payload_bytes)
    words = ["-z", f"{shot.seconds}s", "-c", str(shot.connections), "-t", str(TIMEOUT_S)]
    return ["hey", *words, "-m", "POST", "-T", "text/plain", "-D", str(body), shot.url]


def read_hey(output: str, shot: Shot) -> Result:
    """What hey printed. Of what was on its way when it stopped it says nothing either."""
    statuses = {status: int(count) for status, count in _HEY_STATUS.findall(output)}
    total = re.search(r"Total:\s+([\d.]+) secs", output)
    if total is None:
        return Result(errors={"hey failed": 1})
    errors = Counter({status: count for status, count in statuses.items() if status != ACCEPTED})
    _, _, said = output.partition("Error distribution:")
    for count, text in _HEY_ERROR.findall(said):
        errors[_kind(text)] += int(count)
    lost = shot.connections + sum(errors[kind] for kind in ("timeouts", "broken", "other")) + _unanswered(statuses)
    latency = Latency(_percentile(output, 50), _percentile(output, 99), None, _slowest(output) if statuses else None)
    return Result(sum(statuses.values()), statuses.get(ACCEPTED, 0), lost, float(total[1]), latency, dict(errors))


def _unanswered(statuses: dict[str, int]) -> int:
    """A 503 may say `unanswered`, and then nobody knows."""
    return statuses.get("503", 0)


def _kind(text: str) -> str:
    return next((kind for kind, words in _HEY_KINDS if re.search(words, text, re.IGNORECASE)), "other")


def _percentile(output: str, share: int) -> float | None:
    found = re.search(rf"^\s*{share}%+ in ([\d.]+) secs", output, re.MULTILINE)
    return float(found[1]) * 1e3 if found else None


def _slowest(output: str) -> float | None:
    found = re.search(r"Slowest:\s+([\d.]+) secs", output)
    return float(found[1]) * 1e3 if found else None
