"""Greets whoever's name comes in."""

from farm.sdk import Message, message_component


@message_component
def handle(message: Message) -> Message:
    return Message(f"Hello, {message.text}")
