"""What a broker does by itself does not end without a word."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from farm.brokers.nats_connection import NatsConnection
from farm.brokers.nats_target import target_of
from farm.brokers.options.nats import NatsSpec
from farm.testing.rig import eventually, home_of


async def test_a_fault_of_ours_in_the_life_of_a_connection_is_told_to_the_loop(tmp_path: Path) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    fault = RuntimeError("of ours")

    def servers() -> tuple[str, ...]:
        raise fault

    target = replace(target_of(NatsSpec(name="x", type="nats", servers=("a",)), home_of(tmp_path)), servers=servers)
    connection = NatsConnection(target, lambda *_: None, lambda *_: None, lambda _: None)
    starting = asyncio.ensure_future(connection.start())
    await eventually(lambda: told == [fault], "the fault")
    starting.cancel()
    await connection.close()
