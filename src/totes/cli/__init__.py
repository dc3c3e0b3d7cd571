"""The command `totes`: parses arguments, calls the code of the other packages, and prints.

Each command imports what it needs when it runs, so that `totes --help` is quick.
"""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

import os
import signal
import sys
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from totes import __version__
from totes.cli import (
    check,
    dashboard,
    demo,
    erase,
    gc,
    log,
    notifications,
    publish,
    quarantine,
    settings,
    stages,
    status,
    verify,
    warehouse,
)
from totes.errors import UNEXPECTED_ERROR_EXIT_CODE, TotesError, UsageError

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

TERMINATED = 143
"""Exit code after SIGTERM."""


class _Commands(TyperGroup):
    """Commands whose errors become one line on standard error and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TotesError as error:
            _print_error(error, str(error))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


def _print_error(error: Exception, line: str) -> None:
    from totes.cli.terminal import log
    from totes.escape import escape_controls

    log.debug("", exc_info=error)
    typer.echo(f"totes: {escape_controls(line)}", err=True)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # Rich would make --help three times slower
    pretty_exceptions_enable=False,
)


def _print_version(requested: bool) -> None:  # noqa: FBT001  Typer's signature
    if requested:
        typer.echo(f"terrific-totes {__version__}")
        raise typer.Exit


@app.callback()
def totes(
    *,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and debug lines.")
    ] = False,
    version: Annotated[  # noqa: ARG001  its callback handles it
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Every change of the source, with full history, in a lake and a warehouse."""
    from totes.cli.terminal import start_logging

    start_logging(debug=debug)


app.command()(demo.demo)
app.command()(check.check)
app.command()(stages.ingest)
app.command()(stages.transform)
app.command()(stages.load)
app.command()(stages.run)
app.command()(status.status)
app.command()(verify.verify)
app.command()(notifications.alerts)
app.command()(notifications.report)
app.command()(stages.replay)
app.add_typer(publish.app)
app.command()(erase.erase)
app.add_typer(quarantine.app)
app.add_typer(warehouse.app)
app.add_typer(log.app)
app.command()(gc.gc)
app.command()(demo.simulate)
app.command()(dashboard.dashboard)
app.command()(settings.settings)


def main() -> None:
    """Run the command; SIGTERM ends it with the same clean-up as an error."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    if isinstance(sys.stdout, TextIOWrapper):  # escape characters that its encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="totes")
    except Exception as error:  # noqa: BLE001  any error becomes one line
        if isinstance(error, OSError) and _output_fails():
            _print_error(error, f"Can't write to standard output: {error.strerror}.")
            sys.exit(UsageError.exit_code)
        _print_error(error, f"{type(error).__name__}: {error} (unexpected error, run with --debug)")
        sys.exit(UNEXPECTED_ERROR_EXIT_CODE)


def _output_fails() -> bool:
    """Return whether standard output can't be written; if so, redirect it to /dev/null."""
    try:
        print(flush=True)  # noqa: T201  its buffer is empty after the first failure
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
