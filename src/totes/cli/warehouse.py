"""`totes warehouse …`: manage the warehouse's tables."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

import typer

from totes.cli.report import Json, report

app = typer.Typer(name="warehouse", no_args_is_help=True)


@app.callback()
def warehouse() -> None:
    """Manage the warehouse's tables."""


@app.command()
def migrate(*, as_json: Json = False) -> None:
    """Create or upgrade the warehouse's tables."""
    from totes.cli.terminal import out
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.error_policy import retry
    from totes.stages.runner import check_is_not_source
    from totes.warehouse.schema import migrate as migrate_warehouse

    with Resources(load_settings()) as resources:
        retry(lambda: check_is_not_source(resources.ingestion, resources.warehouse))
        applied = retry(lambda: migrate_warehouse(resources.warehouse, resources.star))
    if as_json:
        report({"applied": list(applied)})
        return
    for name in applied:
        out().print(f"added {name}")
    if not applied:
        out().print("The warehouse is up to date.")
