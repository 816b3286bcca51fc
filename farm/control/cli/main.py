"""The command `farm`: a root that imports a command only when it is asked for.

`COMMANDS` says for each name where it is, `module:object`, and the line that `farm --help` shows. What an object is:

    a plain function    one command: its annotations are its parameters (`Annotated[.., typer.Option(..)]`; cli/options
                        has those that many share), its docstring the help (examples under a line of `\\b`); it returns
                        None or an exit code, and raises FarmError for what a user did or met
    a typer.Typer       a group of commands (`farm config show`), made as `typer.Typer(**PLAIN)`, PLAIN of cli/plain

Here alone an error becomes lines on stderr and an exit code. `--debug`, anywhere before a `--`, shows its traceback.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import typer
from typer import core
from typer._click import Command, Context, HelpFormatter
from typer._click.exceptions import NoArgsIsHelpError, NoSuchOption, UsageError
from typer.main import get_command

from farm.control.cli.plain import PLAIN
from farm.errors import FarmError, InputError, Problem, printable, refusal_of

INTERNAL: Final = 70
INTERRUPTED: Final = 130


@dataclass(frozen=True)
class Entry:
    """Where a command is, and the line of help that can be shown without importing it."""

    target: str
    line: str


COMMANDS: Final = {
    "up": Entry("farm.control.cli.family:up", "Run the farm here, until Ctrl-C or `farm down`."),
    "down": Entry("farm.control.cli.family:down", "Drain the running farm and wait until it is gone."),
    "status": Entry("farm.control.cli.status:status", "Show what runs and what happened; live with --watch."),
    "publish": Entry("farm.control.cli.messages:publish", "Publish a message, or a file of them."),
    "subscribe": Entry("farm.control.cli.messages:subscribe", "Print the messages of a subject as they come."),
    "check": Entry("farm.control.cli.build:check", "Say all that is wrong with the manifest and its components."),
    "build": Entry("farm.control.cli.build:build", "Build the components whose sources changed."),
    "explain": Entry("farm.control.cli.explain:explain", "Show what runs on a subject, and why the rest does not."),
    "config": Entry("farm.control.cli.config:app", "Show the settings in force, or their JSON Schema."),
    "version": Entry("farm.control.cli.version:version", "Show the versions of farm and of what it stands on."),
}

ALSO: Final = {
    "kill": "down",
    "lint": "check",
    "ps": "status",
    "run": "up",
    "schema": "config schema",
    "serve": "up",
    "start": "up",
    "stop": "down",
    "validate": "check",
}
"""What others call our commands."""

OPTIONS: Final = (
    ("--debug", "Show the traceback of an error. With every command."),
    ("--version", "What `farm version` shows."),
    ("--help", "Show this, or a command's own help."),
)

SUMMARY: Final = "Runs WebAssembly components on messages."

EXAMPLES: Final = """\
\b
Examples:
  farm up --workers 8                    in the folder of farm.toml
  farm publish hello.world Ada           from another terminal
  farm subscribe 'good.*' --broker secondary
  farm status --watch
"""


class Root(core.TyperGroup):
    """The root group. `main` reads its own options: one declared here would cost every `--help` 100 ms of pydantic."""

    def list_commands(self, ctx: Context) -> list[str]:
        """Every name, without an import."""
        return list(COMMANDS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Import the command that is asked for."""
        return load(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """The command of the first argument, with a suggestion for a name that is none."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from difflib import get_close_matches

            near = [ALSO[args[0]]] if args[0] in ALSO else get_close_matches(args[0], COMMANDS)
            todo = f"Did you mean `farm {near[0]}`?" if near else "`farm --help` lists them"
            raise InputError(Problem(f"no command {args[0]!r}", todo=todo))
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """The options, then the commands with their lines from the table."""
        with formatter.section("Options"):
            formatter.write_dl(OPTIONS)
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.line) for name, entry in COMMANDS.items()])


def load(name: str) -> Command:
    """The command `name` of the table, imported."""
    module, _, attribute = COMMANDS[name].target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if isinstance(found, typer.Typer):
        app = found
    else:
        app = typer.Typer(**PLAIN)
        app.command(name)(found)
    return get_command(app)


def root() -> Command:
    """The whole command line, with nothing imported yet."""
    app = typer.Typer(**PLAIN, cls=Root, help=SUMMARY, epilog=EXAMPLES)
    app.callback()(_nothing)
    return get_command(app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    arguments, debug = take_debug(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--version"]:
        arguments[0] = "version"
    if sys.platform != "linux":
        return failed([f"farm runs on Linux alone, and this is {sys.platform}"], INTERNAL, debug)
    try:
        code = root().main(arguments, prog_name="farm", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a reader that has gone can still be told from a fault
    except FarmError as error:
        return failed([str(problem) for problem in error.problems], error.exit_code, debug)
    except typer.TyperException as error:
        return _usage(error, arguments[0] if arguments else "")
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except SystemExit as end:  # what typer and rich make of a closed pipe
        return _ended_by(end)
    except OSError as error:
        return _refused(error, debug)
    except Exception as error:  # noqa: BLE001  the last resort: whatever it is, a person is told and the code is 70
        return _fault(error, debug)
    return code if isinstance(code, int) else 0


def take_debug(argv: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without `--debug`, and whether it was among them; what follows a `--` is no option."""
    end = argv.index("--") if "--" in argv else len(argv)
    options = [argument for argument in argv[:end] if argument != "--debug"]
    return [*options, *argv[end:]], len(options) < end


def failed(lines: Sequence[str], exit_code: int, debug: bool) -> int:
    """Say on stderr what went wrong, one line each, and give the exit code back."""
    if debug:
        traceback.print_exc()
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    return exit_code


def _refused(error: OSError, debug: bool) -> int:
    """What the system refuses: a user's affair, or else a fault of ours."""
    if _is_unread(error):
        return 0
    found = refusal_of(error)
    if found is None:
        return _fault(error, debug)
    return failed([str(problem) for problem in found.problems], found.exit_code, debug)


def _fault(error: Exception, debug: bool) -> int:
    text = f"{type(error).__name__}: {error}"
    hint = "" if debug else ". Run it again with --debug to see where"
    return failed([printable(f"a fault in farm itself: {text}{hint}")], INTERNAL, debug)


def _ended_by(end: SystemExit) -> int:
    """0 where typer or rich ended us because nobody reads what is printed (`| head`): that is no error."""
    if not isinstance(end.__context__, BrokenPipeError):
        raise end
    _silence()
    return 0


def _is_unread(error: OSError) -> bool:
    """Whether that is what happened, with an error that could also be another pipe's; then nothing more is printed."""
    from farm.control.cli.pipe import reader_has_gone

    if not isinstance(error, BrokenPipeError) or not reader_has_gone():
        return False
    _silence()
    return True


def _silence() -> None:
    from farm.log import silence

    silence(1)  # else the interpreter would complain as it ends


def _usage(error: typer.TyperException, command: str) -> int:
    if isinstance(error, NoArgsIsHelpError):
        print(error.format_message(), file=sys.stderr)
        return error.exit_code
    ctx: Context | None = getattr(error, "ctx", None)
    text = printable(_in_our_words(error).rstrip("."))
    end = "" if text.endswith("?") else "."
    path = ctx.command_path if ctx is not None else f"farm {command}"
    print(f"error: {text[:1].lower()}{text[1:]}{end} See `{path} --help`", file=sys.stderr)
    return error.exit_code


def _in_our_words(error: typer.TyperException) -> str:
    """What is wrong with a command line: typer's words, but not those that it hands on from pydantic."""
    text = error.format_message()
    if isinstance(error, NoSuchOption):
        return f"no option {error.option_name}{_meant(error.possibilities or ())}"
    if isinstance(error, UsageError) and text.startswith("Got unexpected extra argument"):
        text = f"an argument too many: {text.rpartition('(')[2].rstrip(')')}"
    found: Any = getattr(error.__cause__ or error.__context__, "errors", None)
    if found is None:
        return text
    fault = found()[0]
    kind, given, said = str(fault["type"]), f'"{fault["input"]}"', str(fault["msg"])
    if kind == "int_parsing":
        better = f"{given} is no whole number"
    elif kind == "greater_than_equal":
        better = f"{given} is less than {fault['ctx']['ge']}"
    else:
        better = said.removeprefix("Value error, ")
    return text.replace(said, better)


def _meant(near: Sequence[str]) -> str:
    return f". Did you mean {' or '.join(sorted(near))}?" if near else ""


def _nothing() -> None:
    """The root does nothing itself."""
