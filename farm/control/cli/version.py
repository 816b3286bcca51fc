"""`farm version`: what to write into a report of a fault."""

from __future__ import annotations

import platform
from importlib import metadata

from farm.control import terminal


def version() -> None:
    """Show the versions of farm, Python and wasmtime.

    \b
    Examples:
      farm version
      farm --version
    """
    terminal.say(f"farm {metadata.version('farm')}")
    terminal.say(f"python {platform.python_version()} ({platform.system()} {platform.machine()})")
    for package in ("wasmtime", "componentize-py"):
        terminal.say(f"{package} {metadata.version(package)}")
