"""`totes erase`: remove a person's data."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import Annotated

import typer

from totes.cli.output import Json, print_json


def erase(
    table: Annotated[str, typer.Argument(help="Source table.")],
    key: Annotated[list[str], typer.Argument(help="Primary key of the row.")],
    *,
    columns: Annotated[
        str, typer.Option(metavar="NAMES", help="Columns to erase, comma-separated.")
    ],
    into: Annotated[
        str,
        typer.Option(
            metavar="URL", help="A new, empty ingestion store; the old one is not changed."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Copy the ingestion store without a person's data.

    In all earlier versions of the row, these columns get the newest version's values: overwrite
    them in the source and ingest the change first. docs/guarantees.md lists the steps that follow.
    """
    from totes.cli.terminal import out, show_progress
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.config.values import parse_path_or_url
    from totes.lake import open_store
    from totes.operations.erase import Erasure
    from totes.operations.erase import erase as rewrite

    target = parse_path_or_url(into, "--into")
    erasure = Erasure(table, tuple(key), tuple(name.strip() for name in columns.split(",")))
    with Resources(load_settings(), create=False) as resources, show_progress() as progress:
        result = rewrite(resources.ingestion, open_store(target), erasure, progress)
    if as_json:
        print_json(result)
        return
    out().print(f"{result.batches} batches written, {result.versions} versions altered.")
