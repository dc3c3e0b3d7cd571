"""`totes warehouse …`: its tables."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

import typer

from totes.cli.report import Json, report

app = typer.Typer(name="warehouse", no_args_is_help=True)


@app.callback()
def warehouse() -> None:
    """The warehouse's own tables."""


@app.command()
def migrate(*, as_json: Json = False) -> None:
    """Create or upgrade the warehouse's tables."""
    from totes.cli.terminal import out
    from totes.config.resources import Places
    from totes.config.settings import load_settings
    from totes.policy import persistently
    from totes.stages.runner import refuse_source
    from totes.warehouse.schema import migrate as bring_up

    with Places(load_settings()) as places:
        persistently(lambda: refuse_source(places.ingestion, places.warehouse))
        applied = persistently(lambda: bring_up(places.warehouse, places.star))
    if as_json:
        report({"applied": list(applied)})
        return
    for name in applied:
        out().print(f"added {name}")
    if not applied:
        out().print("The warehouse is up to date.")
