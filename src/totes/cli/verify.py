"""`totes verify`: compare warehouse and source row by row."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import TYPE_CHECKING

import typer

from totes.cli.output import Json, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from totes.operations.verify import TableResult, VerifyResult

DIFFERS = 1
"""Exit code if they differ."""

_KEYS_SHOWN = 10


def verify(*, as_json: Json = False) -> None:
    """Compare warehouse and source row by row.

    First captures and loads pending changes, then compares within one snapshot of the source. Lists
    the tables and keys that differ, and exits with 1 if there are any.
    """
    from totes.cli.terminal import out, show_progress
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.error_policy import retry
    from totes.operations.verify import verify as compare

    with Resources(load_settings(), create=False) as resources, show_progress() as progress:
        result = retry(lambda: compare(resources.pipeline, progress=progress))
    if as_json:
        print_json(result.to_json())
    else:
        show_result(out(), result)
    raise typer.Exit(0 if result.equal else DIFFERS)


def show_result(console: "Console", result: "VerifyResult") -> None:
    """Print the rows of each table, the keys that differ, and the verdict."""
    from totes.cli.terminal import table

    rows = table("table", ">source", ">warehouse", "")
    for star in result.tables:
        equal = "[green]equal[/]" if star.equal else "[bold red]differs[/]"
        rows.add_row(star.name, f"{star.source_rows:,}", f"{star.warehouse_rows:,}", equal)
    console.print(rows)
    for star in result.tables:
        _show_differences(console, star)
    what = "equals the source" if result.equal else "differs from the source"
    console.print(f"The warehouse {what} as of batch {result.batch}.")


def _show_differences(console: "Console", star: "TableResult") -> None:
    from totes.escape import escape_controls

    for difference in star.differing[:_KEYS_SHOWN]:
        columns = f" in {', '.join(difference.columns)}" if difference.columns else ""
        line = f"{star.name} {difference.key}: {difference.kind}{columns}"
        console.print(escape_controls(line), markup=False)
    if hidden := len(star.differing[_KEYS_SHOWN:]):
        console.print(f"{star.name}: {hidden:,} more (--json names them)")
    if star.more:
        console.print(f"{star.name}: more keys differ in {star.more:,} other groups of keys")
    if star.quarantined:
        keys = ", ".join(star.quarantined[:_KEYS_SHOWN])
        more = " …" if star.quarantined[_KEYS_SHOWN:] else ""
        line = f"{star.name}: {len(star.quarantined):,} in quarantine, not compared: {keys}{more}"
        console.print(escape_controls(line), markup=False)
