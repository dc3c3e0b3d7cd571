"""`totes quarantine …`: list quarantined rows and try them again."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from totes.cli.output import Json, print_json

if TYPE_CHECKING:
    from totes.operations.unreadable import UnreadableValue

app = typer.Typer(name="quarantine", no_args_is_help=True)


@app.callback()
def quarantine() -> None:
    """List quarantined rows, or try them again."""


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """Count quarantined rows by table, column and reason.

    Also counts values in the source that can't be read.
    """
    from totes.cli.terminal import cell, out, table
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.operations.unreadable import list_unreadable_values
    from totes.warehouse.quarantine import QuarantineCount, count_quarantined_rows

    with Resources(load_settings(), create=False) as resources:
        counts = count_quarantined_rows(resources.warehouse)
        values = list_unreadable_values(resources.ingestion)
    by_reason = Counter((_in_source(one), one.column, one.reason) for one in values)
    counts += [QuarantineCount(rows, *group) for group, rows in sorted(by_reason.items())]
    if as_json:
        print_json(counts)
        return
    if not counts:
        out().print("Quarantine is empty.")
        return
    rows = table(">rows", "table", "column", "reason")
    for one in counts:
        cells = (f"{one.rows:,}", one.table, one.column or "", one.reason)
        rows.add_row(*map(cell, cells))
    out().print(rows)


@app.command()
def show(
    star_table: Annotated[
        str | None, typer.Argument(metavar="[TABLE]", help="Show rows of this star table only.")
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of rows.")] = 100,
    as_json: Json = False,
) -> None:
    """List quarantined rows with their reasons, oldest first.

    Values in the source that can't be read follow at the end.
    """
    from totes.cli.terminal import cell, out, table
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.errors import UsageError
    from totes.operations.unreadable import list_unreadable_values
    from totes.warehouse.quarantine import QuarantinedRow, list_quarantined_rows

    with Resources(load_settings(), create=False) as resources:
        if star_table is not None and star_table not in resources.star.tables:
            tables = ", ".join(resources.star.tables)
            raise UsageError(f"There is no star table {star_table}. The star tables are {tables}.")
        quarantined = list_quarantined_rows(resources.warehouse, star_table, limit)
        values = [] if star_table else list_unreadable_values(resources.ingestion)
    quarantined += [
        QuarantinedRow(None, _in_source(one), one.key, one.column, None, one.reason)
        for one in values
    ]
    del quarantined[limit:]
    if as_json:
        print_json(quarantined)
        return
    if not quarantined:
        out().print(
            f"No row of {star_table} is in quarantine." if star_table else "Quarantine is empty."
        )
        return
    rows = table("table", "key", "column", "value", ">batch", "reason")
    for row in quarantined:
        value = "NULL" if row.value is None else repr(row.value)
        batch = "" if row.batch is None else str(row.batch)
        cells = (row.table, row.key, row.column or "", value, batch, row.reason)
        rows.add_row(*map(cell, cells))
    out().print(rows)


@app.command()
def release(
    batches: Annotated[
        list[int] | None, typer.Argument(metavar="[BATCH]…", help="Try rows of these batches only.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Try rejected rows again, with the current models.

    The release is a new batch, which goes through all stages. Rows that wait for a dimension row
    need no release: they are loaded when it arrives. Rows with a value that can't be read are
    loaded once it is corrected in the source.
    """
    from totes.cli.terminal import out, show_progress
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.operations.release import release as publish
    from totes.stages.runner import run_stage
    from totes.warehouse.quarantine import find_rejected_batches

    with Resources(load_settings(), create=False) as resources, show_progress() as progress:
        to_try = batches or find_rejected_batches(resources.warehouse)
        batch, rejected_again, current = None, set[int](), set[int]()
        if to_try:
            batch = publish(resources.ingestion, to_try).batch
            for stage in ("transform", "load"):
                for _ in run_stage(resources.pipeline, stage, progress=progress):
                    pass
            tried = {*to_try, batch}
            rejected_again = tried.intersection(find_rejected_batches(resources.warehouse))
            current = tried.intersection(find_rejected_batches(resources.warehouse, history=False))
    if as_json:
        print_json({"batch": batch, "tried": to_try, "still_rejected": sorted(current)})
        return
    if batch is None:
        out().print("Quarantine is empty: there is nothing to release.")
        return
    if current:
        outcome = "some are still rejected, see `totes quarantine show`"
    elif rejected_again:
        outcome = "those that are still rejected have been replaced by newer versions"
    else:
        outcome = "all were accepted"
    out().print(f"Batch {batch} retried the rejected rows of batch {_numbers(to_try)}: {outcome}.")


def _numbers(batches: list[int]) -> str:
    return ", ".join(map(str, batches))


def _in_source(value: "UnreadableValue") -> str:
    """Return the name of the value's table as quarantine lists show it."""
    return f"{value.table} in the source"
