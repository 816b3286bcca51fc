"""A message of farm as a PUBLISH of MQTT, and back.

MQTT 5                      user properties: all headers but content-type, which has a property of its own;
                            response topic: where the answer goes; correlation data: given back with the answer
MQTT 3.1.1                  a payload, and nothing else
envelope = "reference"      in either: MessagePack [payload as numbers, subject, broker, reply subject or nil]
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from farm.brokers.headers import from_headers, to_headers
from farm.brokers.mqtt_packets import Arrival, publish, write_extras
from farm.brokers.mqtt_topics import subject_of, topic_of
from farm.errors import InvalidSubject
from farm.message import Ids, Message
from farm.subject import validate_reply

CONTENT_TYPE: Final = "content-type"
ASKED_LIMIT: Final = 4096  # messages whose answer has something to go by
CORRELATION_LIMIT_BYTES: Final = 4096  # of one; a longer one is not given back


class _Enveloped(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What the reference wraps a payload in; its own encoder writes the payload as numbers, others as bytes."""

    message: bytes | list[int]
    subject: str
    broker: str
    response_subject: str | None


_READ: Final = msgspec.msgpack.Decoder(_Enveloped)
_WRITE: Final = msgspec.msgpack.Encoder()

Read = Callable[[Arrival], Message]
Pack = Callable[[Message, int], bytes]


class Raw:
    """Payloads as they are, with MQTT 5 or without. growth: how much larger a payload may be on the wire."""

    growth: Final = 1

    def __init__(self, *, five: bool) -> None:
        self._five: Final = five
        self._new_id: Final = Ids().new
        # (id of a message, where its answer goes) -> topic and correlation data that the answer is to have
        self._asked: OrderedDict[tuple[str, str], tuple[bytes, bytes]] = OrderedDict()

    def read(self, arrival: Arrival) -> Message:
        """The message; what it does not say is made up."""
        subject = subject_of(arrival.topic)
        extras = arrival.extras
        if not (extras.pairs or extras.content_type or extras.response_topic):
            return Message(self._new_id(), subject, arrival.payload)
        pairs = extras.pairs
        if extras.content_type:
            pairs = [(CONTENT_TYPE, extras.content_type), *pairs]
        message_id, cause, hops, headers = from_headers(pairs, new=self._new_id)
        reply_to = None
        if extras.response_topic:
            reply_to = subject_of(extras.response_topic)
            self._remember(message_id, reply_to, arrival)
        return Message(message_id, subject, arrival.payload, headers, reply_to, cause, hops)

    def pack(self, message: Message, number: int, *, retain: bool = False) -> bytes:
        """The packet."""
        if not self._five:
            return publish(topic_of(message.subject).encode(), message.payload, number, None, retain=retain)
        pairs, content_type = to_headers(message), ""
        if message.headers:
            content_type = next((value for name, value in pairs if name == CONTENT_TYPE), "")
            pairs = [pair for pair in pairs if pair[0] != CONTENT_TYPE]
        topic, correlation = b"", b""
        if self._asked and message.cause:
            topic, correlation = self._asked.get((message.cause, message.subject), (topic, correlation))
        reply_topic = topic_of(message.reply_to).encode() if message.reply_to else b""
        extras = write_extras(pairs, content_type, reply_topic, correlation)
        return publish(topic or topic_of(message.subject).encode(), message.payload, number, extras, retain=retain)

    def _remember(self, message_id: str, reply_to: str, arrival: Arrival) -> None:
        """What the answer must have: the data, and a topic that its subject does not lead back to."""
        extras = arrival.extras
        try:
            validate_reply(reply_to)
        except InvalidSubject:
            return  # no answer can go there
        same = topic_of(reply_to) == extras.response_topic
        correlation = extras.correlation if len(extras.correlation) <= CORRELATION_LIMIT_BYTES else b""
        if same and not correlation:
            return
        self._asked[message_id, reply_to] = extras.response_topic.encode(), correlation
        if len(self._asked) > ASKED_LIMIT:
            self._asked.popitem(last=False)


class Enveloped:
    """Payloads in the reference's envelope, which takes two bytes for each above 127."""

    growth: Final = 2

    def __init__(self, broker: str, *, five: bool) -> None:
        """
        Args:
          broker: what it is called in there.
        """
        self._broker: Final = broker
        self._new_id: Final = Ids().new
        self._extras: Final = b"" if five else None

    def read(self, arrival: Arrival) -> Message:
        """The message; one in no envelope is taken as it is."""
        payload, reply_to = arrival.payload, None
        try:
            found = _READ.decode(payload)
            payload, reply_to = bytes(found.message), found.response_subject
        except (msgspec.MsgspecError, ValueError):  # ValueError: a number that is no byte; UnicodeDecodeError too
            payload = arrival.payload
        return Message(self._new_id(), subject_of(arrival.topic), payload, (), reply_to)

    def pack(self, message: Message, number: int, *, retain: bool = False) -> bytes:
        """The packet."""
        payload = _WRITE.encode((list(message.payload), message.subject, self._broker, message.reply_to))
        return publish(topic_of(message.subject).encode(), payload, number, self._extras, retain=retain)
