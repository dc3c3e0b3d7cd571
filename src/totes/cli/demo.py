"""The commands that need no totesys of one's own: the demonstration, and the simulated business."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from totes.demo.simulator import Event

Duration = Annotated[
    str | None, typer.Option("--for", metavar="DURATION", help="How long, such as 60s or 5m.")
]


class Mix(StrEnum):
    """What happens in the simulated business."""

    USUAL = "usual"
    HOSTILE = "hostile"


def demo(
    *,
    length: Duration = None,
    no_dashboard: Annotated[
        bool, typer.Option("--no-dashboard", help="Only the view in the terminal.")
    ] = False,
) -> None:
    """Show a business and the pipeline at work.

    Also answers from the warehouse, the dashboard beside it, and in the end the proof that it
    equals its source. Ends after the given time, or with Ctrl-C. Needs nothing: its servers and
    its lake live in TOTES_HOME.
    """
    from functools import partial
    from logging import WARNING

    from totes.cli.terminal import log, out, stopping
    from totes.cli.verify import show_verdict
    from totes.config.settings import duration, load_settings
    from totes.dashboard import server
    from totes.demo.dashboard import dashboard
    from totes.demo.run import run

    seconds = duration(length, "--for").total_seconds() if length else None
    settings = load_settings()
    console = out()
    log.setLevel(WARNING)  # the picture says the rest
    installed = server.is_installed()
    pages = None
    if installed and not no_dashboard:
        pages = partial(dashboard, look=console.is_terminal)
    with stopping() as stop:
        run(settings, console, stop, seconds=seconds, show_verdict=show_verdict, pages=pages)
    if not installed:
        console.print(server.NOT_INSTALLED)


def simulate(  # noqa: PLR0913  what a business is made of
    *,
    orders: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Fill an empty totesys with N sales orders."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="Events a second; 0 for as fast as can be. [5]"),
    ] = None,
    length: Duration = None,
    seed: Annotated[int, typer.Option(help="One seed, one history.")] = 1,
    mix: Annotated[
        Mix, typer.Option(help="As the live business behaves, or all that is legal.")
    ] = Mix.USUAL,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add a line of JSON for each commit.")
    ] = None,
    into: Annotated[
        str | None,
        typer.Option(metavar="DSN", help="The totesys to write into, instead of the embedded one."),
    ] = None,
) -> None:
    """Make a totesys, or drive one.

    Orders, payments, silent changes and more, until Ctrl-C. With --orders alone it is filled in
    one go and left alone.
    """
    from contextlib import ExitStack

    from totes.cli.terminal import out, stopping
    from totes.config.resources import Places
    from totes.config.settings import dsn, duration, load_settings
    from totes.demo import simulator

    seconds = duration(length, "--for").total_seconds() if length else None
    console = out()
    with Places(load_settings()) as places, stopping() as stop, ExitStack() as work:
        target = dsn(into, "--into") if into else places.business
        work.enter_context(simulator.reported(target))
        if orders:
            simulator.bulk(target, orders=orders, seed=seed)
            console.print(f"{orders:,} sales orders, with all that belongs to them, in {target}")
            if rate is None and seconds is None:
                return
        simulator.prepare(target)
        kinds = simulator.HOSTILE if mix is Mix.HOSTILE else simulator.USUAL
        with simulator.Simulator(target, seed=seed, mix=kinds, log=log) as business:
            pace = 5.0 if rate is None else rate or None
            for event in business.run(rate=pace, seconds=seconds, stop=stop):
                console.print(_line(event), markup=False)


def _line(event: "Event") -> str:
    return f"{event.at:%Y-%m-%d %H:%M:%S}  {event.text}"
