"""What a message handler written in Python imports; a component is made of it by `farm build`.

    from farm.sdk import Message, message_component

    @message_component
    def handle(message: Message) -> Message:
        return Message(f"Hello, {message.text}")

It runs in a sandbox with the standard library alone, so nothing here imports more than that, and nothing of farm.
The same file can be imported by plain pytest: `farm.sdk.testing` stands in for what is outside.
"""

from __future__ import annotations

from farm.sdk._handlers import Reject, Retry, message_component, on_start
from farm.sdk._host import publish, variable
from farm.sdk._message import Message

__all__ = ["Message", "Reject", "Retry", "message_component", "on_start", "publish", "variable"]
