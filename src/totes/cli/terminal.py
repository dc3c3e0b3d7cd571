"""Terminal output: consoles, tables, progress bars, log lines, and the format of times."""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Lock, Thread
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from totes.escape import escape_controls
from totes.progress import Progress as ReportsProgress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.table import Table

LOG_EVERY_SECONDS = 5.0

PIPED_COLUMNS = 100

log = logging.getLogger("totes")


_bar_consoles: list[Console] = []
"""The console of standard output while a bar is drawn on it, which `out()` must return."""


def out() -> Console:
    """Return the console of standard output, for results."""
    if _bar_consoles:
        return _bar_consoles[-1]
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_COLUMNS
    return console


def err() -> Console:
    """Return the console of standard error, for progress and log lines."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def table(*headings: str, **options: Any) -> "Table":
    """Return a table without borders; a heading that begins with `>` aligns its column right."""
    from rich.table import Table  # noqa: PLC0415  slow to import

    result = Table(box=None, pad_edge=False, header_style="dim", **options)
    for heading in headings:
        result.add_column(heading.lstrip(">"), justify="right" if heading[:1] == ">" else "left")
    return result


def cell(text: str) -> Text:
    """Return untrusted text as a table cell, without markup."""
    return Text(escape_controls(text))


def format_time(at: datetime | None) -> str:
    """Format a time in UTC to the second, such as `2026-11-29 01:36:00 UTC`."""
    return "never" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def format_duration(span: timedelta | None) -> str:
    """Format a duration as `3 s`, `12 min`, `2.5 h` or `3 d`."""
    if span is None:
        return "never"
    seconds = max(span.total_seconds(), 0)
    for limit, unit, digits, name in (
        (120, 1, 0, "s"),
        (7200, 60, 0, "min"),
        (172_800, 3600, 1, "h"),
    ):
        if seconds < limit:
            return f"{seconds / unit:.{digits}f} {name}"
    return f"{seconds / 86_400:.0f} d"


class LogLines:
    """Progress as log lines, every few seconds; none for work that is done sooner."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.start("")

    def start(
        self,
        what: str,
        total: int | None = None,
        batch: int | None = None,  # noqa: ARG002  `what` names it
    ) -> None:
        """Begin a piece of work of `total` rows."""
        self._what, self._total, self._rows = what, total, 0
        self._logged_at = time.monotonic()

    def advance(self, rows: int) -> None:
        """Count rows, and log the count if the last line is old enough."""
        with self._lock:
            self._rows += rows
            if time.monotonic() - self._logged_at < LOG_EVERY_SECONDS:
                return
            self._logged_at = time.monotonic()
            of = f" of {self._total:,}" if self._total else ""
            log.info("%s: %s%s rows", self._what, f"{self._rows:,}", of)


class Bar:
    """Progress on a terminal: one bar, for the current piece of work."""

    def __init__(self, bars: "Bars") -> None:
        self._bars = bars
        self._task = bars.add_task("", total=None, visible=False)

    def start(
        self,
        what: str,
        total: int | None = None,
        batch: int | None = None,  # noqa: ARG002  `what` names it
    ) -> None:
        """Replace the bar by one for `total` rows."""
        self._bars.remove_task(self._task)
        self._task = self._bars.add_task(what, total=total)

    def advance(self, rows: int) -> None:
        """Move the bar on by a number of rows."""
        self._bars.advance(self._task, rows)


@contextmanager
def show_progress() -> Iterator[ReportsProgress]:
    """Yield a progress bar on a terminal, or log lines elsewhere; the bar is removed at the end.

    If standard output is a terminal, too, the bar is drawn there, below what `out()` prints.
    """
    if not err().is_interactive:
        yield LogLines()
        return
    from rich.progress import (  # noqa: PLC0415  slow to import
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    console = out() if out().is_interactive else err()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
    )
    _bar_consoles.extend([] if console.stderr else [console])
    try:
        with Progress(*columns, console=console, transient=True) as bars:
            yield Bar(bars)
    finally:
        _bar_consoles.clear()


class _Formatter(logging.Formatter):
    """Formats a message as one line, even with names of the source that contain line breaks."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        record.message = escape_controls(record.message)
        return super().formatMessage(record)


class _StderrHandler(logging.Handler):
    """Prints log records to `sys.stderr`, which a progress bar replaces."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)  # noqa: T201


def start_logging(*, debug: bool) -> None:
    """Log to standard error; with time and level unless that is a terminal."""
    handler = _StderrHandler()
    line_format = "%(message)s" if sys.stderr.isatty() else "%(asctime)s %(levelname)s %(message)s"
    handler.setFormatter(_Formatter(line_format))
    log.handlers = [handler]
    log.setLevel(logging.DEBUG if debug else logging.INFO)


@contextmanager
def stop_on_signals() -> Iterator[Event]:
    """Yield an event that Ctrl-C or SIGTERM sets; a second signal raises KeyboardInterrupt."""
    stop = Event()
    requested = False

    def request_stop() -> None:
        stop.set()
        log.info("Stopping after the current batch; press Ctrl-C again to stop at once.")

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True
        # In another thread: the interrupted one may hold the event's own lock.
        Thread(target=request_stop).start()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
