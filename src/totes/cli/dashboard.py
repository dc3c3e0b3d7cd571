"""`totes dashboard`: serve the dashboard."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import Annotated

import typer


def dashboard(
    *,
    port: Annotated[
        int, typer.Option(min=1, max=65_535, help="Port to listen on. [8501]", show_default=False)
    ] = 8501,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; 0.0.0.0 for all. [127.0.0.1: this machine only]",
            show_default=False,
        ),
    ] = "127.0.0.1",
    without_sign_in: Annotated[
        bool,
        typer.Option(
            "--without-sign-in",
            help="Show all pages to everyone who reaches the address, such as the users of a "
            "proxy that authenticates them.",
        ),
    ] = False,
    viewers_only: Annotated[
        bool,
        typer.Option(
            "--viewers-only",
            help="As --without-sign-in, but without the pages about the pipeline, values in "
            "quarantine, and saved views.",
        ),
    ] = False,
) -> None:
    """Serve the dashboard until Ctrl-C.

    Its pages show a copy of the warehouse of TOTES_DASHBOARD_DSN or TOTES_DASHBOARD_SECRET, which
    is read with a read-only role. The copy is in TOTES_HOME/replica and follows the warehouse.
    Users sign in if TOTES_DASHBOARD_OIDC_URL is set; addresses other than 127.0.0.1 need that,
    --without-sign-in or --viewers-only.
    """
    from totes.cli.terminal import out
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.config.sign_in import sign_in
    from totes.dashboard.server.packages import require_packages

    require_packages()
    from totes.dashboard.bookkeeping import refuse_writers
    from totes.dashboard.config_file import load_config
    from totes.dashboard.explore.saved import SavedViews
    from totes.dashboard.preferences import Preferences, check_logo
    from totes.dashboard.replica import open_replica, replica_folder
    from totes.dashboard.server import web_server
    from totes.dashboard.server.backends import Backends

    settings = load_settings()
    is_open = without_sign_in or viewers_only
    configured = None if is_open else sign_in(settings)
    if configured is None and not is_open:
        web_server.refuse_without_sign_in(host)
    if settings.dashboard_logo is not None:
        check_logo(settings.dashboard_logo)
    preferences = Preferences.of(settings, configured, viewers_only=viewers_only)
    goals = load_config(settings.dashboard_file).goal
    with Resources(settings, create=False) as resources:
        refuse_writers(resources.dashboard)
        web_server.check_address(host, port)
        folder = replica_folder(settings.home, resources.dashboard)
        memory_mb = settings.dashboard_memory
        with open_replica(folder, resources.dashboard, memory_mb=memory_mb) as replica:
            out().print(
                f"The dashboard is at {web_server.url(host, port)} until Ctrl-C.", markup=False
            )
            # With --viewers-only users are anonymous, so none of them may save or delete views.
            views = None if viewers_only else SavedViews(settings.home / "views")
            backends = Backends(replica, resources.ingestion, views, goals)
            web_server.run(backends, preferences, host, port)
