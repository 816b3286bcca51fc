"""What listeners are told, without a socket. Over one: tests/ingest/test_relay.py."""

from __future__ import annotations

from farm.ingest.listeners import Listeners
from farm.message import Message
from farm.wire.relay import AHEAD_LIMIT_BYTES, FromIngest, Heard, Listen
from tests.ingest.pieces import ScriptedBroker


class Desk:
    """The listeners of one broker, and what a client is sent."""

    def __init__(self) -> None:
        self.broker = ScriptedBroker("in")
        self.sent: list[FromIngest] = []
        self.listeners = Listeners({"in": self.broker}, self.send, lambda: None)

    def send(self, _: bytes, word: FromIngest) -> bool:
        self.sent.append(word)
        return True

    def hear(self, *payloads: bytes) -> list[tuple[int, list[bytes]]]:
        """The words that a listener is sent of these: the number of the first message, and their payloads."""
        self.sent.clear()
        self.broker.on_messages["t"]([Message("id", "t", payload) for payload in payloads])
        self.listeners.flush()
        words = [word for word in self.sent if isinstance(word, Heard)]
        return [(word.first, [message.payload for message in word.messages]) for word in words]


def test_a_message_too_large_for_any_listener_is_left_out_and_others_are_not() -> None:
    desk = Desk()
    desk.listeners.listen(b"client", Listen(1, "t", 3, "in"))
    assert desk.hear(b"1", bytes(AHEAD_LIMIT_BYTES + 1), b"3") == [(1, [b"1"]), (3, [b"3"])]
    assert desk.listeners.left_out == 1
    assert desk.hear(b"4", b"5") == [(4, [b"4"])], "what was left out took no credit"


def test_a_message_as_large_as_a_listener_may_have_waiting_is_heard() -> None:
    desk = Desk()
    desk.listeners.listen(b"client", Listen(1, "t", 3, "in"))
    large = bytes(AHEAD_LIMIT_BYTES)
    assert desk.hear(large, b"2") == [(1, [large])]
