"""Rigs of the conformance suite for MQTT, with plain clients that know nothing of farm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from farm.broker import Broker, Home
from farm.brokers.mqtt import MqttBroker
from farm.brokers.options.mqtt import MqttSpec
from farm.message import Headers
from farm.testing.rig import Outside, Rig, Server
from tests.servers import free_port

# What a mosquitto needs to lose nothing (docs/brokers.md); `Mosquitto` of tests.servers has the rest of it.
KEPT = "allow_anonymous true\nmax_inflight_messages 8192"


class PlainClient:
    """paho as anybody would use it, with its own thread."""

    def __init__(self, port: int, *, five: bool, client_id: str = "") -> None:
        self._five = five
        self._port = port
        version = MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id, protocol=version)
        self._lists: dict[str, list[mqtt.MQTTMessage]] = {}
        self._payloads: dict[str, list[bytes]] = {}
        self._there = asyncio.Event()

    async def open(self) -> None:
        self._client.on_message = self._note
        await asyncio.to_thread(self._client.connect, "127.0.0.1", self._port)
        self._client.loop_start()

    async def close(self) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    async def publish(self, subject: str, payload: bytes, headers: Headers = (), reply_to: str | None = None) -> None:
        properties: Any = None
        if self._five:
            properties = Properties(PacketTypes.PUBLISH)
            for pair in headers:
                properties.UserProperty = pair
            if reply_to is not None:
                properties.ResponseTopic = reply_to.replace(".", "/")
        await self.send(subject.replace(".", "/"), payload, properties)

    async def send(self, topic: str, payload: bytes, properties: Any = None) -> None:
        """To a topic as it is."""
        info = self._client.publish(topic, payload, 1, properties=properties)
        await asyncio.to_thread(info.wait_for_publish, 10)

    async def read(self, subject: str) -> list[bytes]:
        topic = subject.replace(".", "/")
        self.hear(topic)
        found = self._payloads[topic] = []
        await self.subscribed()
        return found

    def hear(self, topic: str) -> list[mqtt.MQTTMessage]:
        """All of a message; `subscribed` waits until the server knows of it."""
        found = self._lists[topic] = []
        loop = asyncio.get_running_loop()
        self._there.clear()

        def subscribed(*_: object) -> None:
            loop.call_soon_threadsafe(self._there.set)

        self._client.on_subscribe = subscribed
        self._client.subscribe(topic, 1)
        return found

    async def subscribed(self) -> None:
        async with asyncio.timeout(10):
            await self._there.wait()

    def _note(self, _: object, __: object, message: mqtt.MQTTMessage) -> None:
        self._lists[message.topic].append(message)
        self._payloads.get(message.topic, []).append(bytes(message.payload))


@asynccontextmanager
async def plain_client(port: int, *, five: bool) -> AsyncIterator[Outside]:
    client = PlainClient(port, five=five)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


class MqttRig(Rig):
    def __init__(self, server: Server, port: int, version: Literal["3.1.1", "5"] = "5", qos: int = 1) -> None:
        self.server = server
        self.port = port
        self.keeps = qos == 1
        self._spec = MqttSpec(
            name="under-test", type="mqtt", url=f"mqtt://127.0.0.1:{port}", version=version, qos=qos, keep_alive_s=1.0
        )

    def spec(self) -> MqttSpec:
        return self._spec

    def make(self, home: Home) -> Broker:
        return MqttBroker(self._spec, home)

    def outside(self) -> Any:
        return plain_client(self.port, five=self._spec.version == "5")

    def misled(self, home: Home) -> Mapping[str, Broker]:
        specs = {
            "nobody listens": replace(self._spec, url=f"mqtt://127.0.0.1:{free_port()}"),
            "no such host": replace(self._spec, url="mqtt://nowhere.invalid:1883"),
            "no TLS there": replace(self._spec, url=f"mqtts://127.0.0.1:{self.port}"),
        }
        return {what: MqttBroker(spec, home) for what, spec in specs.items()}
