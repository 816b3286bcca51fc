"""All that a Python handler's component is made of, and the key that changes when any of it does.

No times and no absolute paths go into the key: a fresh clone has the same one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Final

from farm.build import guest
from farm.build.files import read, root_of, sdk_folder, shown, wit_folder
from farm.build.modules import Module, imports_of, read_modules
from farm.errors import BadComponent, Problem, SourceMissing

INTERFACE: Final = "farm-messaging-0.1.0"
WATCHED_LIMIT: Final = 10_000

WORLD: Final = """package farm:guest;

world handler {
    import farm:messaging/publisher@0.1.0;
    export farm:messaging/handler@0.1.0;
}
"""
ENTRY: Final = """from farm.sdk import _component

Handler = _component.bind({module!r}, {late!r})
"""


@dataclass(frozen=True)
class Sources:
    """One handler, read. watched: further files that its `watch` names, in order."""

    source: Path
    root: Path
    modules: Sequence[Module]
    requirements: Path | None
    watched: Sequence[Path]

    @property
    def folder(self) -> Path:
        """Where the handler lies, and what it imports beside it."""
        return self.source.parent

    @property
    def entry(self) -> str:
        """The module that componentize-py is given: it binds the handler, and imports early what it imports late."""
        late = {one.name for module in self.modules for one in imports_of(module) if one.name and not one.level}
        return ENTRY.format(module=self.source.stem, late=tuple(sorted(late - {"farm", "farm.sdk"})))

    @cached_property
    def key(self) -> str:
        """32 hex digits of a SHA-256 over names and bytes of everything."""
        digest = hashlib.sha256()
        for name, data in self._parts():
            digest.update(f"{len(name.encode())}:{len(data)}:{name}".encode())
            digest.update(data)
        return digest.hexdigest()[:32]

    def shown(self, module: Module, line: int | None) -> str:
        """`hello.py:28`, from the manifest's folder."""
        return f"{shown(module.path, self.root)}:{line}" if line else shown(module.path, self.root)

    def _parts(self) -> Iterator[tuple[str, bytes]]:
        yield "tool", f"componentize-py {version('componentize-py')}, Python {guest.VERSION}".encode()
        yield "world", WORLD.encode()
        yield "entry", self.entry.encode()
        for path in (*sorted((wit_folder() / INTERFACE).glob("*.wit")), *sorted(sdk_folder().glob("*.py"))):
            yield f"farm/{path.name}", path.read_bytes()
        for module in self.modules:
            yield f"module/{module.name}", module.data
        if self.requirements is not None:
            yield "requirements", read(self.requirements, self.root)
        for path in self.watched:
            yield f"watched/{shown(path, self.root)}", read(path, self.root)


def read_sources(source: Path, watch: Sequence[str] = ()) -> Sources:
    """Read what `source` is made of. `watch`: globs of further files, from the manifest's folder.

    Raises:
      SourceMissing: there is no such file.
      BadComponent: `watch` is no glob.
      NotPermitted: a file cannot be read.
    """
    source = source.absolute()
    root = root_of(source)
    if not source.is_file():
        todo = "Write it, or correct `source` in farm.toml"
        raise SourceMissing(Problem("no such handler", shown(source, root), todo=todo))
    requirements = source.parent / "requirements.txt"
    return Sources(
        source,
        root,
        read_modules(source),
        requirements if requirements.is_file() else None,
        watched_files(root, watch),
    )


def watched_files(root: Path, watch: Sequence[str]) -> list[Path]:
    """The files that the globs name, in order; none of what farm itself makes.

    Raises:
      BadComponent: one is absolute or no glob, or they name more than WATCHED_LIMIT files.
    """
    found: set[Path] = set()
    for pattern in watch:
        try:
            named = {path for path in root.glob(pattern) if ".farm" not in path.parts and path.is_file()}
        except (ValueError, NotImplementedError) as error:
            raise BadComponent(Problem(f"watch = [{pattern!r}]", why=str(error))) from error
        found |= named
        if len(found) > WATCHED_LIMIT:
            raise BadComponent(Problem(f"watch names over {WATCHED_LIMIT} files", todo="Name fewer"))
    return sorted(found)
