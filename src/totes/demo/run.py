"""The demonstration: a business at work, the pipeline behind it, and the warehouse's answers."""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from math import inf
from pathlib import Path
from shlex import quote
from shutil import which
from threading import Event
from time import monotonic

from psycopg.conninfo import make_conninfo
from rich.console import Console, RenderableType
from rich.live import Live

from totes.config.resources import Places
from totes.config.settings import PREFIX, Dsn, Settings
from totes.demo import simulator
from totes.demo.answers import Answers, ask
from totes.demo.simulator import Kind
from totes.demo.simulator.filling import connect
from totes.demo.view import BATCHES, EVENTS, Scene, picture
from totes.embedded.servers import binary
from totes.errors import UsageError
from totes.operations.verify import Verdict, verify
from totes.stages.runner import STAGES, Done, run_once
from totes.stages.runner import run as keep_running

ORDERS = 1_000
"""Sales orders to begin with: eight weeks of business."""

MIX = {**simulator.USUAL, Kind.SILENT: 8, Kind.ADDRESS: 1, Kind.TRANSFER: 1, Kind.SETTLE: 1}
"""As usual, but with silent changes enough to watch, and somebody who goes after late payers."""

RATE = 4.0
"""Events a second: a day of business every ten seconds."""

EVERY = timedelta(seconds=1)

FRAMES_A_SECOND = 5

_PLACES = (
    "source_dsn",
    "warehouse_dsn",
    "source_secret",
    "warehouse_secret",
    "ingestion_url",
    "processed_url",
)
"""Settings that name the places of a real pipeline."""

SEED = 1


def run(  # noqa: PLR0913  what a demonstration is made of
    settings: Settings,
    console: Console,
    stop: Event,
    *,
    seconds: float | None,
    show_verdict: Callable[[Console, Verdict], None],
    pages: Callable[[Settings], AbstractContextManager[str]] | None = None,
) -> None:
    """Show it for `seconds`, or until `stop`; then prove it and say what to try next.

    `pages` serves the dashboard meanwhile and tells where.
    """
    if named := [f"{PREFIX}{name.upper()}" for name in _PLACES if getattr(settings, name)]:
        raise UsageError(
            f"The demo makes a business of its own in TOTES_HOME: unset {', '.join(named)}."
        )
    with Places(settings) as places:
        console.print(
            f"Two PostgreSQL servers, a lake and eight weeks of business in {settings.home} …",
            markup=False,
        )
        show = _Show(console)
        for _ in _opening(places, show, prove=pages is not None):
            if stop.is_set():
                console.print("Stopped; the next `totes demo` goes on from here.", markup=False)
                return
        pipeline = places.pipeline
        with ExitStack() as beside:
            if pages is not None:
                show.address = beside.enter_context(pages(settings))
                console.print(f"The dashboard: {show.address}", markup=False)
            _play(places, show, stop, seconds)
        show.address = ""
        for done in run_once(pipeline):
            show.watch(done)
        show.ask(places.analyst)
        console.print(show.picture())
        show_verdict(console, verify(pipeline))
        console.print(_next(settings, places.analyst), markup=False)


def _opening(places: Places, show: "_Show", *, prove: bool) -> Iterator[None]:
    """The steps before the show; it may be stopped after each."""
    totesys = places.business
    yield
    _begin(totesys)
    yield
    pipeline = places.pipeline
    yield
    for done in run_once(pipeline):
        show.watch(done)
        yield
    if prove:
        verify(pipeline)  # the dashboard tells when that was
        yield


def _begin(totesys: Dsn) -> None:
    """Eight weeks of business that end about today, unless there is some already."""
    with connect(totesys) as connection:
        known = connection.execute("SELECT FROM sales_order LIMIT 1").fetchone()
    if known is None:
        first_day = datetime.now(UTC).date() - timedelta(weeks=9)
        simulator.bulk(totesys, orders=ORDERS, seed=SEED, first_day=first_day, settled=True)


class _Show:
    """What there is to see, gathered from the threads that make it happen."""

    def __init__(self, console: Console) -> None:
        self.address = ""
        self._console = console
        self._events: deque[simulator.Event] = deque(maxlen=EVENTS)
        self._steps: deque[Done] = deque(maxlen=len(STAGES) * BATCHES)
        self._answers = Answers()

    def happened(self, event: simulator.Event) -> None:
        self._events.append(event)
        self._say(f"{event.at:%a %d %b %H:%M}  {event.text}")

    def watch(self, done: Done) -> None:
        if done.batch is not None:
            self._steps.append(done)
            self._say(f"batch {done.batch}: {done.stage}, {done.rows:,} rows")

    def _say(self, line: str) -> None:
        """Where no picture can move, a line says it."""
        if not self._console.is_interactive:
            self._console.print(line, markup=False)

    def ask(self, warehouse: Dsn) -> None:
        """Have the warehouse answer again, once it has anything."""
        if any(step.stage == "load" for step in tuple(self._steps)) or self._answers.data_to:
            self._answers = ask(warehouse)

    def picture(self, rows: int | None = None) -> RenderableType:
        events, steps = tuple(self._events), tuple(self._steps)
        scene = Scene(datetime.now(UTC), events, steps, self._answers, self.address)
        return picture(scene, self._console.width, rows)

    @contextmanager
    def live(self) -> Iterator[Callable[[], None]]:
        """What to call for the next frame; the moving picture is gone afterwards."""
        if not self._console.is_interactive:
            yield lambda: None
            return
        with Live(
            console=self._console, transient=True, auto_refresh=False, vertical_overflow="crop"
        ) as live:
            yield lambda: live.update(self.picture(self._console.height - 1), refresh=True)


def _play(places: Places, show: _Show, stop: Event, seconds: float | None) -> None:
    """Business and pipeline, each in a thread; this one draws."""
    until = inf if seconds is None else monotonic() + seconds
    analyst, pipeline = places.analyst, places.pipeline
    with ThreadPoolExecutor(2) as threads, show.live() as draw:
        workers = [
            threads.submit(_work, places.business, show, stop),
            threads.submit(keep_running, pipeline, EVERY, stop, watch=show.watch, rest=0),
        ]
        try:
            for frame in count():
                if frame % FRAMES_A_SECOND == 0:
                    show.ask(analyst)
                draw()
                if stop.wait(1 / FRAMES_A_SECOND) or monotonic() >= until:
                    break
                if any(worker.done() for worker in workers):
                    break
        finally:
            stop.set()
    for worker in workers:
        worker.result()


def _work(totesys: Dsn, show: _Show, stop: Event) -> None:
    with simulator.Simulator(totesys, seed=SEED, mix=MIX) as business:
        for event in business.run(rate=RATE, stop=stop):
            show.happened(event)


def _next(settings: Settings, analyst: Dsn) -> str:
    """What to try now; the servers run as long as somebody uses them."""
    totes = _command("totes", Path(sys.executable).with_name("totes"))
    if settings.home != Path(".totes"):
        totes = f"TOTES_HOME={quote(str(settings.home))} {totes}"
    psql = _command("psql", binary("psql"))
    parts = {name: str(analyst.parts[name]) for name in ("host", "dbname", "user")}
    address = quote(make_conninfo("", **parts))
    return f"""
All of it stays in {settings.home}. Next:
  {totes} status      how far each stage is, and how fresh the data
  {totes} run         go on; then, in other terminals,
  {totes} simulate    have more business,
  {totes} dashboard   see the pages, and
  {psql} {address}
"""


def _command(name: str, here: Path) -> str:
    """`name` where a shell finds it, else its path, short if that can be, for a shell."""
    if which(name):
        return name
    return quote(str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here))
