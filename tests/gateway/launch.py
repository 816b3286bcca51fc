"""One gateway process for a test: python -m tests.gateway.launch FD STATE RUNTIME GIVEN.

GIVEN is a JSON object: brokers, limits, listens.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import uvloop

from farm import log
from farm.errors import FarmError
from farm.gateway import process
from farm.gateway.protocol import Limits
from farm.rundir import Rundir
from farm.spec import AppSpec, FarmSpec, GatewaySpec, MemorySpec
from farm.wire.lifeline import ChildEnd, Post, Refused
from farm.wire.pulse import Board


def main(fd: str, state: str, runtime: str, text: str) -> int:
    given = json.loads(text)
    log.configure("info", "gateway")
    board = Board()
    spec = FarmSpec(
        path=Path("farm.toml"),
        app=AppSpec(name="test"),
        brokers={name: MemorySpec(name, gateway=GatewaySpec(**one)) for name, one in given["brokers"].items()},
        components={},
    )
    post = Post(
        spec=spec,
        rundir=Rundir(state=Path(state), runtime=Path(runtime)),
        role="gateway",
        index=0,
        id=b"",
        slot=0,
        lifeline=ChildEnd(socket.socket(fileno=int(fd))),
        pulse=board.slot(0),
        board=board,
        listens=given["listens"],
    )
    try:
        if given["limits"]:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(process.run(post, Limits(**given["limits"])))
        return process.main(post)
    except FarmError as error:  # as farm.control.child says it
        post.lifeline.send(Refused(error.exit_code, [str(problem) for problem in error.problems]))
        return error.exit_code


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))
