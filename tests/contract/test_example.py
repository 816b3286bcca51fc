"""The broker of docs/brokers.md, as a third party would write it, and its tests: it passes the suite."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from farm.broker import Broker, Home
from farm.testing.outages import ServerSuite
from farm.testing.rig import Rig
from farm.testing.suite import BrokerSuite
from tests.servers import free_port
from tests.sources import ROOT

FOLDER = Path(__file__).parent / "lines"
SHOWN = ("farm_lines_options.py", "farm_lines.py", "line_server.py", "lines_suite.py")


class TestLines(BrokerSuite, ServerSuite):
    @pytest.fixture
    def rig(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
        monkeypatch.syspath_prepend(str(FOLDER))
        example: Any = importlib.import_module("lines_suite")

        class MisledToo(example.LinesRig):
            def misled(self, home: Home) -> Mapping[str, Broker]:
                return {
                    where: example.LinesBroker(
                        example.LinesSpec(name="under-test", type="lines", host=host, port=port), home
                    )
                    for where, host, port in (
                        ("a closed port", "127.0.0.1", free_port()),
                        ("an unknown host", "no-such-host.invalid", 4000),
                    )
                }

        server = example.LineServer()
        server.start()
        yield MisledToo(server)
        server.stop()


@pytest.mark.parametrize("name", SHOWN)
def test_the_documentation_shows_what_is_tried_here(name: str) -> None:
    page = (ROOT / "docs" / "brokers.md").read_text()
    assert f"```python\n{(FOLDER / name).read_text()}```\n" in page, name
