"""`farm config`: what is in force, and what could be."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from farm.control.cli.options import App, manifest_path
from farm.control.cli.plain import PLAIN
from farm.manifest.read import read
from farm.manifest.schema import schema as manifest_schema
from farm.manifest.show import as_json as settings_as_json
from farm.manifest.show import as_lines

app = typer.Typer(**PLAIN, help="Show the settings in force, or their JSON Schema.")


@app.command()
def show(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, for programs.")] = False,
    app: App = None,
) -> None:
    """Show every setting in force, and its source.

    A source is a line of the file, a FARM_* variable, or "default".

    \b
    Examples:
      farm config show
      farm config show --json | jq '.settings[] | select(.source != "default")'
    """
    manifest = read(manifest_path(app), os.environ)
    print(settings_as_json(manifest) if as_json else "\n".join(as_lines(manifest)))


@app.command()
def schema() -> None:
    """Print the JSON Schema of farm.toml.

    An editor that has it completes and checks the file.

    \b
    Examples:
      farm config schema > farm.schema.json
    """
    print(json.dumps(manifest_schema(), indent=2))
