"""Hears what hello answered, and passes it on."""

from farm.sdk import Message, message_component


@message_component
def handle(message: Message) -> Message:
    return Message(f"heard: {message.text}")
