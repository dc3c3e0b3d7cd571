"""`make bench`: how fast and how big, in one table and as JSON.

A totesys of --orders sales orders (1,000,000: 4.2 million rows) and a warehouse, both embedded
PostgreSQL with fsync, synchronous_commit and full_page_writes on, are brought up and down as a
user would do it, with the command `totes`. The yardstick, in the same run: the same rows through
`psql` binary COPY out | COPY in, into bare tables (no keys), table after table.

Memory is the sum of the resident memory of the command and its children, sampled.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import psutil
import psycopg
from rich.console import Console
from rich.table import Table

from totes.config.settings import Dsn
from totes.dashboard import metrics
from totes.dashboard.filters import Filter
from totes.dashboard.reading import Reading, open_reading
from totes.dashboard.rows import MOST
from totes.demo.simulator import bulk
from totes.embedded.servers import (
    Source,
    Warehouse,
    binary,
    prepare_source,
    prepare_warehouse,
    source_server,
    warehouse_server,
)

SAMPLE_SECONDS = 0.02

REPEATS = 5
"""How often a page's questions are asked."""

QUARTER = 93
"""Days; of a longer period the sales page shows the top designs only when they are wanted."""

FIRST = MOST[0]
"""So many rows a page shows at first."""

TABLES = (
    *("address", "counterparty", "currency", "department", "design", "staff", "payment_type"),
    *("sales_order", "purchase_order", '"transaction"', "payment"),
)

CHANGES = """
UPDATE sales_order SET staff_id = 1 + (staff_id + 1) % 20 WHERE sales_order_id % 200 = 7;
UPDATE purchase_order SET agreed_delivery_date = '2025-12-24' WHERE purchase_order_id % 200 = 9;
UPDATE payment SET paid = NOT paid WHERE payment_id % 467 = 11;
"""
"""About 10,000 updates per million sales orders, last_updated untouched."""


@dataclass(frozen=True)
class Measured:
    """One line of the table: seconds, peak megabytes, what it is held against."""

    name: str
    seconds: float
    megabytes: float | None = None
    aim: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, default=Path("bench.json"))
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="totes-bench-") as folder:
        for result in measure(Path(folder), arguments.orders):
            print(f"  {result.name}: {result.seconds:.2f} s", file=sys.stderr)
            results.append(result)
    arguments.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    table = Table("measured", "seconds", "MB", "aim")
    for result in results:
        memory = "" if result.megabytes is None else f"{result.megabytes:.0f}"
        table.add_row(result.name, f"{result.seconds:.2f}", memory, result.aim)
    Console().print(table)
    return 0


def measure(folder: Path, orders: int) -> Iterator[Measured]:
    with source_server(folder) as source_at, warehouse_server(folder) as warehouse_at:
        source, warehouse = prepare_source(source_at.dsn), prepare_warehouse(warehouse_at.dsn)
        began = time.perf_counter()
        bulk(source.owner, orders=orders, seed=1)
        yield Measured(f"simulate --orders {orders:,}", time.perf_counter() - began, aim="< 60 s")
        with psycopg.connect(source.superuser.reveal(), autocommit=True) as admin:
            admin.execute("VACUUM ANALYZE")
            rows = sum(_count(admin, table) for table in TABLES)
        bare = yardstick(source, warehouse_at.dsn, keys=False)
        yield Measured(f"yardstick: COPY of {rows:,} rows, bare tables", bare)
        keyed = yardstick(source, warehouse_at.dsn, keys=True)
        yield Measured("the same with primary keys", keyed)

        command = _Totes(folder, source, warehouse)
        first = command.run("run", "--once", name="run --once, empty warehouse")
        yield Measured(
            f"{first.name}: {first.seconds / bare:.1f} bare, {first.seconds / keyed:.1f} keyed",
            first.seconds,
            first.megabytes,
            "4 yardsticks, 300 MB",
        )
        change(source, orders)
        yield command.run("run", "--once", name="run --once, after 11,500 changes", aim="< 3 s")
        for _ in range(2):
            yield command.run("run", "--once", name="run --once, nothing changed", aim="< 1 s")
        command = replace(command, rates="on")
        yield command.run("run", "--once", name="run --once, exchange rates too")
        yield from dashboard(warehouse.reader)
        yield command.run("verify", name="verify, all rows")
        yield command.run("--help", name="totes --help", aim="< 0.3 s")


def dashboard(reader: Dsn) -> Iterator[Measured]:
    """What the warehouse takes for a page's questions, the connection included: medians."""
    with open_reading(reader) as reading:
        known = metrics.choices(reading)
        biggest = _biggest(reading, Filter.of(known, "all"))
    month = Filter.of(known)
    year = Filter.of(known, "last-12-months")
    dollars = replace(month, currencies=("USD",))
    customer = replace(month, counterparties=(min(known.counterparties),))
    yield _median("dashboard, first paint of the overview", reader, _overview, month, "< 1 s")
    for name, page in _PAGES.items():
        changes = {
            "currency": dollars,
            "counterparty": customer,
            "department": replace(month, departments=biggest["department"]),
            "year": year,
            "year, one department": replace(year, departments=biggest["department"]),
            "year, one country": replace(year, countries=biggest["country"]),
            "year, both": _narrowed(year, biggest),
            "all time": Filter.of(known, "all"),
            "all time, both": _narrowed(Filter.of(known, "all"), biggest),
        }
        for change, chosen in changes.items():
            line = f"dashboard, {name}: {change}"
            yield _median(line, reader, page, chosen, "< 0.2 s")
    wanted: Mapping[str, Callable[[Reading, Filter], object]] = {
        "top designs": metrics.sales.top_designs,
        "the dearest items": partial(metrics.purchases.by, dimension="item", limit=1000),
        "payments made": partial(metrics.payments.rows, limit=FIRST),
    }
    for what, ask in wanted.items():
        yield _median(f"dashboard, when wanted: {what} of a year", reader, ask, year)


def _biggest(reading: Reading, chosen: Filter) -> Mapping[str, tuple[str]]:
    """The department and the country that sold most: what they ask for is the most work."""
    by = partial(metrics.sales.by, reading, chosen, limit=1)
    return {name: (by(name)["name"].iloc[0],) for name in ("department", "country")}


def _narrowed(chosen: Filter, to: Mapping[str, tuple[str]]) -> Filter:
    return replace(chosen, departments=to["department"], countries=to["country"])


def _median(
    name: str, reader: Dsn, page: Callable[[Reading, Filter], object], chosen: Filter, aim: str = ""
) -> Measured:
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        with open_reading(reader) as reading:
            metrics.pipeline.freshness(reading)
            metrics.choices(reading)
            metrics.pipeline.rates_age(reading)
            page(reading, chosen)
        seconds.append(time.perf_counter() - began)
    return Measured(name, statistics.median(seconds), aim=aim)


def _overview(reading: Reading, chosen: Filter) -> None:
    metrics.overview.totals(reading, chosen)
    metrics.overview.over_time(reading, chosen)
    metrics.debts.over_time(reading, chosen)


def _sales(reading: Reading, chosen: Filter) -> None:
    """What the page asks at once: one tab, the top designs of a quarter at most."""
    metrics.sales.summary(reading, chosen)
    metrics.sales.over_time(reading, chosen)
    metrics.sales.new_and_returning(reading, chosen)
    for dimension in ("country", "design"):
        metrics.sales.by(reading, chosen, dimension)
    if chosen.days <= QUARTER:
        metrics.sales.top_designs(reading, chosen)


def _purchases(reading: Reading, chosen: Filter) -> None:
    """What the page asks at once: one tab."""
    metrics.purchases.summary(reading, chosen)
    metrics.purchases.over_time(reading, chosen)
    metrics.purchases.by(reading, chosen, "counterparty", limit=1000)
    metrics.purchases.deliveries(reading, chosen, limit=FIRST)


def _payments(reading: Reading, chosen: Filter) -> None:
    metrics.payments.summary(reading, chosen)
    metrics.payments.never_paid(reading, chosen)
    metrics.payments.over_time(reading, chosen)
    metrics.payments.ages(reading, chosen)
    metrics.payments.owed(reading, chosen)
    metrics.payments.expected(reading, chosen)
    metrics.payments.open_rows(reading, chosen, limit=FIRST)


_PAGES = {
    "overview": _overview,
    "sales": _sales,
    "purchases": _purchases,
    "payments": _payments,
}


def yardstick(source: Source, server: Dsn, *, keys: bool) -> float:
    """Seconds to copy all tables of totesys into new tables of another server."""
    psql = str(binary("psql"))
    target = server.replace(dbname="yardstick")
    with psycopg.connect(server.reveal(), autocommit=True) as admin:
        admin.execute("CREATE DATABASE yardstick")
    with (
        psycopg.connect(source.superuser.reveal()) as origin,
        psycopg.connect(target.reveal()) as to,
    ):
        for table in TABLES:
            to.execute(_bare_copy_of(origin, table, keys=keys))
    began = time.perf_counter()
    for table in TABLES:
        reading = subprocess.Popen(
            [psql, "-qXc", f"COPY {table} TO STDOUT (FORMAT binary)", source.superuser.reveal()],
            stdout=subprocess.PIPE,
        )
        subprocess.run(
            [psql, "-qXc", f"COPY {table} FROM STDIN (FORMAT binary)", target.reveal()],
            stdin=reading.stdout,
            check=True,
        )
        if reading.wait() != 0:
            raise RuntimeError(table)
    seconds = time.perf_counter() - began
    with psycopg.connect(server.reveal(), autocommit=True) as admin:
        admin.execute("DROP DATABASE yardstick")
    return seconds


def _bare_copy_of(origin: psycopg.Connection, table: str, *, keys: bool) -> str:
    """CREATE TABLE with the same columns (enums as text), and the primary key if wanted."""
    columns = origin.execute(
        "SELECT attname, CASE WHEN typtype = 'e' THEN 'text' ELSE format_type(atttypid, atttypmod)"
        " END FROM pg_attribute JOIN pg_type t ON t.oid = atttypid"
        " WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
        [table],
    ).fetchall()
    parts = [f"{name} {kind}" for name, kind in columns]
    if keys:
        parts.append(f"PRIMARY KEY ({table.strip(chr(34))}_id)")
    return f"CREATE TABLE {table} ({', '.join(parts)})"


def change(source: Source, orders: int) -> None:
    """10,000 silent updates, 1,000 inserts, 500 deletes."""
    with psycopg.connect(source.owner.reveal()) as owner:
        owner.execute(CHANGES)
        owner.execute(
            "INSERT INTO sales_order"
            " SELECT (jsonb_populate_record(s, jsonb_build_object('sales_order_id',"
            "  nextval(pg_get_serial_sequence('sales_order', 'sales_order_id'))))).*"
            " FROM sales_order s WHERE sales_order_id <= 1000"
        )
        owner.execute(
            'CREATE TEMP TABLE gone AS SELECT transaction_id, sales_order_id FROM "transaction"'
            f" WHERE sales_order_id % {max(orders // 167, 1)} = 3"  # a payment, a transaction each
        )
        owner.execute(
            "DELETE FROM payment USING gone WHERE payment.transaction_id = gone.transaction_id"
        )
        owner.execute(
            'DELETE FROM "transaction" t USING gone WHERE t.transaction_id = gone.transaction_id'
        )
        owner.execute(
            "DELETE FROM sales_order s USING gone WHERE s.sales_order_id = gone.sales_order_id"
        )


@dataclass(frozen=True)
class _Totes:
    """The command, pointed at these databases."""

    home: Path
    source: Source
    warehouse: Warehouse
    rates: str = "off"
    """The yardstick has none."""

    @property
    def environment(self) -> Mapping[str, str]:
        return os.environ | {
            "TOTES_HOME": str(self.home / "home"),
            "TOTES_RATES": self.rates,
            "TOTES_SOURCE_DSN": self.source.reader.reveal(),
            "TOTES_WAREHOUSE_DSN": self.warehouse.loader.reveal(),
        }

    def run(self, *arguments: str, name: str, aim: str = "") -> Measured:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "totes", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with _peak_memory(process.pid) as peak:
            output, _ = process.communicate()
        seconds = time.perf_counter() - began
        if process.returncode:
            raise RuntimeError(
                f"totes {' '.join(arguments)} exited {process.returncode}:\n{output}"
            )
        return Measured(name, seconds, peak[0] / 1e6, aim)


@contextmanager
def _peak_memory(pid: int) -> Iterator[list[float]]:
    """Watch a process and its children; the list holds the highest sum of resident bytes."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            try:
                process = psutil.Process(pid)
                family = [process, *process.children(recursive=True)]
                peak[0] = max(peak[0], sum(member.memory_info().rss for member in family))
            except psutil.NoSuchProcess:
                continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _count(connection: psycopg.Connection, table: str) -> int:
    [(count,)] = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(count)


if __name__ == "__main__":
    sys.exit(main())
