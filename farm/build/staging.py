"""The folders that componentize-py is pointed at: copies, for code at import may write into them.

app/       the handler, the modules it imports, what `watch` names        /0 in the component
sdk/       farm.sdk                                                       /1
packages/  what requirements.txt brings                                   /2
entry/     the module that binds the handler                              /3
wit/       the world
"""

from __future__ import annotations

import shutil
from pathlib import Path

from farm.build.files import sdk_folder, wit_folder
from farm.build.sources import INTERFACE, WORLD, Sources

ENTRY_MODULE = "farm_entry"
PARTS = ("app", "sdk", "packages", "entry")


def stage(sources: Sources, packages: Path | None, folder: Path) -> None:
    """Copy everything into `folder`, which is empty."""
    for part in PARTS:
        (folder / part).mkdir()
    _copy_app(sources, folder / "app")
    sdk = folder / "sdk" / "farm" / "sdk"
    sdk.mkdir(parents=True)
    (sdk.parent / "__init__.py").touch()
    for path in sdk_folder().glob("*.py"):
        shutil.copyfile(path, sdk / path.name)
    if packages is not None:
        shutil.copytree(packages, folder / "packages", dirs_exist_ok=True)
    (folder / "entry" / f"{ENTRY_MODULE}.py").write_text(sources.entry)
    interface = folder / "wit" / "deps" / INTERFACE
    shutil.copytree(wit_folder() / INTERFACE, interface)
    (folder / "wit" / "world.wit").write_text(WORLD)


def _copy_app(sources: Sources, app: Path) -> None:
    for module in sources.modules:
        target = app / module.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(module.data)
    for path in sources.watched:
        # What lies elsewhere has no place in there; it only counts for the key.
        if path.is_relative_to(sources.folder):
            target = app / path.relative_to(sources.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
