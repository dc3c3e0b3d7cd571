"""`make bench`: measure times and memory, and print them as a table and as JSON.

It runs the command `totes` between a totesys with --orders sales orders (1,000,000: 4.2 million
rows) and a warehouse, on embedded PostgreSQL servers with fsync, synchronous_commit and
full_page_writes on. The reference, in the same run, copies the same rows with `psql` (binary COPY
out | COPY in) into tables without keys, one table after the other.

Memory is the sampled maximum of the resident memory of the command and its children. With more
than one number after --orders, another table shows how the seconds grow. With --peers, another one
compares totes with other programs (peers.py).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import psycopg

import dashboard
import log_capture
import peers
from dashboard import MILLION, Cost
from freshness import freshness
from measurement import (
    CopyMeasurement,
    Measurement,
    measure_commands,
    server_seconds,
    show,
    show_copies,
    show_growth,
)
from totes.config.dsn import Dsn
from totes.config.resources import Resources
from totes.config.settings import Settings
from totes.demo.simulator import bulk
from totes.embedded.servers import (
    Source,
    Warehouse,
    permit_log,
    prepare_source,
    prepare_warehouse,
    program_path,
    source_server,
    warehouse_server,
)
from totes.postgres.session import keep_sessions
from totes.stages.runner import run_stage

TABLES = (
    *("address", "counterparty", "currency", "department", "design", "staff", "payment_type"),
    *("sales_order", "purchase_order", "transaction", "payment"),
)

CHANGES = """
UPDATE sales_order SET staff_id = 1 + (staff_id + 1) % 20
WHERE sales_order_id % {every} = {which};
UPDATE purchase_order SET agreed_delivery_date = '2025-12-24'
WHERE purchase_order_id % {every} = {which};
UPDATE payment SET paid = NOT paid WHERE payment_id % ({every} * 7 / 3) = {which};
"""
"""Updates without a change of last_updated: 10,000 if `every` is a 5,000th of the orders."""

UPDATED_ORDERS = 5_000

CAPTURES = 5


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--orders", type=int, nargs="+", default=[MILLION])
    parser.add_argument("--json", type=Path, default=Path("bench.json"))
    parser.add_argument("--dashboard", action="store_true", help="measure only the dashboard")
    parser.add_argument("--log", action="store_true", help="measure only capture from the log")
    parser.add_argument("--scale", action="store_true", help="measure only how the stages grow")
    parser.add_argument("--peers", type=Path, help="virtual environment of peers to measure, too")
    arguments = parser.parse_args()
    parts: list[Callable[[Path, int], Iterator[Measurement]]]
    chosen = {
        measure_dashboard: arguments.dashboard,
        measure_log: arguments.log,
        measure_scale: arguments.scale,
        measure: True,
    }
    parts = [next(part for part, is_chosen in chosen.items() if is_chosen)]
    if arguments.peers:
        parts.append(partial(measure_peers, arguments.peers))
    runs: dict[int, list[Measurement]] = {}
    for orders in arguments.orders:
        runs[orders] = []
        for part in parts:
            with tempfile.TemporaryDirectory(prefix="totes-bench-") as folder:
                for result in part(Path(folder), orders):
                    print(f"  {result.name}: {result.seconds:.3f} s", file=sys.stderr)
                    runs[orders].append(result)
        print(f"{orders:,} sales orders")
        show([one for one in runs[orders] if not isinstance(one, CopyMeasurement)])
        if arguments.peers:
            show_copies([one for one in runs[orders] if isinstance(one, CopyMeasurement)])
    if len(runs) > 1:
        show_growth(runs)
    written = {str(orders): [asdict(one) for one in run] for orders, run in runs.items()}
    arguments.json.write_text(json.dumps(written, indent=1) + "\n")
    return 0


def measure(folder: Path, orders: int) -> Iterator[Measurement]:
    """Measure the pipeline, then the dashboard."""
    with source_server(folder) as source_at, warehouse_server(folder) as warehouse_at:
        source, warehouse = prepare_source(source_at.dsn), prepare_warehouse(warehouse_at.dsn)
        began = time.perf_counter()
        bulk(source.owner, orders=orders, seed=1)
        yield Measurement(f"simulate --orders {orders:,}", time.perf_counter() - began, target=60)
        with psycopg.connect(source.superuser.reveal(), autocommit=True) as admin:
            admin.execute("VACUUM ANALYZE")
            rows = sum(_count(admin, table) for table in TABLES)
        bare = copy_with_psql(source, warehouse_at.dsn, keys=False)
        yield Measurement(f"reference: COPY of {rows:,} rows, tables without keys", bare)
        keyed = copy_with_psql(source, warehouse_at.dsn, keys=True)
        yield Measurement("reference with primary keys", keyed)

        command = Totes(folder, source, warehouse)
        first = command.run("run", "--once", name="run --once, empty warehouse")
        compared = f"{first.seconds / bare:.1f} references, {first.seconds / keyed:.1f} keyed"
        yield replace(first, target=4 * bare, note=compared)
        yield from dashboard.first_copy(folder / "replica", warehouse.reader)
        change(source, orders)
        yield command.run("run", "--once", name="run --once, after 11,500 changes", target=2)
        yield from dashboard.refresh(folder / "replica", warehouse.reader)
        if orders != MILLION:
            update(source, every=MILLION // UPDATED_ORDERS, which=4)
            yield command.run(
                "run", "--once", name="run --once, after updates of every 200th order"
            )
        for _ in range(2):
            yield command.run("run", "--once", name="run --once, nothing changed", target=0.3)
        yield capture_nothing(command)
        yield from freshness(source, warehouse, command.environment)
        command = replace(command, rates="on")
        yield command.run("run", "--once", name="run --once, with exchange rates")
        yield from dashboard.questions(folder / "replica", warehouse.reader, orders)
        yield command.run("verify", name="verify, all rows", target=9 * orders / MILLION)
        yield command.run("--help", name="totes --help", target=0.3)


def measure_dashboard(folder: Path, orders: int) -> Iterator[Measurement]:
    """Fill a warehouse, and measure the dashboard."""
    with source_server(folder) as source_at, warehouse_server(folder) as warehouse_at:
        source, warehouse = prepare_source(source_at.dsn), prepare_warehouse(warehouse_at.dsn)
        bulk(source.owner, orders=orders, seed=1)
        command = Totes(folder, source, warehouse, rates="on")
        yield command.run("run", "--once", name="run --once, with exchange rates")
        yield from dashboard.first_copy(folder / "replica", warehouse.reader)
        change(source, orders)
        yield command.run("run", "--once", name="run --once, after 11,500 changes")
        yield from dashboard.refresh(folder / "replica", warehouse.reader)
        yield from dashboard.questions(folder / "replica", warehouse.reader, orders)


def measure_scale(folder: Path, orders: int) -> Iterator[Measurement]:
    """Measure each stage of a first load, with few and with many connections, and of a batch."""
    with source_server(folder) as source_at, warehouse_server(folder) as warehouse_at:
        source, warehouse = prepare_source(source_at.dsn), prepare_warehouse(warehouse_at.dsn)
        bulk(source.owner, orders=orders, seed=1)
        with psycopg.connect(source.superuser.reveal(), autocommit=True) as admin:
            admin.execute("VACUUM ANALYZE")
        command = Totes(folder, source, warehouse)
        for connections in (1, 4):
            settings = {
                "TOTES_CONNECTIONS": str(connections),
                "TOTES_INGESTION_URL": str(folder / f"connections-{connections}"),
            }
            name = f"ingest, first load, TOTES_CONNECTIONS={connections}"
            yield replace(command, settings=settings).run("ingest", name=name)
        for what in ("first load", "11,500 changes"):
            for stage in ("ingest", "transform", "load"):
                yield command.run(stage, name=f"{stage}, {what}")
            change(source, orders)


def measure_log(folder: Path, orders: int) -> Iterator[Measurement]:
    """Measure the capture from the log."""
    with source_server(folder) as source_at, warehouse_server(folder) as warehouse_at:
        source, warehouse = prepare_source(source_at.dsn), prepare_warehouse(warehouse_at.dsn)
        bulk(source.owner, orders=orders, seed=1)
        with psycopg.connect(source.superuser.reveal(), autocommit=True) as admin:
            admin.execute("VACUUM ANALYZE")
        permit_log(source, "totes")
        command = Totes(folder, source, warehouse, settings=log_capture.SETTINGS)
        yield command.run("run", "--once", name="run --once, empty warehouse")
        change(source, orders)
        yield command.run("run", "--once", name="run --once, after 11,500 changes")
        yield command.run("run", "--once", name="run --once, nothing changed")
        yield from log_capture.measure_freshness(command, warehouse)
        yield from log_capture.measure_changes(command)
        yield command.run("verify", name="verify, all rows")


def measure_peers(environment: Path, folder: Path, orders: int) -> Iterator[CopyMeasurement]:
    """Copy totesys, then its changes, with totes and its peers, each to a database of its own."""
    with source_server(folder) as source_at, warehouse_server(folder) as warehouse_at:
        source, warehouse = prepare_source(source_at.dsn), prepare_warehouse(warehouse_at.dsn)
        bulk(source.owner, orders=orders, seed=1)
        with psycopg.connect(source.superuser.reveal(), autocommit=True) as admin:
            admin.execute("VACUUM ANALYZE")
        command = Totes(folder, source, warehouse)
        copies = peers.prepare(environment, folder, TABLES, source, warehouse)

        def run_all(what: str) -> Iterator[CopyMeasurement]:
            run = command.run("run", "--once", name=f"totes: {what}")
            yield peers.compare(run, source.owner, warehouse.loader, peers.STAR)
            for copy in copies:
                yield copy.run(what)

        yield from run_all("first copy")
        change(source, orders)
        yield from run_all("11,500 changes")


def copy_with_psql(source: Source, server: Dsn, *, keys: bool) -> float:
    """Return the seconds to copy all tables of totesys into new tables of another server."""
    psql = str(program_path("psql"))
    target = server.replace(dbname="reference")
    with psycopg.connect(server.reveal(), autocommit=True) as admin:
        admin.execute("CREATE DATABASE reference")
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
        admin.execute("DROP DATABASE reference")
    return seconds


def _bare_copy_of(origin: psycopg.Connection, table: str, *, keys: bool) -> str:
    """Return CREATE TABLE with the same columns, enums as text; with `keys`, with primary key."""
    parts = [f"{name} {kind}" for name, kind in peers.column_types(origin, table)]
    if keys:
        parts.append(f"PRIMARY KEY ({table}_id)")
    return f"CREATE TABLE {table} ({', '.join(parts)})"


def capture_nothing(command: "Totes") -> Measurement:
    """Measure a capture that finds no change although transactions ended, in a running process."""
    source = command.source.owner
    settings = Settings(
        home=command.home / "home",
        rates=command.rates,
        source_dsn=command.source.reader,
        warehouse_dsn=command.warehouse.loader,
    )
    costs = []
    with (
        Resources(settings) as resources,
        keep_sessions(),
        psycopg.connect(source.reveal(), autocommit=True) as owner,
    ):
        for _ in range(CAPTURES):
            owner.execute("SELECT pg_current_xact_id()")
            servers = server_seconds(source)
            cost = Cost.of(lambda: list(run_stage(resources.pipeline, "ingest")))
            costs.append((cost.seconds, cost.processor, server_seconds(source) - servers))
    return Measurement(
        "capture that finds no change although transactions ended, in process",
        *min(costs),
        target=0.3,
    )


def update(source: Source, *, every: int, which: int) -> None:
    """Update every so many orders, without a change of last_updated."""
    with psycopg.connect(source.owner.reveal()) as owner:
        owner.execute(CHANGES.format(every=every, which=which))


def change(source: Source, orders: int) -> None:
    """Make 10,000 updates without a change of last_updated, 1,000 inserts and 500 deletes.

    They are as many however many orders there are, from 5,000.
    """
    update(source, every=max(orders // UPDATED_ORDERS, 1), which=3)
    with psycopg.connect(source.owner.reveal()) as owner:
        owner.execute(
            "INSERT INTO sales_order"
            " SELECT (jsonb_populate_record(s, jsonb_build_object('sales_order_id',"
            "  nextval(pg_get_serial_sequence('sales_order', 'sales_order_id'))))).*"
            " FROM sales_order s WHERE sales_order_id <= 1000"
        )
        owner.execute(
            'CREATE TEMP TABLE d AS SELECT transaction_id, sales_order_id FROM "transaction"'
            f" WHERE sales_order_id % {max(orders // 167, 1)} = 3"  # with their payments
        )
        owner.execute("DELETE FROM payment USING d WHERE payment.transaction_id = d.transaction_id")
        owner.execute(
            'DELETE FROM "transaction" t USING d WHERE t.transaction_id = d.transaction_id'
        )
        owner.execute("DELETE FROM sales_order s USING d WHERE s.sales_order_id = d.sales_order_id")


@dataclass(frozen=True)
class Totes:
    """The command with the settings of these databases."""

    home: Path
    source: Source
    warehouse: Warehouse
    rates: str = "off"
    """Off by default, as the reference has no rates."""
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> Mapping[str, str]:
        return os.environ | {
            "TOTES_HOME": str(self.home / "home"),
            "TOTES_RATES": self.rates,
            "TOTES_SOURCE_DSN": self.source.reader.reveal(),
            "TOTES_WAREHOUSE_DSN": self.warehouse.loader.reveal(),
            **self.settings,
        }

    def run(self, *arguments: str, name: str, target: float | None = None) -> Measurement:
        measured = measure_commands(
            [[sys.executable, "-m", "totes", *arguments]],
            self.environment,
            [self.source.owner, self.warehouse.loader],
            name,
        )
        return replace(measured, target=target)


def _count(connection: psycopg.Connection, table: str) -> int:
    [(count,)] = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(count)


if __name__ == "__main__":
    sys.exit(main())
