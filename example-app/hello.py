"""Answers every hello with a goodbye."""

from farm.sdk import Message, message_component


@message_component
def handle(message: Message) -> Message:
    return Message("Goodbye")
