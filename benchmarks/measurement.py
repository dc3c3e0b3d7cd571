"""Measurements, and the table that shows them."""

import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from totes.config.settings import Dsn


@dataclass(frozen=True)
class Measurement:
    """One line of the table: seconds, peak megabytes, and the most seconds it should take.

    `processor` are the processor's seconds of all threads and child processes, `servers` those of
    the PostgreSQL servers.
    """

    name: str
    seconds: float
    processor: float | None = None
    servers: float | None = None
    megabytes: float | None = None
    target: float | None = None
    note: str = ""


def show(results: list[Measurement]) -> None:
    """Print the table. A time above its target is marked with an exclamation mark."""
    table = Table("measured", "seconds", "processor", "servers", "MB", "target", "filter, size")
    for one in results:
        is_late = one.target is not None and one.seconds > one.target
        table.add_row(
            one.name,
            f"{one.seconds:.3f}{' !' if is_late else ''}",
            "" if one.processor is None else f"{one.processor:.3f}",
            "" if one.servers is None else f"{one.servers:.2f}",
            "" if one.megabytes is None else f"{one.megabytes:.0f}",
            "" if one.target is None else f"< {one.target:.3g} s",
            one.note,
        )
    _print(table)


def show_growth(runs: dict[int, list[Measurement]]) -> None:
    """Print the seconds by number of orders, and their ratio to those of the fewest orders."""
    first, *others = runs
    seconds = {orders: {one.name: one.seconds for one in run} for orders, run in runs.items()}
    table = Table(
        "measured", *(f"{orders:,}" for orders in runs), *(f"÷ {first:,}" for _ in others)
    )
    for name, least in seconds[first].items():
        if all(name in by_name for by_name in seconds.values()):
            cells = [f"{by_name[name]:.2f}" for by_name in seconds.values()]
            table.add_row(name, *cells, *(f"{seconds[one][name] / least:.1f}" for one in others))
    _print(table)


def _print(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def processor_seconds(who: int = resource.RUSAGE_SELF) -> float:
    """Return the processor's seconds of this process, or of its ended children."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def server_seconds(*servers: Dsn) -> float:
    """Return the processor's seconds of embedded servers since their start."""
    seconds = 0.0
    for server in servers:
        folder = Path(str(server.parts["host"])).parent
        pid = int((folder / "data/postmaster.pid").read_text().split()[0])
        postmaster = psutil.Process(pid).cpu_times()
        seconds += postmaster.children_user + postmaster.children_system  # of ended sessions
        seconds += tree_seconds(pid)
    return seconds


def tree_seconds(pid: int) -> float:
    """Return the processor's seconds of a process and of its children that run."""
    process = psutil.Process(pid)
    seconds = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            seconds += times.user + times.system
    return seconds
