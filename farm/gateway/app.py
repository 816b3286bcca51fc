"""A Sanic application on a socket of ours, in a loop that already runs.

`serve(run_async=True)` and the steps around it, one by one: everything else that starts Sanic takes over signals, the
loop or the process, and accepts connections before it can serve them. An application serves one listener.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final, cast

from sanic import Sanic
from sanic.application.state import ApplicationServerInfo
from sanic.config import Config
from sanic.http.constants import HTTP
from sanic.router import Router
from sanic.server import runners
from sanic.server.async_server import AsyncioServer

from farm import message
from farm.gateway.listening import BACKLOG
from farm.gateway.problems import Problems
from farm.gateway.protocol import Guarded, Limits
from farm.gateway.routes import Routes, Served

HEAD_LIMIT_BYTES: Final = 8192
SAID_LIMIT_BYTES: Final = 4096  # what a WebSocket's client may say in one message
BYE_S: Final = 2.0
LOOK_S: Final = 0.02


class OneRoute(Router):
    """Everything is one handler's: it takes the path apart itself."""

    def get(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, path: str, method: str, host: str | None
    ) -> tuple[Any, Any, dict[str, Any]]:
        """The one route there is."""
        route = self.routes[0]
        return route, route.handler, {}


class Listener:
    """One application, serving."""

    def __init__(self, app: Any, server: AsyncioServer) -> None:
        self._app = app
        self._server = server

    async def drain(self, seconds: float) -> None:
        """Take nothing new, answer what is in flight, close WebSockets with 1001; after `seconds` cut the rest."""
        connections = cast("set[Any]", cast("Any", self._server).connections)
        cast("asyncio.Server", self._server.server).close()  # without wait_closed: that waits for every connection
        byes = [asyncio.ensure_future(_bye(c.websocket)) for c in list(connections) if c.websocket is not None]
        end = asyncio.get_running_loop().time() + seconds
        while connections and asyncio.get_running_loop().time() < end:
            for connection in list(connections):
                if connection.websocket is None:
                    connection.close_if_idle()  # at every turn: one becomes idle when its request is answered
            await asyncio.sleep(LOOK_S)
        await self._server.before_stop()
        for connection in list(connections):
            if connection.websocket is not None:
                connection.websocket.fail_connection(1001)
            else:
                connection.abort()
        for bye in byes:
            bye.cancel()
        self._app.shutdown_tasks(0)
        await self._server.after_stop()
        self._app.set_serving(False)
        cast("Any", Sanic).unregister_app(self._app)


async def start(name: str, at: socket.socket, served: Served, limits: Limits, is_first: bool) -> Listener:
    """Serve on a bound socket; it accepts when this returns.

    Args:
      name: of the application, unique in this process.
      is_first: true for exactly one application of a process: it has Sanic rewrite its classes for speed, which
        works once.
    """
    app = _make(name, served, limits, is_first)
    server: AsyncioServer = cast("Any", runners).serve(
        None,
        None,
        app,
        sock=at,
        loop=asyncio.get_running_loop(),
        protocol=Guarded,
        run_async=True,
        backlog=BACKLOG,
    )
    await server.startup()
    await server.before_start()
    await server  # this is what accepts
    await server.after_start()
    app.set_serving(True)
    return Listener(app, server)


def _make(name: str, served: Served, limits: Limits, is_first: bool) -> Any:
    config = Config(env_prefix="")  # else SANIC_* of the environment decides
    config.update(
        {
            "MOTD": False,
            "ACCESS_LOG": False,
            "AUTO_EXTEND": False,
            "TOUCHUP": is_first,
            "REQUEST_MAX_SIZE": message.PAYLOAD_LIMIT_BYTES,
            "REQUEST_MAX_HEADER_SIZE": HEAD_LIMIT_BYTES,
            "WEBSOCKET_MAX_SIZE": SAID_LIMIT_BYTES,
            "FALLBACK_ERROR_FORMAT": "json",
        }
    )
    app: Any = Sanic(name, config=config, configure_logging=False, router=OneRoute(), error_handler=Problems())
    app.state.primary = is_first
    # Else the rewriting leaves an empty alt-svc in every answer.
    app.state.server_info.append(ApplicationServerInfo(settings={"version": HTTP.VERSION_1}))
    app.ctx.limits = limits
    # Sanic looks at no signal, middleware or method here: `Routes` does. Its handler reads the body when it wants one.
    app.add_route(Routes(served), "/", name="all", ignore_body=True)
    return app


async def _bye(websocket: Any) -> None:
    try:
        await asyncio.wait_for(websocket.close(1001, "going away"), BYE_S)
    except TimeoutError:
        websocket.fail_connection(1001)  # a stalled reader holds the lock that close waits for
