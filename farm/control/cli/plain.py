"""The settings of every typer app here. Nothing of farm is imported: the root needs this for `farm --help`."""

from __future__ import annotations

from typing import Any, Final

# A default app brings rich back into every help, and typer's own look into every traceback.
PLAIN: Final[dict[str, Any]] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "add_completion": False,
    "no_args_is_help": True,
}
