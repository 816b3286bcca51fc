"""The packages of a requirements.txt: pure ones are installed once, others refused in words that help."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from farm.build.packages import install_packages, installed_packages, package_names, refusal
from farm.build.python import check
from farm.build.sources import Sources, read_sources
from farm.errors import BadComponent, NoRoom
from tests.build.conftest import make_wheel, write_files

COMPILED = "cp314-cp314-manylinux_2_17_x86_64"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_files(tmp_path, {"farm.toml": "", "hello.py": ""})
    make_wheel(tmp_path / "wheels", "pure_prices", "py3-none-any")
    make_wheel(tmp_path / "wheels", "fast_prices", COMPILED)
    make_wheel(tmp_path / "wheels", "leaning", "py3-none-any", requires="fast-prices>=1.0")
    return tmp_path


def require(folder: Path, *lines: str) -> Sources:
    text = "\n".join(["--no-index", "--find-links wheels", *lines])
    write_files(folder, {"requirements.txt": text})
    return read_sources(folder / "hello.py")


def test_without_requirements_there_is_nothing_to_install(folder: Path) -> None:
    assert install_packages(read_sources(folder / "hello.py")) is None


def test_a_pure_package_is_installed_once(folder: Path) -> None:
    sources = require(folder, "pure-prices")
    assert installed_packages(sources) is None
    first = install_packages(sources)
    assert first is not None
    assert "pure_prices" in package_names(first)
    made = first.stat().st_ino
    assert install_packages(sources) == installed_packages(sources) == first
    assert first.stat().st_ino == made
    assert [path.name for path in first.parent.iterdir()] == [first.name]


def test_other_requirements_get_a_folder_of_their_own(folder: Path) -> None:
    first = install_packages(require(folder, "pure-prices"))
    assert installed_packages(require(folder, "pure-prices==1.0")) is None
    assert install_packages(require(folder, "pure-prices==1.0")) != first


def test_once_installed_a_wrong_import_is_seen_before_the_build(folder: Path) -> None:
    install_packages(require(folder, "pure-prices"))
    write_files(folder, {"hello.py": "import pure_price\nfrom farm.sdk import *\n@message_component\ndef f(m): pass\n"})
    assert [str(problem) for problem in check(folder / "hello.py")] == [
        "no module pure_price (hello.py:1): neither in Python 3.14, nor beside hello.py, nor in requirements.txt. "
        "Did you mean pure_prices?"
    ]


@pytest.mark.parametrize("name", ["fast-prices", "no-such-thing"])
def test_a_package_that_is_not_pure_is_refused_with_its_line(folder: Path, name: str) -> None:
    with pytest.raises(BadComponent) as caught:
        install_packages(require(folder, "pure-prices", f"{name}>=1.0"))
    [problem] = caught.value.problems
    assert problem.what == f"no package {name}>=1.0"
    assert problem.where == "requirements.txt:4"
    assert "a component runs only wheels of pure Python" in problem.why


def test_a_package_that_needs_one_that_is_not_pure_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(BadComponent) as caught:
        install_packages(require(folder, "leaning"))
    [problem] = caught.value.problems
    assert problem.what == "no package fast-prices>=1.0"
    assert problem.why.startswith("leaning needs it; the index has none such in pure Python")
    assert problem.where == "requirements.txt:3"


def test_a_line_that_pip_cannot_read_is_told_in_its_words(folder: Path) -> None:
    with pytest.raises(BadComponent, match=r"pip refuses \(requirements.txt\): Invalid requirement: 'a b c'"):
        install_packages(require(folder, "a b c"))


def test_a_failed_installation_leaves_nothing(folder: Path) -> None:
    with pytest.raises(BadComponent):
        install_packages(require(folder, "no-such-thing"))
    assert list((folder / ".farm" / "packages").iterdir()) == []


CONFLICT = """\
The conflict is caused by:
    leaning 1.1 depends on MarkupSafe>=2.0
    leaning 1.0 depends on MarkupSafe>=1.0

Additionally, some packages in these conflicts have no matching distributions available for your environment:
    markupsafe

ERROR: ResolutionImpossible: for help visit
"""


def test_a_need_that_no_version_can_do_without_is_told(folder: Path) -> None:
    problem = refusal(require(folder, "leaning"), CONFLICT)
    assert problem.where == "requirements.txt:3"
    assert problem.why.startswith("leaning needs MarkupSafe; the index has no markupsafe in pure Python;")


def test_packages_that_exclude_each_other_are_told(folder: Path) -> None:
    said = CONFLICT.replace("Additionally", "").replace("no matching", "")
    problem = refusal(require(folder, "leaning"), said)
    assert (problem.what, problem.why) == ("packages that exclude each other", "leaning needs MarkupSafe")


def test_an_index_that_does_not_answer_is_no_fault_of_the_requirement(folder: Path) -> None:
    said = "WARNING: Retrying (Retry(total=0)) after\nERROR: No matching distribution found for leaning\n"
    assert "the index did not answer" in refusal(require(folder, "leaning"), said).why


def test_a_python_without_pip_is_told_what_to_run(folder: Path) -> None:
    problem = refusal(require(folder, "leaning"), "/usr/bin/python3: No module named pip")
    assert problem.todo.endswith("-m ensurepip")


def test_pip_on_a_full_disk_is_no_fault_of_the_requirements(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        said = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
        return subprocess.CompletedProcess([], 1, "", said)

    monkeypatch.setattr(subprocess, "run", full)
    with pytest.raises(NoRoom, match="no room to build"):
        install_packages(require(folder, "leaning"))
