"""Entry of the `fqt` command: puts the commands together, and turns every error into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from fqt_client import __version__
from fqt_client.cli import (
    catalog,
    compare,
    compare_methods,
    datasets,
    doctor,
    fetch,
    jobs,
    models,
    submit,
    sweeps,
    watch,
)
from fqt_client.cli.exits import MEANINGS, ExitCode, exit_code_of, line_of
from fqt_client.cli.output import printable
from fqt_client.cli.plugins import merge_plugins
from fqt_client.errors import FqtClientError

HELP = f"""Fine-tune image classifiers with 1-bit fully quantised training.

`fqt up` starts a service on this machine; the other commands talk to it, or to the one that FQT_API_URL and
FQT_API_KEY name. Every command takes `--json`, but for the servers `api` and `worker`, which log JSON lines.

Exit codes: {" · ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items())}.
"""


def build_app(*, plugins: bool = True) -> typer.Typer:
    """The whole command line; ``plugins`` says whether to merge what other distributions add."""
    app = typer.Typer(name="fqt", help=HELP, pretty_exceptions_enable=False, rich_markup_mode="markdown")
    app.callback(invoke_without_command=True)(_root)
    for module in (submit, watch, jobs, compare, compare_methods, fetch, catalog, doctor):
        app.registered_commands.extend(module.app.registered_commands)
    app.add_typer(sweeps.app, name="sweep", rich_help_panel="Jobs")
    app.add_typer(datasets.app, name="datasets", rich_help_panel="Data")
    app.add_typer(models.app, name="models", rich_help_panel="Data")
    if plugins:
        merge_plugins(app)
    return app


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"fqt {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. Never raises, but for SystemExit of shell completion."""
    if sys.stdout is None:  # closed by whoever started this; its number may be another file's by now
        _say("stdout is closed — send it to a file or to /dev/null")
        return ExitCode.LOCAL
    streams = sys.stdout, sys.stderr
    try:
        return _run(arguments)
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        sys.stdout, sys.stderr = streams  # so Typer and Rich answer a broken pipe: with 1, and streams that hide it
        _give_up_stdout()
        return ExitCode.OK
    except BrokenPipeError:
        # The reader of a pipe has gone (`fqt jobs | head`): nothing is wrong, and there is nobody to tell.
        _give_up_stdout()
        return ExitCode.OK
    except Exception as error:  # the last net: people get one line, never a traceback
        if os.environ.get("FQT_DEBUG"):
            raise
        _give_up_stdout()
        if isinstance(error, OSError):
            what = f"cannot use {error.filename}" if error.filename else "cannot read or write"
            _say(f"{what}: {error.strerror or error}")
            return ExitCode.LOCAL
        _say(f"{type(error).__name__}: {error} — this is a fault in fqt; FQT_DEBUG=1 shows where")
        return ExitCode.INTERNAL


def _run(arguments: Sequence[str] | None) -> int:
    """Run one command line; its own errors, wrong usage and Ctrl-C become a line and an exit code."""
    try:
        command = typer.main.get_command(build_app())
        outcome = command.main(
            args=None if arguments is None else list(arguments), prog_name="fqt", standalone_mode=False
        )
        sys.stdout.flush()  # a full disk shows here, and not when the interpreter ends
    except FqtClientError as error:
        _say(line_of(error))
        return exit_code_of(error)
    except typer.TyperException as error:
        _say(_usage_line(error))
        return ExitCode.USAGE
    except (typer.Abort, KeyboardInterrupt):
        _say("interrupted")
        return ExitCode.INTERRUPTED
    return outcome if isinstance(outcome, int) else ExitCode.OK


def _usage_line(error: typer.TyperException) -> str:
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "fqt"
    return f"{message} — see `{command} --help`"


def _say(line: str) -> None:
    if sys.stderr is not None:
        print(printable(f"fqt: {line}"), file=sys.stderr)


def _give_up_stdout() -> None:
    """Drop what could not be written to stdout: the interpreter would try once more at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
