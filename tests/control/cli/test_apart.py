"""A look at secrets in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from farm.control.cli import apart
from farm.control.cli.apart import look_apart
from farm.errors import Internal
from farm.manifest.files import look
from farm.manifest.read import Manifest, read

TEXT = '[app]\nname = "x"\n[brokers.b]\ntype = "redis"\nurl = "rediss://h"\n'


def manifest(folder: Path, keys: str) -> Manifest:
    (folder / "farm.toml").write_text(TEXT + keys)
    return read(folder / "farm.toml", {})


def test_it_finds_what_a_look_finds(tmp_path: Path) -> None:
    found = manifest(tmp_path, 'password = { file = "nowhere" }\ntls = { ca = "farm.toml" }\n')
    assert look_apart(found, {}) == look(found, {})
    assert [each.kind for each in look(found, {})] == ["missing", "bad"]


def test_no_process_is_made_where_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", None)
    found = manifest(tmp_path, 'password = { env = "SHOP" }\n')
    assert look_apart(found, {"SHOP": "pw"}) == []
    assert [each.kind for each in look_apart(found, {})] == ["bad"]


def test_one_that_dies_has_not_found_that_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(apart, "look", die)
    with pytest.raises(Internal, match="has died"):
        look_apart(manifest(tmp_path, 'tls = { ca = "farm.toml" }\n'), {})
