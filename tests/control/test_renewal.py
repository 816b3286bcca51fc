"""What went missing from the compile cache is compiled again, without waiting for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.control.test_prepare import Family
from tests.guests import wat

RENEW = """
import selectors, time
from farm.control.renewal import Renewal
from farm.workers.cache import decoded, intact
prepared = prepare(spec, directories, "error")
entries = dict(prepared.entries)
selector = selectors.DefaultSelector()
renewed = []
renewal = Renewal(
    entries, Inspector(prepared.spec, directories, COMPILER, "error"), selector, lambda: renewed.append(1)
)

def wait():
    end = time.monotonic() + 40
    while selector.get_map() and time.monotonic() < end:
        for key, _ in selector.select(0.2):
            key.data()

def look(after_s=0.0):
    renewal.look(time.monotonic() + after_s)
    wait()
    return {name: intact(decoded(entry)) for name, entry in entries.items()}

def path(name):
    return Path(decoded(prepared.entries[name]).path)
"""


@pytest.fixture
def family(folder: Path) -> Family:
    made = Family(folder)
    for name in ("echo", "count"):
        made.add(name, wat.wasm(name))
    return made


def renew(family: Family, script: str) -> Any:
    return family.run(RENEW + script, "echo", "count")


def test_what_is_there_is_left_alone(family: Family) -> None:
    assert renew(family, "print(json.dumps([look(), len(renewed), entries == dict(prepared.entries)]))") == [
        {"echo": True, "count": True},
        0,
        True,
    ]


def test_what_is_gone_and_what_was_changed_is_compiled_again(family: Family) -> None:
    script = """
path("echo").unlink()
with path("count").open("r+b") as file:
    file.write(b"other")
print(json.dumps([look(), len(renewed)]))
"""
    assert renew(family, script) == [{"echo": True, "count": True}, 2]


def test_what_goes_again_and_again_is_compiled_once_a_minute(family: Family) -> None:
    script = """
shown = []
for after_s in (0.0, 30.0, 61.0):
    path("echo").unlink(missing_ok=True)
    shown.append(look(after_s)["echo"])
print(json.dumps(shown))
"""
    assert renew(family, script) == [True, False, True]


def test_another_wasm_is_not_run_beside_the_one_that_runs(family: Family) -> None:
    script = """
path("echo").unlink()
prepared.spec.components["echo"].wasm.write_bytes(prepared.spec.components["count"].wasm.read_bytes())
print(json.dumps([look()["echo"], len(renewed)]))
"""
    assert renew(family, script) == [False, 0]


def test_a_wasm_that_is_gone_too_is_no_end_of_the_supervisor(family: Family) -> None:
    script = """
path("echo").unlink()
prepared.spec.components["echo"].wasm.unlink()
print(json.dumps([look()["echo"], len(renewed)]))
"""
    assert renew(family, script) == [False, 0]


def test_one_that_runs_when_the_farm_ends_is_ended(family: Family) -> None:
    script = """
path("echo").unlink()
renewal.look(time.monotonic())
renewal.close()
print(json.dumps([len(selector.get_map()), len(renewed)]))
"""
    assert renew(family, script) == [0, 0]
