"""`totes warehouse …`: create the warehouse, and manage its tables."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import Annotated

import typer

from totes.cli.output import Json, print_json

app = typer.Typer(name="warehouse", no_args_is_help=True)


@app.callback()
def warehouse() -> None:
    """Create the warehouse, and manage its tables."""


@app.command()
def create(
    *,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Write new passwords, even if the secrets have logins already, or those of "
            "another database.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Create the warehouse's roles and database, and write its logins into secrets of AWS.

    The server is TOTES_WAREHOUSE_HOST, and TOTES_WAREHOUSE_MASTER_SECRET has the login of its
    master. The loader's login is written into TOTES_WAREHOUSE_SECRET, the dashboard's into
    TOTES_DASHBOARD_SECRET; both must exist. Run again, it creates what is missing, and gives the
    roles the passwords of the secrets.
    """
    from totes.cli.terminal import out
    from totes.config.settings import load_settings
    from totes.error_policy import retry
    from totes.operations.warehouse_creation import create_warehouse

    settings = load_settings()
    created = retry(lambda: create_warehouse(settings, replace=replace))
    if as_json:
        print_json({"created": created})
        return
    for what in created:
        out().print(f"created {what}")
    if not created:
        out().print("The warehouse is complete.")


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
        print_json({"applied": list(applied)})
        return
    for name in applied:
        out().print(f"added {name}")
    if not applied:
        out().print("The warehouse is up to date.")
