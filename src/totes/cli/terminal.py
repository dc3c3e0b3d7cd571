"""What people see: two consoles, progress and log lines, moments and ages in words."""

import logging
import os
import signal
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Lock, Thread
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from totes.progress import Progress

LOG_EVERY_SECONDS = 5.0

PIPED_COLUMNS = 100

log = logging.getLogger("totes")


_with_bar: list[Console] = []
"""The console of standard output while a bar is drawn on it: `out()` must return the same."""


def out() -> Console:
    """Standard output, for what was asked for."""
    if _with_bar:
        return _with_bar[-1]
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_COLUMNS
    return console


def err() -> Console:
    """Standard error, for what happens meanwhile."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def table(*headings: str, **options: Any) -> Table:
    """A table without lines; headings that begin with `>` are of numbers."""
    made = Table(box=None, pad_edge=False, header_style="dim", **options)
    for heading in headings:
        made.add_column(heading.lstrip(">"), justify="right" if heading[:1] == ">" else "left")
    return made


_TURNS_LINES = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def printable(text: str) -> str:
    """Text of others as one line that a terminal shows and doesn't obey.

    What moves the cursor, ends the line or turns it around is shown as Python escapes it.
    """
    return "".join(
        ascii(character)[1:-1]
        if unicodedata.category(character) in {"Cc", "Zl", "Zp"}
        or unicodedata.bidirectional(character) in _TURNS_LINES
        else character
        for character in text
    )


def cell(text: str) -> Text:
    """Such a text in a table, whose cells may hold markup."""
    return Text(printable(text))


def moment(at: datetime | None) -> str:
    return "never" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def age(span: timedelta | None) -> str:
    """`3 s`, `12 min`, `2.5 h`, `3 d`."""
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
    """Progress where nobody looks on: a line now and then, and none for what is quickly done."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.start("")

    def start(
        self,
        what: str,
        total: int | None = None,
        batch: int | None = None,  # noqa: ARG002  `what` names it
    ) -> None:
        self._what, self._total, self._rows = what, total, 0
        self._told = time.monotonic()

    def advance(self, rows: int) -> None:
        with self._lock:
            self._rows += rows
            if time.monotonic() - self._told < LOG_EVERY_SECONDS:
                return
            self._told = time.monotonic()
            of = f" of {self._total:,}" if self._total else ""
            log.info("%s: %s%s rows", self._what, f"{self._rows:,}", of)


class Bar:
    """Progress on a terminal: one bar, for the work in hand."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task = bars.add_task("", total=None, visible=False)

    def start(
        self,
        what: str,
        total: int | None = None,
        batch: int | None = None,  # noqa: ARG002  `what` names it
    ) -> None:
        self._bars.remove_task(self._task)
        self._task = self._bars.add_task(what, total=total)

    def advance(self, rows: int) -> None:
        self._bars.advance(self._task, rows)


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar on a terminal, log lines elsewhere; the bar is gone afterwards.

    Where standard output is a terminal, too, the bar is drawn there, below what `out()` prints.
    """
    if not err().is_interactive:
        yield LogLines()
        return
    console = out() if out().is_interactive else err()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
    )
    _with_bar.extend([] if console.stderr else [console])
    try:
        with Bars(*columns, console=console, transient=True) as bars:
            yield Bar(bars)
    finally:
        _with_bar.clear()


class _Formatter(logging.Formatter):
    """A message in one line, whatever names of the source it repeats."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging names it
        record.message = printable(record.message)
        return super().formatMessage(record)


class _Lines(logging.Handler):
    """Log records on standard error, whoever owns it just now (a bar takes it over)."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)  # noqa: T201


def start_logging(*, debug: bool) -> None:
    """The platform's own log lines on standard error; with the time where nobody looks on."""
    handler = _Lines()
    form = "%(message)s" if sys.stderr.isatty() else "%(asctime)s %(levelname)s %(message)s"
    handler.setFormatter(_Formatter(form))
    log.handlers = [handler]
    log.setLevel(logging.DEBUG if debug else logging.INFO)


@contextmanager
def stopping() -> Iterator[Event]:
    """An event that Ctrl-C or SIGTERM sets; asked once more, they interrupt."""
    stop = Event()
    asked = False

    def comply() -> None:
        stop.set()
        log.info("Stopping after the work in hand; ask again to stop at once.")

    def ask(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # Not from here: the thread that is interrupted may hold the event's own lock.
        Thread(target=comply).start()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
