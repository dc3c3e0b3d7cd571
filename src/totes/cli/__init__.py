"""The command `totes`.

Every command imports what it needs when it runs, so that `totes --help` is quick; nothing here
decides anything: it turns arguments into calls, and values into lines.
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
    quarantine,
    settings,
    stages,
    status,
    verify,
    warehouse,
)
from totes.errors import BUG, TotesError, UsageError

INTERRUPTED = 130
TERMINATED = 143


class _Commands(TyperGroup):
    """What is said to a person becomes one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TotesError as error:
            _say(error, str(error))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


def _say(error: Exception, line: str) -> None:
    from totes.cli.terminal import log, printable

    log.debug("", exc_info=error)
    typer.echo(f"totes: {printable(line)}", err=True)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # Rich would make --help three times slower
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:  # noqa: FBT001  Typer's signature
    if wanted:
        typer.echo(f"terrific-totes {__version__}")
        raise typer.Exit


@app.callback()
def totes(
    *,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and debug lines.")
    ] = False,
    version: Annotated[  # noqa: ARG001  its callback has done it
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Every change of totesys, with full history, in a lake and a warehouse."""
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
app.command()(stages.replay)
app.command()(erase.erase)
app.add_typer(quarantine.app)
app.add_typer(warehouse.app)
app.command()(gc.gc)
app.command()(demo.simulate)
app.command()(dashboard.dashboard)
app.command()(settings.settings)


def main() -> None:
    """The entry point; SIGTERM leaves through the same doors as any error."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    if isinstance(sys.stdout, TextIOWrapper):  # characters that its encoding lacks are escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="totes")
    except Exception as error:  # noqa: BLE001  a person gets a line, whatever it is
        if isinstance(error, OSError) and _output_fails():
            _say(error, f"Standard output can't be written: {error.strerror}.")
            sys.exit(UsageError.exit_code)
        _say(error, f"{type(error).__name__}: {error} (unexpected error: --debug shows where)")
        sys.exit(BUG)


def _output_fails() -> bool:
    """Whether standard output can't be written, as on a full disk; it is then /dev/null."""
    try:
        print(flush=True)  # noqa: T201  its buffer is empty after the first failure
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
