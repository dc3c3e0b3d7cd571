"""`totes status`: how far each stage is, and how fresh the data."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import TYPE_CHECKING

from totes.cli.report import Json, report

if TYPE_CHECKING:
    from rich.console import Console

    from totes.operations.status import Status


def status(*, as_json: Json = False) -> None:
    """How far each stage is, and how fresh the data.

    Also what the last batch brought, changes of the source's schema, and what waits in quarantine.
    """
    from totes.cli.terminal import out
    from totes.config.resources import Places
    from totes.config.settings import load_settings
    from totes.operations.status import status as look

    with Places(load_settings(), make=False) as places:
        seen = look(places.ingestion, places.processed, places.warehouse)
    if as_json:
        report(seen.to_json())
    else:
        _show_status(out(), seen)


def _show_status(console: "Console", seen: "Status") -> None:
    from totes.cli.terminal import age, cell, moment, printable, table

    console.print(f"data to     {moment(seen.data_to)}")
    ago = "" if seen.lag is None else f", {age(seen.lag)} ago"
    console.print(f"checked at  {moment(seen.checked_at)}{ago}")
    console.print(f"verified    {_verified(seen)}")
    if seen.ahead:
        console.print(
            f"That is {age(seen.ahead)} ahead of the warehouse's clock: a clock is or was wrong. "
            "Compare the clocks: until then nobody can tell how fresh the data is, though "
            "`totes verify` proves it."
        )
    console.print()
    stages = table("stage", ">batch", "as of", ">rows", ">pending")
    for stage in seen.stages:
        cells = (f"{stage.batch}", moment(stage.captured_at), f"{stage.rows:,}", f"{stage.pending}")
        stages.add_row(stage.name, *cells)
    console.print(stages)
    if seen.carried:
        console.print(f"\nIn batch {seen.stages[0].batch}")
        rows = table("table", ">changed", ">deleted")
        for carried in seen.carried:
            rows.add_row(cell(carried.table), f"{carried.changed:,}", f"{carried.deleted:,}")
        console.print(rows)
    for source in seen.unreadable:
        unreadable = printable(f"{source.table} of totesys: {source.values:,} values can't be read")
        console.print(f"\n{unreadable}, see `totes quarantine show`.", markup=False)
    for change in seen.schema_changes:
        told = printable(f"{change.table}: {change.what}")
        console.print(f"\nSince batch {change.batch}, {told}", markup=False)
    console.print("\nIn quarantine" if seen.quarantine else "\nQuarantine is empty.")
    for waiting in seen.quarantine:
        told = printable(f"{waiting.table}: {waiting.reason}")
        console.print(f"{waiting.rows:>8,}  {told}", markup=False)


def _verified(seen: "Status") -> str:
    from totes.cli.terminal import moment

    if seen.verified is None:
        return "never: run `totes verify`"
    result = "equal" if seen.verified.equal else "it differed, `totes verify` names the keys"
    return f"{moment(seen.verified.verified_at)}, batch {seen.verified.batch}: {result}"
