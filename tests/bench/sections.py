"""The sections of the bench, in the order they are measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.bench import codec, jetstream_echo, latency, link, memory, mqtt_echo, nats_echo, path, redis_echo, startup
from tests.bench.report import Effort, Report, Say, Table
from tests.servers import find

Measure = Callable[[Effort, Say], Report]


def _with(program: str, key: str, measure: Measure) -> Measure:
    """A section that needs a server's program: where it is missing, the section says so and nothing else."""

    def measured(effort: Effort, say: Say) -> Report:
        if find(program) is not None:
            return measure(effort, say)
        return Report([Table(key, f"{key}: left out, {program} is not installed", {}, [])])

    return measured


SECTIONS: Final[dict[str, Measure]] = {
    "codec": codec.measure,
    "link": link.measure,
    "path": path.measure,
    "latency": latency.measure,
    "startup": startup.measure,
    "memory": memory.measure,
    "nats": _with("nats-server", "nats", nats_echo.measure),
    "jetstream": _with("nats-server", "jetstream", jetstream_echo.measure),
    "redis": _with("redis-server", "redis", redis_echo.measure),
    "mqtt": _with("mosquitto", "mqtt", mqtt_echo.measure),
}
# What the gate compares: those that need nothing but farm.
GATED: Final[tuple[str, ...]] = ("codec", "link", "path", "latency", "startup", "memory")


def unknown(names: list[str]) -> str:
    """What is wrong with these names of sections; empty: nothing."""
    wrong = [name for name in names if name not in SECTIONS]
    if not wrong:
        return ""
    return f"no such section: {', '.join(wrong)}. There are {', '.join(SECTIONS)}"
