"""Both halves of `farm status` joined: what the state then is."""

from __future__ import annotations

from typing import Any

import pytest

from farm.control.cli.overview import Overview, join, look
from farm.errors import NotRunning
from farm.wire.admin import FamilyStatus, FarmState
from tests.control.conftest import Standins


def family(state: FarmState = "ready") -> FamilyStatus:
    return FamilyStatus("example", state, 7, [], {"test": "127.0.0.1:3005"}, {}, 1.5)


def messages(broker: str = "up", **component: Any) -> dict[str, Any]:
    return {
        "brokers": {"test": {"state": broker, "gateway": None}, "secondary": {"state": "up", "gateway": None}},
        "components": {"hello": {"handled": 3, "set_aside": None, **component}},
        "ingest": {"stale": 2},
    }


@pytest.mark.parametrize(
    ("state", "broker", "component", "joined"),
    [
        ("ready", "up", {}, "ready"),
        ("ready", "down", {}, "degraded"),
        ("ready", "connecting", {}, "starting"),
        ("ready", "up", {"set_aside": 12.0}, "degraded"),
        ("ready", "up", {"set_aside": 0.0}, "degraded"),
        ("starting", "up", {}, "starting"),
        ("starting", "down", {}, "starting"),
        ("draining", "down", {}, "draining"),
        ("degraded", "up", {}, "degraded"),
    ],
)
def test_the_state_is_that_of_processes_brokers_and_components(
    state: FarmState, broker: str, component: dict[str, Any], joined: FarmState
) -> None:
    assert join(family(state), messages(broker, **component)).state == joined


def test_an_ingest_that_does_not_answer_leaves_brokers_and_components_unknown() -> None:
    joined = join(family(), None)
    assert (joined.state, joined.brokers, joined.components, joined.ingest) == ("degraded", None, None, None)


def test_a_broker_has_the_address_where_the_gateway_listens() -> None:
    brokers = join(family(), messages()).brokers
    assert brokers is not None
    assert {name: broker["gateway"] for name, broker in brokers.items()} == {
        "test": "127.0.0.1:3005",
        "secondary": None,
    }


def test_what_ingest_counts_of_itself_is_handed_on() -> None:
    assert join(family(), messages()).ingest == {"stale": 2}


def test_without_a_farm_there_is_nothing_to_see(standins: Standins) -> None:
    with pytest.raises(NotRunning):
        look(standins.rundir)


def test_a_farm_that_still_builds_is_starting(standins: Standins) -> None:
    standins.rundir.acquire("shop")  # as `farm up` does before it builds; the supervisor listens later
    found = look(standins.rundir)
    assert found == Overview("shop", "starting", found.pid, 0.0, [], None, None)


def test_a_family_whose_ingest_knows_no_relay_is_degraded(standins: Standins) -> None:
    standins.up(workers=1)
    found = look(standins.rundir)
    assert (found.state, found.brokers) == ("degraded", None)
    assert [one.role for one in found.processes] == ["ingest", "gateway", "worker"]
