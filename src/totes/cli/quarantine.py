"""`totes quarantine …`: rows that were refused, and how they get another chance."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from totes.cli.report import Json, report

if TYPE_CHECKING:
    from totes.operations.unreadable import Value

app = typer.Typer(name="quarantine", no_args_is_help=True)


@app.callback()
def quarantine() -> None:
    """Rows that were set aside, and their release."""


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """Count rows in quarantine, by table, column and reason.

    Also values that can't be read in totesys.
    """
    from totes.cli.terminal import cell, out, table
    from totes.config.resources import Places
    from totes.config.settings import load_settings
    from totes.operations.unreadable import unreadable
    from totes.warehouse.quarantine import Count, counts

    with Places(load_settings(), make=False) as places:
        found = counts(places.warehouse)
        values = unreadable(places.ingestion)
    by_reason = Counter((_in_totesys(one), one.column, one.reason) for one in values)
    found += [Count(rows, *group) for group, rows in sorted(by_reason.items())]
    if as_json:
        report(found)
        return
    if not found:
        out().print("Quarantine is empty.")
        return
    shown = table(">rows", "table", "column", "reason")
    for one in found:
        cells = (f"{one.rows:,}", one.table, one.column or "", one.reason)
        shown.add_row(*map(cell, cells))
    out().print(shown)


@app.command()
def show(
    star_table: Annotated[
        str | None, typer.Argument(metavar="[TABLE]", help="Only rows of this star table.")
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows.")] = 100,
    as_json: Json = False,
) -> None:
    """List rows in quarantine and the reasons, oldest first.

    After them come values that can't be read in totesys.
    """
    from totes.cli.terminal import cell, out, table
    from totes.config.resources import Places
    from totes.config.settings import load_settings
    from totes.errors import UsageError
    from totes.operations.unreadable import unreadable
    from totes.warehouse.quarantine import Refused, refused

    with Places(load_settings(), make=False) as places:
        if star_table is not None and star_table not in places.star.tables:
            tables = ", ".join(places.star.tables)
            raise UsageError(f"There is no star table {star_table}: {tables} are all.")
        found = refused(places.warehouse, star_table, limit)
        values = [] if star_table else unreadable(places.ingestion)
    found += [
        Refused(None, _in_totesys(one), one.key, one.column, None, one.reason) for one in values
    ]
    del found[limit:]
    if as_json:
        report(found)
        return
    if not found:
        out().print(f"No row of {star_table} waits." if star_table else "Quarantine is empty.")
        return
    rows = table("table", "key", "column", "value", ">batch", "reason")
    for row in found:
        value = "NULL" if row.value is None else repr(row.value)
        batch = "" if row.batch is None else str(row.batch)
        cells = (row.table, row.key, row.column or "", value, batch, row.reason)
        rows.add_row(*map(cell, cells))
    out().print(rows)


@app.command()
def release(
    batches: Annotated[
        list[int] | None, typer.Argument(metavar="[BATCH]…", help="Only rows of these batches.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Try refused rows again, with today's models.

    The release is a batch of its own, which goes through all stages. Rows that wait for a
    dimension row need no release: they enter by themselves. So do rows with a value that can't be
    read in totesys, once it is corrected there.
    """
    from totes.cli.terminal import out, progress
    from totes.config.resources import Places
    from totes.config.settings import load_settings
    from totes.operations.release import release as publish
    from totes.stages.runner import steps
    from totes.warehouse.quarantine import refused_batches

    with Places(load_settings(), make=False) as places, progress() as shown:
        wanted = batches or refused_batches(places.warehouse)
        batch, left, current = None, set[int](), set[int]()
        if wanted:
            batch = publish(places.ingestion, wanted).batch
            for stage in ("transform", "load"):
                for _ in steps(places.pipeline, stage, progress=shown):
                    pass
            tried = {*wanted, batch}
            left = tried.intersection(refused_batches(places.warehouse))
            current = tried.intersection(refused_batches(places.warehouse, history=False))
    if as_json:
        report({"batch": batch, "tried": wanted, "refused": sorted(current)})
        return
    if batch is None:
        out().print("Quarantine is empty: there is nothing to release.")
        return
    if current:
        fate = "some are refused still: `totes quarantine show`"
    elif left:
        fate = "what is refused still has been replaced by something newer"
    else:
        fate = "all were accepted"
    out().print(f"Batch {batch} tried the refused rows of batch {_numbers(wanted)}: {fate}.")


def _numbers(batches: list[int]) -> str:
    return ", ".join(map(str, batches))


def _in_totesys(value: "Value") -> str:
    """The source table of a value, as the tables of the quarantine are listed."""
    return f"{value.table} in totesys"
