"""The demo: runs a simulated business and the pipeline, and shows results from the warehouse."""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, date, datetime, time, timedelta
from importlib.resources import files
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

from totes.alert import AlertTargets
from totes.config.dsn import Dsn
from totes.config.resources import Resources
from totes.config.settings import PREFIX, Settings
from totes.demo import simulator
from totes.demo.answers import Answers, query_answers
from totes.demo.simulator import Kind
from totes.demo.simulator.filling import connect
from totes.demo.view import MAX_BATCHES, MAX_EVENTS, DemoState, render
from totes.embedded.servers import program_path
from totes.errors import UsageError
from totes.notifications.background import Checker, checks_in_background
from totes.operations.verify import VerifyResult, verify
from totes.stages.runner import STAGES, StepResult, run_once
from totes.stages.runner import run as keep_running

WEEKDAYS = 300
"""Weekdays with orders before today: sixty weeks, so that last month has one a year earlier."""

MIX = {
    Kind.SALE: 100,
    Kind.PURCHASE: 40,
    Kind.SILENT: 32,
    Kind.BRIEF: 16,
    Kind.DESIGN: 4,
    Kind.ADDRESS: 4,
    Kind.TRANSFER: 4,
    Kind.SETTLE: 1,
}
"""Four times the usual events, more silent changes, and late payments that are settled.

Only a capture from the write-ahead log (TOTES_CAPTURE=log) sees BRIEF changes.
"""

ORDERS = WEEKDAYS * MIX[Kind.SALE]
"""Sales orders before today."""

RATE = 1.0
"""Events per second: in ten minutes, the sales of three weekdays."""

EVERY = timedelta(seconds=1)

FRAMES_PER_SECOND = 5

_RESOURCE_SETTINGS = (
    "source_dsn",
    "warehouse_dsn",
    "source_secret",
    "warehouse_secret",
    "ingestion_url",
    "processed_url",
)
"""Settings that name the databases and stores of another installation."""

SEED = 1


def run(  # noqa: PLR0913  the options of the demo
    settings: Settings,
    console: Console,
    stop: Event,
    *,
    seconds: float | None,
    show_result: Callable[[Console, VerifyResult], None],
    serve_dashboard: Callable[[Settings], AbstractContextManager[str]] | None = None,
) -> None:
    """Run the demo for `seconds`, or until `stop`; then verify, and print commands to try.

    `serve_dashboard` serves the dashboard until its block ends, and yields the address. Raises
    UsageError if the settings name databases or stores.
    """
    names = [name for name in _RESOURCE_SETTINGS if getattr(settings, name)]
    if names:
        variables = ", ".join(f"{PREFIX}{name.upper()}" for name in names)
        raise UsageError(f"The demo creates its own databases in TOTES_HOME: unset {variables}.")
    with Resources(settings) as resources:
        console.print(
            f"Creating two databases, a lake and sixty weeks of business in {settings.home} …",
            markup=False,
        )
        view = _View(console)
        if serve_dashboard is not None:
            _write_example_config(settings.home)
        for _ in _prepare(resources, view, with_verify=serve_dashboard is not None):
            if stop.is_set():
                console.print("Stopped; the next `totes demo` continues from here.", markup=False)
                return
        pipeline = resources.pipeline
        with ExitStack() as stack:
            if serve_dashboard is not None:
                view.address = stack.enter_context(serve_dashboard(settings))
                console.print(f"The dashboard: {view.address}", markup=False)
                checker = Checker(settings, resources.warehouse, AlertTargets())  # sends nothing
                view.on_load = stack.enter_context(checks_in_background(checker)).set
            _run_workers(resources, view, stop, seconds)
        view.address = ""
        for result in run_once(pipeline):
            view.add_step(result)
        view.refresh_answers(resources.warehouse_reader)
        console.print(view.render())
        show_result(console, verify(pipeline))
        console.print(_suggest_commands(settings, resources.warehouse_reader), markup=False)


def _write_example_config(home: Path) -> None:
    """Write a configuration of the dashboard with goals and alert rules, unless there is one."""
    file = home / "dashboard.toml"
    if not file.exists():
        home.mkdir(parents=True, exist_ok=True)
        file.write_bytes((files("totes.demo") / "dashboard.toml").read_bytes())


def _prepare(resources: Resources, view: "_View", *, with_verify: bool) -> Iterator[None]:
    """Start the servers, fill totesys and run the pipeline once; yield after each step."""
    totesys = resources.source_owner
    yield
    yield from fill_until(totesys, simulator.wall_clock().date())
    pipeline = resources.pipeline
    yield
    for result in run_once(pipeline):
        view.add_step(result)
        yield
    if with_verify:
        verify(pipeline)  # the dashboard shows the time of the last one
        yield


def fill_until(totesys: Dsn, today: date) -> Iterator[None]:
    """Insert the business of the days before today; yield after each step.

    These are sixty weeks if there are no orders, and otherwise the days since the newest order.
    """
    with connect(totesys) as connection:
        order = connection.execute("SELECT FROM sales_order LIMIT 1").fetchone()
    if order is None:
        yesterday = today - timedelta(days=1)
        simulator.bulk(
            totesys,
            orders=ORDERS,
            seed=SEED,
            last_day=yesterday,
            weekdays=WEEKDAYS,
            settled=True,
        )
        yield
    with simulator.Simulator(totesys, seed=SEED, mix=MIX) as business:
        for _ in business.run(until=datetime.combine(today, time())):
            yield


class _View:
    """The recent events, batches and answers; worker threads add to them."""

    def __init__(self, console: Console) -> None:
        self.address = ""
        self.on_load: Callable[[], None] = lambda: None
        self._console = console
        self._events: deque[simulator.Event] = deque(maxlen=MAX_EVENTS)
        self._steps: deque[StepResult] = deque(maxlen=len(STAGES) * MAX_BATCHES)
        self._answers = Answers()

    def add_event(self, event: simulator.Event) -> None:
        self._events.append(event)
        self._print_line(f"{event.at:%a %d %b %H:%M}  {event.text}")

    def add_step(self, result: StepResult) -> None:
        if result.stage == "load":
            self.on_load()
        if result.batch is not None:
            self._steps.append(result)
            self._print_line(f"batch {result.batch}: {result.stage}, {result.rows:,} rows")

    def _print_line(self, line: str) -> None:
        """Print a line if the console can't show a live view."""
        if not self._console.is_interactive:
            self._console.print(line, markup=False)

    def refresh_answers(self, warehouse: Dsn) -> None:
        """Query the warehouse again if it has been loaded."""
        if any(step.stage == "load" for step in tuple(self._steps)) or self._answers.data_to:
            self._answers = query_answers(warehouse)

    def render(self, rows: int | None = None) -> RenderableType:
        events, steps = tuple(self._events), tuple(self._steps)
        state = DemoState(datetime.now(UTC), events, steps, self._answers, self.address)
        return render(state, self._console.width, rows)

    @contextmanager
    def live(self) -> Iterator[Callable[[], None]]:
        """Yield a function that draws the next frame; the view disappears after the block."""
        if not self._console.is_interactive:
            yield lambda: None
            return
        with Live(
            console=self._console, transient=True, auto_refresh=False, vertical_overflow="crop"
        ) as live:
            yield lambda: live.update(self.render(self._console.height - 1), refresh=True)


def _run_workers(resources: Resources, view: _View, stop: Event, seconds: float | None) -> None:
    """Run the business and the pipeline in two threads, and draw the view in this one."""
    deadline = inf if seconds is None else monotonic() + seconds
    reader, pipeline = resources.warehouse_reader, resources.pipeline
    with ThreadPoolExecutor(2) as threads, view.live() as draw:
        workers = [
            threads.submit(_run_business, resources.source_owner, view, stop),
            threads.submit(
                keep_running, pipeline, EVERY, stop, on_result=view.add_step, source_share=100
            ),
        ]
        try:
            for frame in count():
                if frame % FRAMES_PER_SECOND == 0:
                    view.refresh_answers(reader)
                draw()
                if stop.wait(1 / FRAMES_PER_SECOND) or monotonic() >= deadline:
                    break
                if any(worker.done() for worker in workers):
                    break
        finally:
            stop.set()
    for worker in workers:
        worker.result()


def _run_business(totesys: Dsn, view: _View, stop: Event) -> None:
    with simulator.Simulator(totesys, seed=SEED, mix=MIX, clock=simulator.wall_clock) as business:
        for event in business.run(rate=RATE, stop=stop):
            view.add_event(event)


def _suggest_commands(settings: Settings, reader: Dsn) -> str:
    """Return a text with commands to try. A server runs while a command uses it."""
    totes = _command("totes", Path(sys.executable).with_name("totes"))
    if settings.capture != "scan":
        totes = f"TOTES_CAPTURE={settings.capture} {totes}"
    if settings.home != Path(".totes"):
        totes = f"TOTES_HOME={quote(str(settings.home))} {totes}"
    psql = _command("psql", program_path("psql"))
    parts = {name: str(reader.parts[name]) for name in ("host", "dbname", "user")}
    conninfo = quote(make_conninfo("", **parts))
    return f"""
All data is kept in {settings.home}. Next:
  {totes} status      show the last batch of each stage, and how fresh the data is
  {totes} run         run the pipeline again; while it runs, in other terminals:
  {totes} simulate    simulate more business
  {totes} dashboard   serve the dashboard
  {psql} {conninfo}
"""


def _command(name: str, path: Path) -> str:
    """Return `name` if the shell finds it, else its quoted path, relative if possible."""
    if which(name):
        return name
    return quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))
