"""Says goodbye to everything that comes in."""

from farm.sdk import Message, message_component


@message_component
def handle(message: Message) -> Message:
    return Message("Goodbye")
