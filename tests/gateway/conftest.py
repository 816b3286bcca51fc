from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.rundir import Rundir
from tests.client.stand_in import StandIn, rundir_in
from tests.gateway.family import Child, Wire, gateway


@pytest.fixture
def rundir(tmp_path: Path) -> Rundir:
    return rundir_in(tmp_path)


@pytest.fixture(scope="module")
def shared_ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with StandIn(rundir_in(tmp_path_factory.mktemp("shared"))) as one:
        yield one


@pytest.fixture(scope="module")
def child(shared_ingest: StandIn) -> Iterator[Child]:
    """One gateway for all tests of a module, on an ingest that each finds as new."""
    with gateway(shared_ingest.rundir) as one:
        yield one.ready()


@pytest.fixture
def ingest(shared_ingest: StandIn) -> StandIn:
    shared_ingest.reset()
    return shared_ingest


@pytest.fixture
def wire(child: Child, ingest: StandIn) -> Iterator[Wire]:
    del ingest  # as new for every test that talks to the gateway
    with Wire(child.address()) as one:
        yield one
