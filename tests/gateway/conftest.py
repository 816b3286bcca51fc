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


@pytest.fixture
def ingest(rundir: Rundir) -> Iterator[StandIn]:
    with StandIn(rundir) as one:
        yield one


@pytest.fixture
def child(ingest: StandIn) -> Iterator[Child]:
    with gateway(ingest.rundir) as one:
        yield one.ready()


@pytest.fixture
def wire(child: Child) -> Iterator[Wire]:
    with Wire(child.address()) as one:
        yield one
