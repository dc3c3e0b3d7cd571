"""`totes status`: the progress of each stage and the age of the data."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import TYPE_CHECKING

from totes.cli.report import Json, report

if TYPE_CHECKING:
    from rich.console import Console

    from totes.operations.status import Status


def status(*, as_json: Json = False) -> None:
    """Show the last batch of each stage and the age of the data.

    Also shows the rows of the last batch, changes of the source's schema, and the quarantine.
    """
    from totes.cli.terminal import out
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.operations.status import read_status

    with Resources(load_settings(), create=False) as resources:
        current = read_status(resources.ingestion, resources.processed, resources.warehouse)
    if as_json:
        report(current.to_json())
    else:
        _show_status(out(), current)


def _show_status(console: "Console", current: "Status") -> None:
    from totes.cli.terminal import cell, format_duration, format_time, table
    from totes.escape import escape_controls

    console.print(f"data to     {format_time(current.data_to)}")
    ago = "" if current.lag is None else f", {format_duration(current.lag)} ago"
    console.print(f"checked at  {format_time(current.checked_at)}{ago}")
    console.print(f"verified    {_verified(current)}")
    if current.ahead:
        console.print(
            f"That is {format_duration(current.ahead)} ahead of the warehouse's clock: a clock is "
            "or was wrong. Until the clocks agree, the age of the data is unknown; `totes verify` "
            "still compares the data itself."
        )
    console.print()
    stages = table("stage", ">batch", "as of", ">rows", ">pending")
    for stage in current.stages:
        cells = (
            f"{stage.batch}",
            format_time(stage.captured_at),
            f"{stage.rows:,}",
            f"{stage.pending}",
        )
        stages.add_row(stage.name, *cells)
    console.print(stages)
    if current.captured:
        console.print(f"\nIn batch {current.stages[0].batch}")
        rows = table("table", ">changed", ">deleted")
        for captured in current.captured:
            rows.add_row(cell(captured.table), f"{captured.changed:,}", f"{captured.deleted:,}")
        console.print(rows)
    for source in current.unreadable:
        unreadable = escape_controls(
            f"{source.table} of the source: {source.values:,} values can't be read"
        )
        console.print(f"\n{unreadable}, see `totes quarantine show`.", markup=False)
    for change in current.schema_changes:
        line = escape_controls(f"{change.table}: {change.what}")
        console.print(f"\nSince batch {change.batch}, {line}", markup=False)
    console.print("\nIn quarantine" if current.quarantine else "\nQuarantine is empty.")
    for waiting in current.quarantine:
        line = escape_controls(f"{waiting.table}: {waiting.reason}")
        console.print(f"{waiting.rows:>8,}  {line}", markup=False)


def _verified(current: "Status") -> str:
    from totes.cli.terminal import format_time

    if current.verified is None:
        return "never: run `totes verify`"
    result = "equal" if current.verified.equal else "different, `totes verify` lists the keys"
    return f"{format_time(current.verified.verified_at)}, batch {current.verified.batch}: {result}"
