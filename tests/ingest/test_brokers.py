from __future__ import annotations

import asyncio
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from farm import registry
from farm.broker import Broker, BrokerState, Delivery, Home, OnDeliveries, OnMessages, PublishDone, Subscription
from farm.brokers.memory import MemoryBroker
from farm.brokers.options.redis import RedisSpec
from farm.errors import BadValue, BrokerUnavailable, ManifestError, NotPermitted
from farm.ingest import brokers as live
from farm.ingest.brokers import close_brokers, durable_of, farm_id, open_brokers, start_brokers
from farm.ingest.process import triggers_of
from farm.rundir import Rundir
from farm.secrets import Secrets
from farm.spec import AppSpec, BrokerSpec, ComponentSpec, FarmSpec, MemorySpec, QueueSpec, Secret, TriggerSpec


class AwayBroker(Broker):
    """One whose server never answers."""

    def __init__(self, spec: BrokerSpec, home: Home) -> None:
        super().__init__(spec.name)
        self.home = home
        self.closed = False
        self.why = "connection refused"

    async def start(self) -> None:
        self._became("down", self.why)

    def became(self, state: BrokerState, why: str) -> None:
        self._became(state, why)

    async def close(self) -> None:
        self.closed = True

    def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> None: ...

    def grant(self, trigger: int, count: int) -> None: ...

    def listen(self, pattern: str, on_messages: OnMessages) -> Callable[[], None]:
        return lambda: None

    def settle(self, deliveries: Sequence[Delivery]) -> None: ...

    def release(self, deliveries: Sequence[Delivery]) -> None: ...

    def _publish(self, messages: Sequence[object], done: PublishDone) -> None: ...


def spec_of(*, required: bool = False) -> FarmSpec:
    redis = RedisSpec(name="r", type="redis", url="redis://h:1", required=required)
    return FarmSpec(Path("/farm.toml"), AppSpec("app"), {"m": MemorySpec("m"), "r": redis}, {})


def opened(folder: Path, spec: FarmSpec) -> dict[str, Broker]:
    rundir = Rundir(folder / "state", folder / "run")
    rundir.make()
    return open_brokers(spec, rundir, Secrets(None), "0123456789ab")


@pytest.fixture(autouse=True)
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = {"memory": MemoryBroker, "redis": AwayBroker}
    monkeypatch.setattr(live, "broker_class", classes.get)


def test_each_broker_is_made_by_its_types_class_with_a_home_of_its_own(tmp_path: Path) -> None:
    brokers = opened(tmp_path, spec_of())
    away = brokers["r"]
    assert list(brokers) == ["m", "r"]
    assert isinstance(away, AwayBroker)
    assert (away.home.app, away.home.id) == ("app", "0123456789ab")
    assert not (tmp_path / "state" / "brokers").exists()
    folder = away.home.folder()
    assert folder == tmp_path / "state" / "brokers" / "r"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (tmp_path / "secret").write_text("pw\n")
    (tmp_path / "secret").chmod(0o600)
    assert away.home.secret(Secret(tmp_path / "secret")) == "pw"


@pytest.mark.parametrize("found", [None, object, 5])
def test_a_type_without_a_usable_class_ends_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: object
) -> None:
    monkeypatch.setattr(live, "broker_class", lambda _: found)
    with pytest.raises(ManifestError, match=r"'memory' cannot be used \(brokers.m.type\)"):
        opened(tmp_path, spec_of())


class Unfinished(AwayBroker):
    """One whose author has forgotten what it has to do."""

    start = Broker.start


class Raising(AwayBroker):
    """One that cannot be made."""

    def __init__(self, spec: BrokerSpec, home: Home) -> None:
        raise LookupError(spec.name)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (Unfinished, r"TypeError: Can't instantiate abstract class Unfinished .*start.*"),
        (Raising, r"LookupError: m \(test_brokers.py:\d+\)"),
    ],
)
def test_a_class_that_cannot_be_made_ends_the_start_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: type[Broker], why: str
) -> None:
    monkeypatch.setattr(live, "broker_class", lambda _: found)
    with pytest.raises(ManifestError) as caught:
        opened(tmp_path, spec_of())
    assert re.fullmatch(r"type 'memory' cannot be used \(brokers.m.type\): " + why, str(caught.value))


def test_a_package_that_cannot_be_loaded_is_a_mistake_that_no_restart_mends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_: str) -> object:
        raise BadValue("cannot load type 'memory'")

    monkeypatch.setattr(live, "broker_class", lost)
    with pytest.raises(ManifestError, match="cannot load type 'memory'") as caught:
        opened(tmp_path, spec_of())
    assert caught.value.exit_code == 78


async def test_a_server_that_is_away_is_no_reason_not_to_start(tmp_path: Path) -> None:
    brokers = opened(tmp_path, spec_of())
    await start_brokers(brokers, spec_of(), first=True)
    assert {name: broker.state for name, broker in brokers.items()} == {"m": "up", "r": "down"}
    await close_brokers(brokers)


async def test_a_server_that_is_required_and_away_is(tmp_path: Path) -> None:
    brokers = opened(tmp_path, spec_of(required=True))
    with pytest.raises(BrokerUnavailable) as caught:
        await start_brokers(brokers, spec_of(required=True), first=True)
    assert [str(problem) for problem in caught.value.problems] == ["broker r is down (redis://h:1): connection refused"]
    assert caught.value.exit_code == 69
    away = brokers["r"]
    assert isinstance(away, AwayBroker)
    assert away.closed


async def test_a_fault_that_says_where_is_not_told_where_again(tmp_path: Path) -> None:
    brokers = opened(tmp_path, spec_of(required=True))
    away = brokers["r"]
    assert isinstance(away, AwayBroker)
    away.why = "redis://h:1: no answer"
    with pytest.raises(BrokerUnavailable) as caught:
        await start_brokers(brokers, spec_of(required=True), first=True)
    assert [str(problem) for problem in caught.value.problems] == ["broker r is down: redis://h:1: no answer"]
    several = live._absence(away, "redis://h, h:1")
    assert str(several) == "broker r is down: redis://h:1: no answer"
    assert str(live._absence(away, "redis://h, z:9")) == "broker r is down (redis://h, z:9): redis://h:1: no answer"


async def test_while_a_server_is_away_each_reason_is_said_once_and_again_when_it_was_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    teller = SimpleNamespace(
        info=lambda event, **_: said.append(event), warning=lambda event, **about: said.append(about["why"])
    )
    monkeypatch.setattr(live.log, "get", lambda: teller)
    brokers = opened(tmp_path, spec_of())
    await start_brokers(brokers, spec_of(), first=True)
    away = brokers["r"]
    assert isinstance(away, AwayBroker)
    for why in ("reset", "connection refused", "reset", "", "reset"):
        away.became("down" if why else "up", why)
    await close_brokers(brokers)
    assert said == ["connection refused", "reset", "broker is up", "reset"]


async def test_a_later_life_of_ingest_waits_for_what_is_required(tmp_path: Path) -> None:
    brokers = opened(tmp_path, spec_of(required=True))
    await start_brokers(brokers, spec_of(required=True), first=False)
    await close_brokers(brokers)


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_broker_that_does_not_close_keeps_no_other_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    said: list[tuple[object, object]] = []
    teller = SimpleNamespace(error=lambda _, *, broker, why: said.append((broker, why)))
    monkeypatch.setattr(live.log, "get", lambda: teller)
    monkeypatch.setattr(live, "CLOSE_S", 0.05)
    bad, good = opened(tmp_path, spec_of())["r"], opened(tmp_path, spec_of())["r"]

    async def never() -> None:
        if hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        raise RuntimeError("no way out")

    monkeypatch.setattr(bad, "close", never)
    await close_brokers({"bad": bad, "good": good})
    assert isinstance(good, AwayBroker)
    assert good.closed
    assert said == [(bad.name, "nothing for 0.05 s" if hangs else "RuntimeError: no way out")]


def test_a_farm_keeps_its_id(tmp_path: Path) -> None:
    first = farm_id(tmp_path)
    assert len(first) == 12
    assert farm_id(tmp_path) == first
    (tmp_path / "other").mkdir()
    assert farm_id(tmp_path / "other") != first


def test_a_farm_with_half_an_id_does_not_start(tmp_path: Path) -> None:
    for text in ("abc", "\xe4" * 12):
        (tmp_path / "id").write_text(text)
        with pytest.raises(NotPermitted, match="this farm's id is none"):
            farm_id(tmp_path)
    with pytest.raises(NotPermitted, match="id"):
        farm_id(tmp_path / "nowhere")


def test_each_trigger_on_a_topic_has_what_a_server_keeps_for_itself() -> None:
    topic, queue = TriggerSpec("b", "a"), TriggerSpec("b", queue=QueueSpec("a", "g"))
    elsewhere = TriggerSpec("other", "a")
    spec = ComponentSpec("c", Path("c.wasm"), (queue, topic, elsewhere, queue, topic, topic))
    triggers = triggers_of(FarmSpec(Path("/farm.toml"), AppSpec("app"), {}, {"c": spec}), "id1")
    first, second, third = (triggers[place].durable for place in (1, 4, 5))
    assert first == triggers[2].durable == durable_of(topic, "c", "id1"), "as it was called before there were more"
    assert len({first, second, third}) == 3
    assert triggers[0].durable == triggers[3].durable == durable_of(queue, "c", "id1")


def test_what_a_server_keeps_has_a_name_by_farm_and_component_or_by_group() -> None:
    topic, queue = TriggerSpec("b", "a.*"), TriggerSpec("b", queue=QueueSpec("a.*", "g"))
    assert durable_of(topic, "c", "id1") == durable_of(topic, "c", "id1")
    assert len({durable_of(topic, *words) for words in (("c", "id1"), ("c", "id2"), ("d", "id1"))}) == 3
    assert durable_of(queue, "c", "id1") == durable_of(queue, "d", "id2") != durable_of(topic, "c", "id1")
    assert durable_of(TriggerSpec("b", queue=QueueSpec("b.*", "g")), "c", "id1") != durable_of(queue, "c", "id1")
    assert all(c.isalnum() or c in "-_" for c in durable_of(topic, "c", "id1") + durable_of(queue, "c", "id1"))


def test_every_type_of_ours_has_keys() -> None:
    assert all(registry.options_of(name) is not None for name in registry.broker_types())
