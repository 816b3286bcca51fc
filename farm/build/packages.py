"""The packages of a requirements.txt: pure Python alone runs in a component, so pip is told to take no other wheel.

They are installed once into .farm/packages/<key of the text>; a new text gets a new folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from farm.build import guest
from farm.build.files import packages_folder, shown
from farm.build.sources import Sources
from farm.errors import BadComponent, Problem

# Wheels that say py3-none-any, for the Python of the component; no compiled ones, nothing to be built here.
CHOICE: Final = (
    "--only-binary=:all:",
    "--platform=any",
    "--abi=none",
    "--implementation=py",
    f"--python-version={guest.VERSION}",
    "--no-compile",
)
PURE: Final = "a component runs only wheels of pure Python (py3-none-any)"


def installed_packages(sources: Sources) -> Path | None:
    """The folder of this handler's packages, if they are installed."""
    folder = _folder(sources)
    return folder if folder is not None and folder.is_dir() else None


def install_packages(sources: Sources) -> Path | None:
    """Install what requirements.txt names, unless that was done; the folder, None without a requirements.txt.

    Raises:
      BadComponent: pip refuses, with the line of requirements.txt where that can be told.
    """
    folder = _folder(sources)
    if folder is None or folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as new:
        target = Path(new) / "packages"
        target.mkdir()
        _run_pip(sources, target)
        if not folder.is_dir():
            target.rename(folder)
    return folder


def package_names(folder: Path) -> frozenset[str]:
    """The top-level modules in there."""
    files = {path.stem for path in folder.glob("*.py")}
    return frozenset(files | {path.name for path in folder.iterdir() if path.is_dir() and path.name.isidentifier()})


def drop_packages(root: Path) -> None:
    """Remove the folders of requirements that were changed long ago: all but the newest."""
    kept = 5
    folders = sorted(packages_folder(root).glob("[!.]*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in folders[kept:]:
        shutil.rmtree(old, ignore_errors=True)


def _folder(sources: Sources) -> Path | None:
    if sources.requirements is None:
        return None
    text = sources.requirements.read_bytes()
    return packages_folder(sources.root) / hashlib.sha256(b"\0".join([*map(str.encode, CHOICE), text])).hexdigest()[:32]


def _run_pip(sources: Sources, target: Path) -> None:
    assert sources.requirements is not None
    quiet = ("--quiet", "--no-input", "--disable-pip-version-check", "--no-color")
    command = [sys.executable, "-P", "-m", "pip", "install", *quiet, *CHOICE, f"--target={target}", "-r"]
    done = subprocess.run(
        [*command, sources.requirements.name],
        cwd=sources.folder,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise BadComponent(refusal(sources, done.stderr))


def refusal(sources: Sources, said: str) -> Problem:
    """What pip's standard error means for the one who wrote requirements.txt."""
    assert sources.requirements is not None
    requirements = sources.requirements
    file = shown(requirements, sources.root)
    if "No module named pip" in said:
        return Problem("no pip", file, f"{sys.executable} has none", f"Run: {sys.executable} -m ensurepip")
    unreachable = re.search(r"(?:Retrying|Could not fetch|ConnectionError|NewConnectionError)[^\n]*", said)
    if found := re.search(r"No matching distribution found for (\S+)(?: \(from ([^)\s]+))?", said):
        where = _line(requirements, found[1], file)
        if unreachable:
            return Problem(f"no package {found[1]}", where, f"the index did not answer: {unreachable[0]}", "Try again")
        why = f"the index has none of that name and version that is pure Python; {PURE}"
        return Problem(f"no package {found[1]}", where, why, "Correct it, or use another")
    if "ResolutionImpossible" in said:
        wants = re.findall(r"^ +(\S+) \S+ depends on (.+)$", said, re.MULTILINE)
        needs = "; ".join(dict.fromkeys(f"{name} needs {other}" for name, other in wants))
        where = _line(requirements, wants[0][0], file) if wants else file
        why = f"{needs or 'they exclude each other'}: not to be had together in pure Python, and {PURE}"
        return Problem("packages that cannot be installed", where, why, "Use others")
    errors = re.findall(r"^ERROR: (.+)$", said, re.MULTILINE)
    why = errors[-1] if errors else (said.strip().splitlines() or ["it gave no reason"])[-1]
    return Problem("pip refuses", file, why)


def _line(requirements: Path, wanted: str, file: str) -> str:
    """`requirements.txt:3`, where the package is named there at all."""
    name = re.match(r"[A-Za-z0-9._-]*", wanted)
    pattern = re.sub(r"[-_.]+", "[-_.]+", name[0]) if name else ""
    for number, line in enumerate(requirements.read_text(errors="replace").splitlines(), 1):
        if pattern and re.match(rf"\s*{pattern}(?![\w.-])", line, re.IGNORECASE):
            return f"{file}:{number}"
    return file
