from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from structlog.typing import EventDict


@pytest.fixture(autouse=True)
def nothing_of_ours_fails() -> Iterator[None]:
    """An internal error fails its test, whatever else that looks at; but for one that was planted."""
    faults: list[str] = []

    def note(_: object, __: str, event: EventDict) -> EventDict:
        if event["event"] == "internal error" and "planted" not in str(event["exc_info"]):
            faults.append(f"{event['error']}: {event['exc_info']!r}")
        return event

    before = structlog.get_config()["processors"]
    structlog.configure(processors=[note, *before])
    yield
    structlog.configure(processors=before)
    assert faults == []
