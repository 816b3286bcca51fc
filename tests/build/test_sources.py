"""The key of a component: it changes with everything that goes in, and with nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from farm.build.python import wanted
from farm.build.sources import read_sources
from farm.errors import BadComponent, NotPermitted, SourceMissing
from tests.build.conftest import SHOP, write_files


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    write_files(folder, SHOP)
    return folder


def key(folder: Path) -> str:
    return read_sources(folder / "priced.py", ["*.txt"]).key


def test_a_component_lies_beside_the_manifest_under_its_handler_and_key(shop: Path) -> None:
    wasm = wanted(shop / "priced.py", ["*.txt"])
    assert wasm == shop / ".farm" / "build" / f"priced-{key(shop)}.wasm"
    assert len(key(shop)) == 32


def test_handlers_in_folders_keep_their_components_apart(shop: Path) -> None:
    (shop / "more").mkdir()
    shutil.copy(shop / "priced.py", shop / "more" / "priced.py")
    wasm = wanted(shop / "more" / "priced.py")
    assert wasm.parent == shop / ".farm" / "build"
    assert wasm.name.startswith("more.priced-")


def test_the_key_is_the_same_in_another_folder_and_at_another_time(shop: Path, tmp_path: Path) -> None:
    before = key(shop)
    shutil.copytree(shop, tmp_path / "clone")
    os.utime(tmp_path / "clone" / "priced.py", (1, 1))
    assert key(tmp_path / "clone") == before


@pytest.mark.parametrize(
    "name",
    [
        "priced.py",
        "rates.py",
        "late_prices.py",
        "tables/_cents.py",
        "tables/rounding.py",
        "requirements.txt",
        "names.txt",
    ],
)
def test_the_key_changes_with_everything_that_goes_in(shop: Path, name: str) -> None:
    before = key(shop)
    path = shop / name
    path.write_text(path.read_text() + "\n")
    assert key(shop) != before


@pytest.mark.parametrize("name", ["unused.py", "farm.toml", "notes.md", ".farm/build/x.txt"])
def test_the_key_does_not_change_with_what_stays_out(shop: Path, name: str) -> None:
    before = key(shop)
    write_files(shop, {name: "changed"})
    assert key(shop) == before


def test_moving_text_from_one_file_to_the_next_changes_the_key(shop: Path) -> None:
    write_files(shop, {"rates.py": "A = 1\n#", "late_prices.py": "#"})
    before = key(shop)
    write_files(shop, {"rates.py": "A = 1\n", "late_prices.py": "##"})
    assert key(shop) != before


def test_a_handler_without_a_manifest_keeps_its_components_beside_it(tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text("x = 1\n")
    assert wanted(tmp_path / "alone.py").parent == tmp_path / ".farm" / "build"


def test_a_handler_that_does_not_parse_has_a_key_too(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def (\n")
    assert wanted(tmp_path / "broken.py").suffix == ".wasm"


def test_modules_that_import_each_other_are_read_once(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.py": "import b\n", "b.py": "import a, c\n", "c.py": "import b\n"})
    assert [module.name for module in read_sources(tmp_path / "a.py").modules] == ["a.py", "b.py", "c.py"]


def test_the_sdk_is_never_taken_from_beside_the_handler(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.py": "import farm.sdk\n", "farm/__init__.py": "", "farm/sdk.py": ""})
    assert [module.name for module in read_sources(tmp_path / "a.py").modules] == ["a.py"]


def test_every_import_is_done_early(shop: Path) -> None:
    entry = read_sources(shop / "priced.py").entry
    assert "'late_prices'" in entry
    assert "'quicker_prices'" in entry
    assert "_component.bind('priced'" in entry


@pytest.mark.parametrize("pattern", ["/etc/*", ""])
def test_a_watch_that_is_no_glob_is_told(shop: Path, pattern: str) -> None:
    with pytest.raises(BadComponent, match="watch = "):
        wanted(shop / "priced.py", [pattern])


def test_a_missing_handler_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"no such handler \(hello.py\)"):
        wanted(tmp_path / "hello.py")


def test_a_watched_file_that_goes_away_is_told(shop: Path) -> None:
    sources = read_sources(shop / "priced.py", ["names.txt"])
    (shop / "names.txt").unlink()
    with pytest.raises(NotPermitted, match=r"cannot read \(names.txt\): No such file or directory"):
        _ = sources.key
