"""`totes log …`: the replication slot in the source."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

import typer

from totes.cli.output import Json, print_json

app = typer.Typer(name="log", no_args_is_help=True)


@app.callback()
def log() -> None:
    """Manage the capture from the source's write-ahead log."""


@app.command()
def drop(*, as_json: Json = False) -> None:
    """Drop the replication slot in the source.

    The source then retains no write-ahead log for the platform. If TOTES_CAPTURE is still log, the
    next capture scans all tables and re-creates the slot; row versions that were overwritten in
    between are missing.
    """
    from totes.cli.terminal import out
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.source.log.slot import drop_slot
    from totes.source.session import connect

    settings = load_settings()
    with Resources(settings, create=False) as resources, connect(resources.source) as connection:
        drop_slot(connection, settings.log_slot)
    if as_json:
        print_json({"dropped": settings.log_slot})
        return
    out().print(f"Slot {settings.log_slot} is dropped.", markup=False)
