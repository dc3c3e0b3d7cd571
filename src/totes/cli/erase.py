"""`totes erase`: a person's data, on an operator's word."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import Annotated

import typer

from totes.cli.report import Json, report


def erase(
    table: Annotated[str, typer.Argument(help="The table of totesys.")],
    key: Annotated[list[str], typer.Argument(help="The row's primary key.")],
    *,
    columns: Annotated[
        str, typer.Option(metavar="NAMES", help="Columns to erase, comma-separated.")
    ],
    into: Annotated[
        str, typer.Option(metavar="URL", help="A new, empty ingestion store: the old one stays.")
    ],
    as_json: Json = False,
) -> None:
    """Write the ingestion store anew without a person's data.

    Earlier versions of the row get what the newest says in these columns: change it in totesys
    and ingest first. What then remains to be done is in docs/guarantees.md.
    """
    from totes.cli.terminal import out, progress
    from totes.config.resources import Places
    from totes.config.settings import load_settings, location
    from totes.lake import open_store
    from totes.operations.erase import Erasure
    from totes.operations.erase import erase as rewrite

    target = location(into, "--into")
    wanted = Erasure(table, tuple(key), tuple(name.strip() for name in columns.split(",")))
    with Places(load_settings(), make=False) as places, progress() as shown:
        done = rewrite(places.ingestion, open_store(target), wanted, shown)
    if as_json:
        report(done)
        return
    out().print(f"{done.batches} batches written, {done.versions} versions altered.")
