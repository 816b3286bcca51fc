from __future__ import annotations

from pathlib import Path

import pytest

from farm.errors import SourceMissing
from farm.manifest.find import find
from tests.manifest.example import EXAMPLE, write


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app" / "src" / "deep").mkdir(parents=True)
    return write(tmp_path / "app", EXAMPLE)


def test_without_a_name_the_nearest_manifest_upwards_is_meant(app: Path) -> None:
    assert find(None, {}, app.parent) == app
    assert find(None, {}, app.parent / "src" / "deep") == app


def test_a_folder_called_farm_toml_is_passed_over(app: Path) -> None:
    (app.parent / "src" / "farm.toml").mkdir()
    assert find(None, {}, app.parent / "src") == app


@pytest.mark.parametrize("name", ["app", "app/farm.toml", "app/../app/"])
def test_app_names_the_folder_or_the_file_from_here(app: Path, name: str) -> None:
    assert find(name, {}, app.parent.parent) == app
    assert find(None, {"FARM_APP": name}, app.parent.parent) == app


def test_app_may_have_another_name_than_farm_toml(app: Path) -> None:
    other = app.rename(app.parent / "other.toml")
    assert find("other.toml", {}, app.parent) == other


def test_app_comes_before_farm_app_and_an_empty_farm_app_is_none(app: Path, tmp_path: Path) -> None:
    assert find("app", {"FARM_APP": "/nowhere"}, tmp_path) == app
    assert find(None, {"FARM_APP": ""}, app.parent) == app


def test_what_is_found_is_the_real_path(app: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(app.parent)
    assert find("link", {}, tmp_path) == app


@pytest.mark.parametrize(
    ("name", "environ", "why"),
    [
        ("none", {}, r"no manifest \(.*/none\): no such file or folder. --app names a farm.toml or its folder"),
        ("empty", {}, r"no manifest \(.*/empty\): this folder has no farm.toml. --app names"),
        (None, {"FARM_APP": "none"}, r"no manifest \(.*/none\): no such file or folder. FARM_APP names"),
        (None, {}, r"no farm.toml here \(.*\): neither this folder nor one above it has one. .* name it with --app"),
    ],
)
def test_a_missing_manifest_is_told_with_what_to_do(
    tmp_path: Path, name: str | None, environ: dict[str, str], why: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceMissing, match=why):
        find(name, environ, tmp_path)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("app", r"\(.*/app\): its farm.toml is a folder"),
        ("app/farm.toml", r"\(.*/app/farm.toml\): it is a folder"),
        (None, r"one above it has one; .*/farm.toml is a folder"),
    ],
)
def test_a_farm_toml_that_is_a_folder_is_named_as_one(tmp_path: Path, name: str | None, why: str) -> None:
    (tmp_path / "app" / "farm.toml").mkdir(parents=True)
    with pytest.raises(SourceMissing, match=why):
        find(name, {}, tmp_path if name else tmp_path / "app")
