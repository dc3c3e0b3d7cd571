"""Measurements of commands, and the tables that show them."""

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from totes.config.dsn import Dsn

SAMPLE_SECONDS = 0.02


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


@dataclass(frozen=True)
class CopyMeasurement(Measurement):
    """A measurement of a copy from database to database, and how it compares with the source.

    `arrived` counts the rows that the copy has with the same values as the source, `changes_missed`
    those that it lacks or has with other values, `deletes_missed` those that the source no longer
    has.
    """

    arrived: int = 0
    changes_missed: int = 0
    deletes_missed: int = 0


def show(results: Sequence[Measurement]) -> None:
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


def show_copies(copies: Sequence[CopyMeasurement]) -> None:
    """Print the table of copies from database to database."""
    table = Table(
        *("copied by", "seconds", "processor", "servers", "MB"),
        *("rows that arrived", "changes missed", "deletes missed"),
    )
    for one in copies:
        table.add_row(
            one.name,
            f"{one.seconds:.2f}",
            f"{one.processor:.2f}",
            f"{one.servers:.2f}",
            f"{one.megabytes:.0f}",
            *(f"{count:,}" for count in (one.arrived, one.changes_missed, one.deletes_missed)),
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
        if least and all(name in by_name for by_name in seconds.values()):
            cells = [f"{by_name[name]:.2f}" for by_name in seconds.values()]
            table.add_row(name, *cells, *(f"{seconds[one][name] / least:.1f}" for one in others))
    _print(table)


def _print(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def measure_commands(
    commands: Sequence[Sequence[str]],
    environment: Mapping[str, str],
    servers: Sequence[Dsn],
    name: str,
) -> Measurement:
    """Run commands one after the other, which must succeed, and measure them together."""
    used_by_servers = server_seconds(*servers)
    used = processor_seconds(resource.RUSAGE_CHILDREN)
    peak = seen = 0.0
    began = time.perf_counter()
    for command in commands:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        with _watched(process.pid) as watched:
            output, _ = process.communicate()
        peak = max(peak, watched.peak_bytes)
        seen += sum(watched.processor_seconds.values())
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} exited {process.returncode}:\n{output}")
    seconds = time.perf_counter() - began
    # What the system counts lacks processes that a command does not wait for: Java's.
    used = max(processor_seconds(resource.RUSAGE_CHILDREN) - used, seen)
    used_by_servers = server_seconds(*servers) - used_by_servers
    return Measurement(name, seconds, used, used_by_servers, peak / 1e6)


@dataclass
class _Watched:
    """What samples of a process and its children have seen."""

    peak_bytes: float = 0.0
    processor_seconds: dict[psutil.Process, float] = field(default_factory=dict)


@contextmanager
def _watched(pid: int) -> Iterator[_Watched]:
    """Sample a process and its children until the end of the block."""
    watched, done = _Watched(), threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                family = [process, *process.children(recursive=True)]
                used = sum(member.memory_info().rss for member in family)
                watched.peak_bytes = max(watched.peak_bytes, used)
                for member in family:
                    times = member.cpu_times()
                    watched.processor_seconds[member] = times.user + times.system

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield watched
    finally:
        done.set()
        thread.join()


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
