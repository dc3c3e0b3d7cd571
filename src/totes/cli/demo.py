"""`totes demo` and `totes simulate`: the demonstration and the simulated business."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from totes.demo.simulator import Event

Duration = Annotated[
    str | None, typer.Option("--for", metavar="DURATION", help="How long to run, such as 5m.")
]


class Mix(StrEnum):
    """The kinds of changes in the simulated business."""

    USUAL = "usual"
    HOSTILE = "hostile"


def demo(
    *,
    length: Duration = None,
    no_dashboard: Annotated[
        bool, typer.Option("--no-dashboard", help="Show the terminal view only.")
    ] = False,
) -> None:
    """Run a simulated business, the pipeline and the dashboard.

    Shows the business's changes, the batches, and answers from the warehouse. Ends after the given
    time or with Ctrl-C, and then verifies that the warehouse equals its source. Needs no
    installation: its database servers and its lake are in TOTES_HOME.
    """
    from functools import partial
    from logging import WARNING

    from totes.cli.terminal import log, out, stop_on_signals
    from totes.cli.verify import show_result
    from totes.config.settings import load_settings
    from totes.config.values import parse_duration
    from totes.dashboard.server.packages import NOT_INSTALLED, is_installed
    from totes.demo.dashboard import dashboard
    from totes.demo.run import run

    seconds = parse_duration(length, "--for").total_seconds() if length else None
    settings = load_settings()
    console = out()
    log.setLevel(WARNING)  # the view shows the rest
    installed = is_installed()
    serve_dashboard = None
    if installed and not no_dashboard:
        serve_dashboard = partial(dashboard, open_browser=console.is_terminal)
    with stop_on_signals() as stop:
        run(
            settings,
            console,
            stop,
            seconds=seconds,
            show_result=show_result,
            serve_dashboard=serve_dashboard,
        )
    if not installed:
        console.print(NOT_INSTALLED)


def simulate(  # noqa: PLR0913  one parameter for each option
    *,
    orders: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Fill an empty totesys with N sales orders."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="Events per second; 0 for no limit. [5]"),
    ] = None,
    length: Duration = None,
    seed: Annotated[
        int,
        typer.Option(help="Random seed; on the same day, the same seed makes the same orders."),
    ] = 1,
    mix: Annotated[
        Mix, typer.Option(help="Usual changes only, or all that the schema allows.")
    ] = Mix.USUAL,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append a line of JSON for each commit to this file."),
    ] = None,
    into: Annotated[
        str | None,
        typer.Option(metavar="DSN", help="Database to write to, instead of the embedded totesys."),
    ] = None,
) -> None:
    """Fill totesys with a simulated business, or keep changing it.

    Makes orders, payments, changes that leave last_updated as it is, and more until Ctrl-C: first
    for the time since the newest order, then in real time. With --orders alone, it fills an empty
    totesys with orders until yesterday, and exits.
    """
    from contextlib import ExitStack
    from datetime import timedelta

    from totes.cli.terminal import out, stop_on_signals
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.config.values import parse_dsn, parse_duration
    from totes.demo import simulator

    seconds = parse_duration(length, "--for").total_seconds() if length else None
    console = out()
    with Resources(load_settings()) as resources, stop_on_signals() as stop, ExitStack() as work:
        target = parse_dsn(into, "--into") if into else resources.source_owner
        work.enter_context(simulator.totesys_errors(target))
        if orders:
            yesterday = simulator.wall_clock().date() - timedelta(days=1)
            simulator.bulk(target, orders=orders, seed=seed, last_day=yesterday)
            console.print(f"{orders:,} sales orders, with all that belongs to them, in {target}")
            if rate is None and seconds is None:
                return
        simulator.prepare(target)
        kinds = simulator.HOSTILE if mix is Mix.HOSTILE else simulator.USUAL
        with simulator.Simulator(
            target, seed=seed, mix=kinds, clock=simulator.wall_clock, log=log
        ) as business:
            pace = 5.0 if rate is None else rate or None
            for event in business.run(rate=pace, seconds=seconds, stop=stop):
                console.print(_line(event), markup=False)


def _line(event: "Event") -> str:
    return f"{event.at:%Y-%m-%d %H:%M:%S}  {event.text}"
