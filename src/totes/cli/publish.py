"""`totes publish …`: the star as Iceberg tables."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import TYPE_CHECKING, Annotated

import typer

from totes.cli.output import Json, JsonLines, print_json

if TYPE_CHECKING:
    from totes.config.resources import Resources
    from totes.lakehouse.catalogue import Lakehouse

app = typer.Typer(name="publish")


@app.callback(invoke_without_command=True)
def publish(context: typer.Context, *, as_json: JsonLines = False) -> None:
    """Publish pending batches as Iceberg tables, in the catalogue of TOTES_ICEBERG_CATALOG.

    The tables have the star: every version of facts with valid_from and valid_to, and dimensions in
    their latest version. `totes run` publishes after each load.
    """
    if context.invoked_subcommand is not None:
        return
    from totes.cli.stages import show_steps
    from totes.cli.terminal import show_progress
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.error_policy import retry_iterator
    from totes.stages.runner import PUBLISH, run_stage

    with Resources(load_settings()) as resources, show_progress() as progress:
        _lakehouse(resources)
        results = retry_iterator(lambda: run_stage(resources, PUBLISH, progress=progress))
        show_steps(results, resources.alert_targets, as_json=as_json)


@app.command()
def compact(*, as_json: Json = False) -> None:
    """Merge small files of the Iceberg tables. The rows stay the same.

    It may run during a publication. Old snapshots keep their files until they expire.
    """
    from totes.cli.terminal import out
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.lakehouse.maintenance import compact as compact_tables

    with Resources(load_settings()) as resources:
        compacted = list(compact_tables(_lakehouse(resources), resources.star))
    if as_json:
        print_json(compacted)
        return
    changed = [table for table in compacted if table.files_after < table.files_before]
    for table in changed:
        out().print(f"{table.table}: {table.files_before:,} files became {table.files_after:,}")
    if not changed:
        out().print("No table has small files to merge.")


@app.command()
def expire(
    *,
    older_than: Annotated[
        str,
        typer.Option(metavar="DURATION", help="Age of what is removed, such as 7d; at least 1d."),
    ] = "30d",
    as_json: Json = False,
) -> None:
    """Remove old snapshots of the Iceberg tables, and old files that no snapshot refers to.

    The current rows and their history stay. The tables as of the batches of removed snapshots can
    no longer be read. It may run during a publication that takes less than --older-than.
    """
    from datetime import UTC, datetime, timedelta

    from totes.cli.terminal import out
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.config.values import parse_duration
    from totes.errors import UsageError
    from totes.lakehouse.maintenance import expire as expire_snapshots

    age = parse_duration(older_than, "--older-than")
    if age < timedelta(days=1):
        raise UsageError("Option --older-than must be 1d or more: younger files may be in use.")
    with Resources(load_settings()) as resources:
        before = datetime.now(UTC) - age
        expired = list(expire_snapshots(_lakehouse(resources), resources.star, before))
    if as_json:
        print_json(expired)
        return
    changed = [table for table in expired if table.snapshots or table.files]
    for table in changed:
        out().print(
            f"{table.table}: removed {table.snapshots:,} snapshots and {table.files:,} files, "
            f"{table.bytes:,} bytes"
        )
    if not changed:
        out().print(f"There is nothing older than {older_than} to remove.")


def _lakehouse(resources: "Resources") -> "Lakehouse":
    from totes.errors import UsageError

    if resources.lakehouse is None:
        raise UsageError(
            "TOTES_ICEBERG_CATALOG is not set: set it to the catalogue of the Iceberg tables."
        )
    return resources.lakehouse
