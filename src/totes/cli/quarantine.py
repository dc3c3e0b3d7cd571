"""`totes quarantine …`: rows that were refused, and how they get another chance."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import Annotated

import typer

app = typer.Typer(name="quarantine", no_args_is_help=True)


@app.callback()
def quarantine() -> None:
    """Rows that were set aside, and their release."""


@app.command("list")
def list_() -> None:
    """How many rows wait, by star table and reason."""
    from totes.cli.terminal import cell, out, table
    from totes.places import Places
    from totes.settings import load_settings
    from totes.warehouse.quarantine import counts

    with Places(load_settings(), make=False) as places:
        found = counts(places.warehouse)
    if not found:
        out().print("Quarantine is empty.")
        return
    rows = table(">rows", "table", "column", "reason")
    for one in found:
        cells = (f"{one.rows:,}", one.table, one.column or "", one.reason)
        rows.add_row(*map(cell, cells))
    out().print(rows)


@app.command()
def show(
    star_table: Annotated[
        str | None, typer.Argument(metavar="[TABLE]", help="Only rows of this star table.")
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows.")] = 100,
) -> None:
    """The rows that wait, and why, oldest first."""
    from totes.cli.terminal import cell, out, table
    from totes.errors import UsageError
    from totes.places import Places
    from totes.settings import load_settings
    from totes.warehouse.quarantine import refused

    with Places(load_settings(), make=False) as places:
        if star_table is not None and star_table not in places.star.tables:
            tables = ", ".join(places.star.tables)
            raise UsageError(f"There is no star table {star_table}: {tables} are all.")
        found = refused(places.warehouse, star_table, limit)
    if not found:
        out().print(f"No row of {star_table} waits." if star_table else "Quarantine is empty.")
        return
    rows = table("table", "key", "column", "value", ">batch", "reason")
    for one in found:
        value = "NULL" if one.value is None else repr(one.value)
        cells = (one.table, one.key, one.column or "", value, str(one.batch), one.reason)
        rows.add_row(*map(cell, cells))
    out().print(rows)


@app.command()
def release(
    batches: Annotated[
        list[int] | None, typer.Argument(metavar="[BATCH]…", help="Only rows of these batches.")
    ] = None,
) -> None:
    """Try refused rows again, with today's models.

    The release is a batch of its own, which goes through all stages. Rows that wait for a
    dimension row need no release: they enter by themselves.
    """
    from totes.cli.terminal import out, progress
    from totes.pipeline import steps
    from totes.places import Places
    from totes.release import release as publish
    from totes.settings import load_settings
    from totes.warehouse.quarantine import refused_batches

    with Places(load_settings(), make=False) as places, progress() as shown:
        wanted = batches or refused_batches(places.warehouse)
        if not wanted:
            out().print("Quarantine is empty: there is nothing to release.")
            return
        batch = publish(places.ingestion, wanted).batch
        for stage in ("transform", "load"):
            for _ in steps(places.pipeline, stage, progress=shown):
                pass
        tried = {*wanted, batch}
        left = tried.intersection(refused_batches(places.warehouse))
        current = tried.intersection(refused_batches(places.warehouse, history=False))
    if current:
        fate = "some are refused still: `totes quarantine show`"
    elif left:
        fate = "what is refused still has been replaced by something newer"
    else:
        fate = "all were accepted"
    out().print(f"Batch {batch} tried the refused rows of batch {_numbers(wanted)}: {fate}.")


def _numbers(batches: list[int]) -> str:
    return ", ".join(map(str, batches))
