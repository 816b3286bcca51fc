"""An echo with paho alone, with farm's promise: a message is acknowledged once its answer is confirmed.

Arguments: the port of the server; the version, 5 or 3.
"""

from __future__ import annotations

import sys

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def main(port: int, version: str) -> None:
    """Until ended."""
    five = version == "5"
    protocol = MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311
    client = mqtt.Client(CallbackAPIVersion.VERSION2, f"bare{version}", protocol=protocol, manual_ack=True)
    client.max_inflight_messages_set(0)
    sources: dict[int, int] = {}

    def echo(_: object, __: object, message: mqtt.MQTTMessage) -> None:
        sources[client.publish(f"out/bare{version}", message.payload, 1).mid] = message.mid

    def confirmed(_: object, __: object, number: int, *___: object) -> None:
        client.ack(sources.pop(number), 1)

    client.on_message = echo
    client.on_publish = confirmed
    client.on_connect = lambda *_: client.subscribe(f"in/bare{version}", 1)  # pyright: ignore[reportAttributeAccessIssue]
    properties = None
    if five:
        properties = Properties(PacketTypes.CONNECT)
        properties.ReceiveMaximum = 8192
    client.connect("127.0.0.1", port, properties=properties)
    client.loop_forever()


main(int(sys.argv[1]), sys.argv[2])
