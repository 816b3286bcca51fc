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
from farm.build.files import new_prefix, packages_folder, read, refuse_if_full, shown
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
UNREACHABLE: Final = re.compile(r"(?:Retrying|Could not fetch|ConnectionError|NewConnectionError)[^\n]*")
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
    with tempfile.TemporaryDirectory(prefix=new_prefix(os.getpid()), dir=folder.parent) as new:
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
    text = read(sources.requirements, sources.root)
    return packages_folder(sources.root) / hashlib.sha256(b"\0".join([*map(str.encode, CHOICE), text])).hexdigest()[:32]


def _run_pip(sources: Sources, target: Path) -> None:
    assert sources.requirements is not None
    quiet = ("--no-input", "--disable-pip-version-check", "--no-color")
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
        refuse_if_full(done.stderr, sources.root)
        raise BadComponent(refusal(sources, done.stdout + done.stderr))


def refusal(sources: Sources, said: str) -> Problem:
    """What pip's output means for the one who wrote requirements.txt."""
    assert sources.requirements is not None
    requirements = sources.requirements
    file = shown(requirements, sources.root)
    if "No module named pip" in said:
        return Problem("no pip", file, f"{sys.executable} has none", f"Run: {sys.executable} -m ensurepip")
    if found := re.search(r"No matching distribution found for (\S+)", said):
        wanted = found[1]
        # The line before names who needs it, in every version of pip; this one does only in the newer ones.
        needing = re.search(rf"the requirement {re.escape(wanted)} \(from ([^)\s]+)\)", said)
        needed_by = needing[1] if needing and not needing[1].startswith("versions:") else ""
        where = _line(requirements, needed_by or wanted, file)
        if unreachable := UNREACHABLE.search(said):
            return Problem(f"no package {wanted}", where, f"the index did not answer: {unreachable[0]}", "Try again")
        why = f"{f'{needed_by} needs it; ' if needed_by else ''}the index has none such in pure Python; {PURE}"
        return Problem(f"no package {wanted}", where, why, "Correct it, or use another")
    if "ResolutionImpossible" in said:
        return _conflict(requirements, file, said)
    errors = re.findall(r"^ERROR: (.+)$", said, re.MULTILINE)
    why = errors[-1] if errors else (said.strip().splitlines() or ["it gave no reason"])[-1]
    return Problem("pip refuses", file, why)


def _conflict(requirements: Path, file: str, said: str) -> Problem:
    wants = re.findall(r"^ +(\S+) \S+ depends on ([A-Za-z0-9._-]+)", said, re.MULTILINE)
    needs = ", ".join(dict.fromkeys(f"{name} needs {other}" for name, other in wants))
    where = _line(requirements, wants[0][0], file) if wants else file
    _, _, rest = said.partition("no matching distributions available for your environment:\n")
    missing = ", ".join(line.strip() for line in rest.partition("\n\n")[0].splitlines())
    if missing:
        why = f"{needs}; the index has no {missing} in pure Python; {PURE}"
        return Problem("packages that cannot be installed", where, why, "Use others")
    return Problem("packages that exclude each other", where, needs or "pip found no versions that fit", "Use others")


def _line(requirements: Path, wanted: str, file: str) -> str:
    """`requirements.txt:3`, where the package is named there at all."""
    name = re.match(r"[A-Za-z0-9._-]*", wanted)
    pattern = re.sub(r"[-_.]+", "[-_.]+", name[0]) if name else ""
    for number, line in enumerate(requirements.read_text(errors="replace").splitlines(), 1):
        if pattern and re.match(rf"\s*{pattern}(?![\w.-])", line, re.IGNORECASE):
            return f"{file}:{number}"
    return file
