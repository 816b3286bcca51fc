"""`farm version`: what to write into a report of a fault."""

from __future__ import annotations

import platform
from importlib import metadata


def version() -> None:
    """Show the versions of farm, Python and wasmtime.

    \b
    Examples:
      farm version
      farm --version
    """
    print(f"farm {metadata.version('farm')}")
    print(f"python {platform.python_version()} ({platform.system()} {platform.machine()})")
    for package in ("wasmtime", "componentize-py"):
        print(f"{package} {metadata.version(package)}")
