"""`totes demo`: its view, its result, and what remains after an interruption."""

import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from io import StringIO
from pathlib import Path
from statistics import mean
from threading import Event as Flag
from time import sleep

import pytest
import screen
from command import COMMAND, expect_error
from database import fetch_rows
from installation import Installation, at
from psutil import process_iter
from rich.console import Console
from typer.testing import CliRunner

from conftest import Totesys
from totes.cli import app
from totes.cli.verify import show_result
from totes.config.dsn import Dsn
from totes.config.resources import Resources
from totes.config.settings import Settings
from totes.dashboard.bookkeeping import open_bookkeeping
from totes.dashboard.config_file import load_config
from totes.dashboard.metrics.pipeline import freshness
from totes.demo.answers import Answers, Country, Version, query_answers
from totes.demo.dashboard import dashboard
from totes.demo.run import MIX, _run_business, _View, fill_until
from totes.demo.run import run as show
from totes.demo.simulator import Event, Kind, bulk, wall_clock
from totes.demo.view import DemoState, render
from totes.stages.runner import STAGES, StepResult

pytestmark = pytest.mark.usefixtures("no_pauses")


@pytest.fixture
def short_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demo begin with a few orders: all of them take half a minute."""
    monkeypatch.setattr("totes.demo.run.ORDERS", 500)


@pytest.mark.parametrize("store", ["ingestion", "processed"])
def test_the_demo_does_not_use_a_configured_lake(
    installation: Installation, home: Path, store: str
) -> None:
    other = "processed" if store == "ingestion" else "ingestion"
    embedded = {"home": str(home), "source_dsn": "", "warehouse_dsn": "", f"{other}_url": ""}
    message = f"unset TOTES_{store.upper()}_URL."
    expect_error(installation.with_settings(**embedded), 2, message, "demo", "--for", "1s")
    assert not home.exists()


@pytest.mark.usefixtures("short_history")
def test_the_demo_shows_the_business_its_batches_and_the_verification(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the dashboard; and without its packages, how to install them."""
    settings = Settings(home=home)
    screen = Console(file=StringIO(), force_terminal=True, width=300, record=True)
    seen = Flag()

    def stop_when_loaded() -> None:
        if seen.is_set():
            stop.set()
        seen.set()

    @contextmanager
    def verified(settings: Settings) -> Iterator[str]:
        with (
            Resources(settings) as resources,
            open_bookkeeping(resources.warehouse_reader) as books,
        ):
            verified = freshness(books).verified
            assert verified is not None
            assert verified.equal
        yield "here"

    stop = Flag()
    with at("load.before-commit", stop_when_loaded):
        show(
            settings, screen, stop, seconds=None, show_result=show_result, serve_dashboard=verified
        )
    picture = screen.export_text()
    for expected in (
        "totesys: the business",
        "overdue payments",
        "equals the source",
        "totes status",
    ):
        assert expected in picture
    config = load_config(settings.dashboard_file)
    assert config.goal
    assert {rule.metric for rule in config.alert} >= {"overdue_receivable", "data_age_minutes"}
    [psql] = re.findall(r"^  (\S*psql .*)$", picture, re.MULTILINE)
    [status] = re.findall(r"^  (TOTES_HOME=.* status) ", picture, re.MULTILINE)
    with Resources(settings) as resources:
        assert resources.warehouse_reader  # its server runs
        for suggested in (f"{psql} --command 'SELECT 1'", status):
            subprocess.run(["sh", "-ec", suggested], check=True, capture_output=True)
    lines = Console(file=StringIO(), record=True, width=100)
    pages = partial(dashboard, open_browser=False)
    show(settings, lines, Flag(), seconds=0.5, show_result=show_result, serve_dashboard=pages)
    message = lines.export_text()
    assert "equals the source" in message
    assert "The dashboard: http://127.0.0.1:" in message
    monkeypatch.setattr("totes.dashboard.server.packages.find_spec", lambda _: None)
    environment = {"TOTES_HOME": str(home)}
    result = CliRunner().invoke(app, ["demo", "--for", "200ms"], env=environment)
    assert result.exit_code == 0, result.output
    assert "requirements-dashboard.txt" in result.stdout


TODAY = date(2026, 11, 29)
"""A Sunday."""

LATEST = """
    SELECT max(at)
    FROM (
        SELECT created_at AS at FROM "transaction" UNION ALL SELECT created_at FROM design
        UNION ALL SELECT last_updated FROM payment UNION ALL SELECT last_updated FROM address
    ) AS times
"""

SALES_BY_DAY = """
    SELECT created_at::date, count(*), sum(units_sold * unit_price) FROM sales_order GROUP BY 1
"""


def test_the_demos_history_ends_yesterday_and_is_even(
    totesys: Totesys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At first, and if it continues days later; no day is missing, weekends have no orders."""
    monkeypatch.setattr("totes.demo.run.WEEKDAYS", 100)  # a third of them
    monkeypatch.setattr("totes.demo.run.ORDERS", 100 * MIX[Kind.SALE])
    for today in (TODAY, TODAY + timedelta(days=10)):
        deque(fill_until(totesys.owner, today), maxlen=0)
        days = [today - timedelta(days=before) for before in range(1, 131)]
        weekdays = [day for day in days if day.isoweekday() < 6]
        ((latest,),) = fetch_rows(totesys.dsn, LATEST)
        assert datetime.combine(weekdays[0], time(18, 30)) < latest
        assert latest < datetime.combine(weekdays[0], time(19))
        rows = fetch_rows(totesys.dsn, SALES_BY_DAY)
        sales = {day: (count, float(revenue)) for day, count, revenue in rows}
        assert {day for day in days if day in sales} == set(weekdays)
        assert all(70 < sales[day][0] < 130 for day in weekdays)
        recent, before = (
            mean(sales[day][1] for day in part if day in sales) for part in (days[:30], days[30:60])
        )
        assert recent / before == pytest.approx(1, abs=0.06)


def test_the_demos_live_business_has_the_time_of_the_clock(
    totesys: Totesys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On any day and at any hour, and also after more events than a weekday has."""

    class StopAfterTwoDays(Flag):
        remaining = 400

        def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002  as of Event
            self.remaining -= 1
            return self.remaining < 0

    monkeypatch.setattr("totes.demo.run.RATE", 1_000_000)
    bulk(totesys.owner, orders=75, last_day=wall_clock().date() - timedelta(days=1))
    began = wall_clock()
    _run_business(totesys.owner, _View(Console(file=StringIO())), StopAfterTwoDays())
    ((latest,),) = fetch_rows(totesys.dsn, LATEST)
    assert began <= latest <= wall_clock()


START_FILES = (
    "source/incomplete/global/pg_control",
    "source/data/postmaster.pid",
    "warehouse/incomplete/global/pg_control",
    "lake/ingestion",
)
"""Files that exist when the demo creates a server, fills totesys, creates another, and runs."""


def processes_of(home: Path) -> list[str]:
    """Return the command lines that contain the folder."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in process_iter(["cmdline"])]
    return [line for line in lines if str(home) in line]


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (60, 20), (100, 30), (200, 50)])
@pytest.mark.parametrize("versions", [0, 2, 40])
def test_the_demos_view_shows_the_address_and_the_silent_change(
    columns: int, rows: int, versions: int
) -> None:
    seen = drawn(columns, rows, versions)
    assert len(seen) < rows
    assert max(map(len, seen)) <= columns
    assert "The dashboard: http://127.0.0.1:8501" in seen[1]
    assert any("changed silently" in line for line in seen)
    assert any("totesys: the business" in line for line in seen)
    assert sum("Somebody" in line for line in seen) >= min(versions, 3)
    assert "overdue payments" in "".join(seen) or rows < 30


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (100, 30), (200, 50)])
def test_the_demos_view_shows_a_change_that_was_changed_back_if_there_is_room(
    columns: int, rows: int
) -> None:
    seen = drawn(columns, rows, versions=2, brief=3)
    assert len(seen) < rows
    assert any("changed silently" in line for line in seen)
    shown = any("changed back at once" in line for line in seen)
    assert shown == (rows > 30)
    assert sum("Somebody" in line for line in seen) == (5 if shown else 2)


def test_the_demo_finds_the_change_that_was_changed_back(installation: Installation) -> None:
    """The log makes such versions; here they are inserted."""
    installation.add_orders().run()
    warehouse = installation.warehouse
    assert query_answers(warehouse).brief == ()
    insert_brief_change(installation, 7, "1 hour", "500 milliseconds")
    assert [version.sales_order_id for version in query_answers(warehouse).brief] == [7] * 3
    first, changed, back = query_answers(warehouse).brief
    assert first.design == back.design
    assert first.valid_from < changed.valid_from < back.valid_from
    assert changed.design != first.design
    assert query_answers(warehouse).order == (), "it is not shown twice"
    insert_brief_change(installation, 8, "2 hours", "1 minute")
    assert query_answers(warehouse).brief == (first, changed, back)
    assert [version.sales_order_id for version in query_answers(warehouse).order] == [8] * 3


def insert_brief_change(installation: Installation, order: int, after: str, lasting: str) -> None:
    """Insert two versions of a sale: one with another design, and the present one again."""
    installation.change_warehouse(
        f"UPDATE fact_sales_order SET valid_to = valid_from + interval '{after}'"
        f" WHERE sales_order_id = {order}"
    )
    columns = [
        name
        for (name,) in installation.query(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'fact_sales_order'::regclass"
            " AND attnum > 0 AND attname <> 'sales_record_id'"
        )
    ]
    changes = {
        "design_id": "(SELECT min(design_id) FROM dim_design WHERE design_name <> (SELECT"
        " design_name FROM dim_design AS d WHERE d.design_id = f.design_id))",
        "valid_from": "valid_to",
        "valid_to": f"valid_to + interval '{lasting}'",
    }
    for change in (changes, {**changes, "design_id": "f.design_id", "valid_to": "NULL"}):
        values = ", ".join(change.get(column, column) for column in columns)
        installation.change_warehouse(
            f"INSERT INTO fact_sales_order ({', '.join(columns)}) SELECT {values}"
            f" FROM fact_sales_order AS f WHERE sales_order_id = {order}"
            " ORDER BY valid_from DESC LIMIT 1"
        )
    installation.change_warehouse(
        "UPDATE fact_sales_order AS f SET design_id = (SELECT design_id FROM fact_sales_order AS o"
        f" WHERE o.sales_order_id = {order} ORDER BY valid_from LIMIT 1)"
        f" WHERE sales_order_id = {order} AND valid_to IS NULL"
    )


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (2, 2), (10, 3), (40, 1), (1, 40)])
def test_the_demos_view_can_be_drawn_on_a_terminal_of_any_size(columns: int, rows: int) -> None:
    assert drawn(columns, rows, 2)


def drawn(columns: int, rows: int, versions: int, brief: int = 0) -> list[str]:
    """Return the lines of a demonstration on a terminal of that size."""
    now = datetime(2026, 11, 29, 1, 36, tzinfo=UTC)
    version = Version(1234, now, now, "Somebody Longname", "Granite", now.date(), "New Somewhere")
    state = DemoState(
        now,
        [Event(Kind.SILENT, now, "a text that is longer than any line: " + 99 * "x", ())] * 20,
        [StepResult(stage, batch, 1_000_000, now) for batch in range(20) for stage in STAGES],
        Answers(
            now,
            now,
            (Country("Some Country", 1, 1),),
            (),
            (version,) * versions,
            (version,) * brief,
        ),
        "http://127.0.0.1:8501",
    )
    terminal = Console(file=StringIO(), force_terminal=True, width=columns, height=rows)
    with terminal.capture() as captured:
        terminal.print(render(state, columns, rows - 1))
    return re.sub(r"\x1b\[[\d;]*m", "", captured.get()).splitlines()


@pytest.mark.few(1)
@pytest.mark.parametrize("keys", [b"\x03", b"\x03\x03"], ids=["once", "twice"])
@pytest.mark.parametrize("moment", START_FILES)
def test_ctrl_c_while_the_demo_starts_ends_it_quietly_and_leaves_no_process(
    home: Path, moment: str, keys: bytes
) -> None:
    def interrupt(type_: Callable[[bytes], object]) -> None:
        while not (home / moment).exists():
            sleep(0.01)
        for key in keys:
            type_(bytes([key]))

    command = [*COMMAND, "demo", "--no-dashboard"]
    environment = os.environ | {"TOTES_HOME": str(home)}
    shown = screen.run(command, environment, meanwhile=interrupt)
    assert shown.exit_code in ({0} if keys == b"\x03" else {0, 130}), shown.written
    assert "totes: " not in shown.written
    assert "Traceback" not in shown.written
    assert processes_of(home) == []


def test_the_demo_continues_if_a_step_ends_while_it_reads_the_steps() -> None:
    shown = _View(Console())
    now = datetime.now(UTC)

    class Meanwhile(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            shown.add_step(StepResult("transform", 1, 0, now))
            return super().__eq__(other)

        __hash__ = str.__hash__

    shown.add_step(StepResult(Meanwhile("ingest"), 1, 0, now))
    shown.refresh_answers(Dsn("host=nowhere"))
