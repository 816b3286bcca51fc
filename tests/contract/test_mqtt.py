from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farm.brokers.options.mqtt import MqttSpec
from farm.spec import Abilities
from farm.testing.outages import ServerSuite
from farm.testing.rig import Ends, Rig, eventually, home_of, numbered, payloads
from farm.testing.suite import BrokerSuite, needs
from tests.contract.mqtt_rig import KEPT, MqttRig
from tests.servers import Mosquitto, NatsServer, free_port


class MqttSuite(BrokerSuite, ServerSuite):
    def test_what_a_killed_process_had_comes_to_another(self, rig: Rig, tmp_path: Path) -> None:
        """To another life of the same farm: a server keeps for a session what it has once given to it."""
        abilities = rig.spec().abilities
        needs(abilities.settles and abilities.queues, "keeps nothing, or has no queues")
        taken, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(hold(rig, tmp_path, told))
            finally:
                os._exit(1)
        os.close(told)
        assert os.read(taken, 1) == b"!", "the other process took nothing"
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(taken)
        asyncio.run(take_over(rig, tmp_path))


async def hold(rig: Rig, folder: Path, told: int) -> None:
    ends = await Ends(rig.make(home_of(folder / "home"))).start()
    came = ends.trigger(0, "q.b", granted=1000, group="g")
    await ends.ready("q.b", came)
    await ends.publish(*numbered(10, "q.b"))
    await eventually(lambda: len(payloads(came)) == 10, "all of them")
    os.write(told, b"!")
    await asyncio.sleep(600)


async def take_over(rig: Rig, folder: Path) -> None:
    ends = await Ends(rig.make(home_of(folder / "home"))).start()
    came = ends.trigger(0, "q.b", granted=1000, group="g")
    await eventually(lambda: len(set(payloads(came))) == 10, "what the other had")
    await ends.broker.close()


class TestMqtt5(MqttSuite):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        server = Mosquitto(tmp_path / "mosquitto", KEPT)
        server.start()
        yield MqttRig(server, server.port)
        server.stop()


class TestMqtt311(MqttSuite):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        server = Mosquitto(tmp_path / "mosquitto", KEPT)
        server.start()
        yield MqttRig(server, server.port, version="3.1.1")
        server.stop()


class TestMqttQos0(MqttSuite):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        server = Mosquitto(tmp_path / "mosquitto", KEPT)
        server.start()
        yield MqttRig(server, server.port, qos=0)
        server.stop()


class WithoutQueues(MqttSpec):
    @property
    def abilities(self) -> Abilities:
        return replace(super().abilities, queues=False)


class NatsRig(MqttRig):
    def spec(self) -> MqttSpec:
        return WithoutQueues(**vars(super().spec()))


class TestMqttOfNats(MqttSuite):
    """nats-server speaks MQTT 3.1.1 without shared subscriptions, and sends again only after a while."""

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        port = free_port()
        listener = f'mqtt {{ host: "127.0.0.1", port: {port}, max_ack_pending: 60000, ack_wait: "1s" }}'
        server = NatsServer(tmp_path / "nats", f"server_name: one\nmax_payload: 2MB\n{listener}", jetstream=True)
        server.start()
        yield NatsRig(server, port, version="3.1.1")
        server.stop()
