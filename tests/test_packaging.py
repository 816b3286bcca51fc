"""What is handed out: the wheel runs without the tree, the source archive has all that its tests need."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.sources import ROOT, project_files, shown


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(packages: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(packages.glob("*.whl")))


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    own = {shown(path) for path in project_files() if shown(path).startswith("farm/")}
    assert own - set(wheel.namelist()) == set()


def test_the_wheel_holds_the_guest_interfaces_as_farm_wit(wheel: zipfile.ZipFile) -> None:
    interfaces = {f"farm/{shown(path)}" for path in project_files() if shown(path).startswith("wit/")}
    assert interfaces
    assert interfaces - set(wheel.namelist()) == set()


def test_the_wheel_holds_nothing_else_than_farm_and_what_describes_it(wheel: zipfile.ZipFile) -> None:
    assert {name.partition("/")[0].partition("-")[0] for name in wheel.namelist()} == {"farm"}


def test_the_wheel_brings_the_command_the_types_and_the_license(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    entry_points = next(name for name in names if name.endswith(".dist-info/entry_points.txt"))
    assert "farm = farm.control.cli.main:main" in wheel.read(entry_points).decode()
    assert "farm/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_source_archive_holds_what_its_tests_need(packages: Path) -> None:
    with tarfile.open(next(packages.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folders = {".ci", "docs", "example-app", "farm", "tests", "wit"}
    needed = {shown(path) for path in project_files() if shown(path).partition("/")[0] in folders}
    assert (needed | {"Makefile", "README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml"}) - names == set()
