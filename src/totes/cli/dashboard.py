"""`totes dashboard`: the pages."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import Annotated

import typer

from totes.errors import UsageError


def dashboard(
    *,
    port: Annotated[
        int, typer.Option(min=1, max=65_535, help="Where to listen. [8501]", show_default=False)
    ] = 8501,
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen at; 0.0.0.0 is every one. [127.0.0.1: this machine only]",
            show_default=False,
        ),
    ] = "127.0.0.1",
) -> None:
    """Serve the pages that say how the business does.

    They read the warehouse of TOTES_DASHBOARD_DSN, as a role that may only read, until Ctrl-C.
    There is no login: put one before it where others can reach it.
    """
    from totes.cli.terminal import out
    from totes.config.resources import Places
    from totes.config.settings import load_settings
    from totes.dashboard import server

    if not server.is_installed():
        raise UsageError(server.NOT_INSTALLED)
    from totes.dashboard.reading import refuse_writers
    from totes.dashboard.served import Served

    with Places(load_settings(), make=False) as places:
        refuse_writers(places.dashboard)
        what = Served(places.dashboard, places.ingestion)
        server.refuse_taken(host, port)
        out().print(f"The dashboard is at {server.url(host, port)} until Ctrl-C.", markup=False)
        server.run(what, host, port)
