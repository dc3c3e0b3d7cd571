"""The capture from the write-ahead log: freshness, and what changes cost."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from freshness import Freshness, freshness
from measurement import Measurement
from totes.config.dsn import Dsn
from totes.embedded.servers import Warehouse

if TYPE_CHECKING:
    from bench import Totes

SETTINGS = {"TOTES_CAPTURE": "log", "TOTES_EVERY": "100ms"}

CHANGES = 100_000

LARGE_TRANSACTION_ROWS = 2_000_000

SAMPLE_SECONDS = 0.5


def measure_changes(totes: "Totes") -> Iterator[Measurement]:
    """Measure ingest of many changes, and of one transaction with very many."""
    with psycopg.connect(totes.source.owner.reveal(), autocommit=True) as owner:
        owner.execute(
            "UPDATE sales_order SET units_sold = units_sold + 1"
            " WHERE sales_order_id IN (SELECT sales_order_id FROM sales_order LIMIT %s)",
            [CHANGES],
        )
        yield totes.run("ingest", name=f"ingest from the log, {CHANGES:,} changes")
        [(orders,)] = owner.execute("SELECT count(*) FROM sales_order").fetchall()
        with owner.transaction():
            for _ in range(-(-LARGE_TRANSACTION_ROWS // orders)):
                owner.execute("UPDATE sales_order SET units_sold = units_sold + 1")
        name = f"ingest from the log, one transaction of {LARGE_TRANSACTION_ROWS:,} rows"
        yield totes.run("ingest", name=name)
    yield totes.run("run", "--once", name="run --once, the same into the warehouse")


def measure_freshness(totes: "Totes", warehouse: Warehouse) -> Iterator[Measurement]:
    """Measure freshness and the size of the retained log, at two rates of commits."""
    for wanted in (Freshness(300, 0.5, 1.5), Freshness(2000, None, None)):
        with _watch_retained(totes.source.superuser) as most:
            yield from freshness(totes.source, warehouse, totes.environment, wanted)
        name = f"log retained in the source, {wanted.commits_per_second} commits/s"
        yield Measurement(name, 0, megabytes=most[0] / 1e6)


@contextmanager
def _watch_retained(admin: Dsn) -> Iterator[list[int]]:
    """Yield a list with the most bytes of log that the slot has retained."""
    most, done = [0], threading.Event()

    def watch() -> None:
        query = (
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint"
            " FROM pg_replication_slots WHERE slot_name = 'totes'"
        )
        with psycopg.connect(admin.reveal(), autocommit=True) as connection:
            while not done.wait(SAMPLE_SECONDS):
                for (size,) in connection.execute(query):
                    most[0] = max(most[0], size)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()
