from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from sanic import Request
from sanic.exceptions import RequestCancelled

from farm import log
from farm.gateway.problems import Problems


@pytest.mark.parametrize(("error", "logged"), [(RequestCancelled(), 0), (RuntimeError("ours"), 1)])
def test_a_client_that_hangs_up_is_no_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch, error: Exception, logged: int
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "get", lambda: SimpleNamespace(error=lambda text, **_: lines.append(text)))
    Problems().response(cast("Request", None), error)
    assert len(lines) == logged
