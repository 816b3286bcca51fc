"""One connection as Sanic's server would make it, with nothing behind it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from unittest.mock import Mock

from sanic import Sanic

from farm.gateway.protocol import Guarded, Limits


async def test_of_a_websocket_that_has_gone_nothing_is_left() -> None:
    app = Sanic("one-connection", configure_logging=False)
    try:
        app.signalize(allow_fail_builtin=False)
        app.ctx.limits = Limits()
        one = Guarded(loop=asyncio.get_running_loop(), app=app, connections=set())
        one.connection_made(Mock(spec=asyncio.Transport, get_extra_info=Mock(return_value=None)))
        await asyncio.sleep(0)
        websocket = one.websocket = Mock()
        one.connection_lost(None)
        left = weakref.ref(websocket)  # what it holds: of itself there are no weak references
        del one, websocket
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        assert left() is None
    finally:
        Sanic.unregister_app(app)
