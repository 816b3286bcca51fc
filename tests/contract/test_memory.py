from __future__ import annotations

import pytest

from farm.broker import Broker, Home
from farm.brokers.memory import MemoryBroker
from farm.spec import MemorySpec
from farm.testing.rig import Rig
from farm.testing.suite import BrokerSuite


class MemoryRig(Rig):
    def spec(self) -> MemorySpec:
        return MemorySpec("under-test", wildcards="nats")

    def make(self, home: Home) -> Broker:
        return MemoryBroker(self.spec(), home)


class TestMemory(BrokerSuite):
    @pytest.fixture
    def rig(self) -> Rig:
        return MemoryRig()
