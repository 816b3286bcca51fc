"""What several commands share: `--app`, and the way from it to the farm's directories."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from farm import rundir
from farm.manifest.find import find
from farm.rundir import Rundir

App = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="DIR|FILE",
        show_envvar=False,
        help="The farm's folder or its manifest (or FARM_APP); without it the nearest farm.toml, from here upwards.",
    ),
]


def manifest_path(app: str | None) -> Path:
    """The real path of the manifest that `--app` means.

    Raises: SourceMissing: there is none.
    """
    return find(app, os.environ, Path.cwd())


def rundir_of(app: str | None) -> Rundir:
    """The directories of the farm that `--app` means, as it runs; the manifest is found, not read.

    Raises: SourceMissing: there is no manifest. NotPermitted: no variable says where they are.
    """
    return rundir.of(manifest_path(app)).running()
