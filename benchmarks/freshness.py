"""Seconds from a commit until the warehouse has its change, during other changes."""

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import psycopg

from measurement import Measurement, server_seconds, tree_seconds
from totes.config.dsn import Dsn
from totes.embedded.servers import Source, Warehouse

SECONDS = 60

WRITERS = 2

MARKER_SECONDS = 0.25
"""The pause between two markers: orders whose number of units is new."""

MARKED_ORDERS = range(10, 910)
"""Keys that no other change updates."""

POLL_SECONDS = 0.02

LAST_SECONDS = 15
"""How long the last markers are awaited."""

_CHANGES = {
    "UPDATE payment SET paid = NOT paid WHERE payment_id = %(payment)s": 5,
    "UPDATE sales_order SET units_sold = units_sold + 1 WHERE sales_order_id = %(order)s": 3,
    """
    UPDATE purchase_order SET item_quantity = item_quantity + 1
    WHERE purchase_order_id = %(purchase)s
    """: 1,
    """
    INSERT INTO sales_order
    SELECT (jsonb_populate_record(s, jsonb_build_object('sales_order_id',
        nextval(pg_get_serial_sequence('sales_order', 'sales_order_id'))))).*
    FROM sales_order s WHERE sales_order_id = %(order)s
    """: 1,
}
"""Changes and how often they are made; none touches `last_updated`."""


@dataclass
class _Markers:
    """The markers that are not in the warehouse yet, and the seconds that others took."""

    pending: dict[int, tuple[int, float]] = field(default_factory=dict)
    """By order: its new number of units, and when it was committed."""
    seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Freshness:
    """The commits per second of the other changes, and the targets in seconds."""

    commits_per_second: int = 300
    median: float | None = 1.5
    p99: float | None = 3.0

    @property
    def name(self) -> str:
        return f"freshness in totes run, {self.commits_per_second} commits/s"


def freshness(
    source: Source,
    warehouse: Warehouse,
    environment: Mapping[str, str],
    wanted: Freshness = Freshness(),
) -> Iterator[Measurement]:
    """Run `totes run` for a minute of changes; measure the seconds of markers, and the load."""
    command = [sys.executable, "-m", "totes", "run"]
    with subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=sys.stderr
    ) as process:
        try:
            _await_batch(warehouse.loader)
            yield from _measure(source, warehouse, process.pid, wanted)
        finally:
            process.terminate()


def _measure(
    source: Source, warehouse: Warehouse, pid: int, wanted: Freshness
) -> Iterator[Measurement]:
    markers, written, seen = _Markers(), threading.Event(), threading.Event()
    commits = [0] * WRITERS
    threads = [
        *(
            threading.Thread(
                target=_write,
                args=(source.owner, written, commits, writer, WRITERS / wanted.commits_per_second),
            )
            for writer in range(WRITERS)
        ),
        threading.Thread(target=_mark, args=(source.owner, written, markers)),
    ]
    watcher = threading.Thread(target=_watch, args=(warehouse.loader, seen, markers))
    totes, servers = tree_seconds(pid), server_seconds(source.owner, warehouse.loader)
    began = time.perf_counter()
    for thread in (*threads, watcher):
        thread.start()
    time.sleep(SECONDS)
    totes = tree_seconds(pid) - totes
    servers = server_seconds(source.owner, warehouse.loader) - servers
    elapsed = time.perf_counter() - began
    written.set()
    for thread in threads:
        thread.join()
    deadline = time.perf_counter() + LAST_SECONDS
    while markers.pending and time.perf_counter() < deadline:
        time.sleep(POLL_SECONDS)
    seen.set()
    watcher.join()
    ordered = sorted(markers.seconds)
    note = (
        f"{sum(commits) / elapsed:.0f} commits/s, {len(ordered)} markers,"
        f" {len(markers.pending)} not seen"
    )
    for percent, target in ((50, wanted.median), (90, None), (99, wanted.p99)):
        seconds = ordered[(len(ordered) - 1) * percent // 100]
        yield Measurement(f"{wanted.name}, p{percent}", seconds, target=target, note=note)
    yield Measurement(
        f"processor's seconds per second of totes run, {wanted.commits_per_second} commits/s",
        elapsed,
        totes / elapsed,
        servers / elapsed,
        note="servers: with the business",
    )


def _await_batch(warehouse: Dsn) -> None:
    """Wait until a batch is loaded after now."""
    query = "SELECT checked_at > %s FROM totes.freshness"
    with psycopg.connect(warehouse.reveal(), autocommit=True) as connection:
        [(now,)] = connection.execute("SELECT clock_timestamp()").fetchall()
        while connection.execute(query, [now]).fetchone() != (True,):
            time.sleep(POLL_SECONDS)


def _write(
    owner: Dsn, written: threading.Event, commits: list[int], writer: int, pause_seconds: float
) -> None:
    chance = random.Random(writer)  # noqa: S311  not for secrets
    changes, weights = list(_CHANGES), list(_CHANGES.values())
    with psycopg.connect(owner.reveal(), autocommit=True) as connection:
        [last] = connection.execute(
            "SELECT max(sales_order_id), (SELECT max(purchase_order_id) FROM purchase_order),"
            " (SELECT max(payment_id) FROM payment) FROM sales_order"
        ).fetchall()
        due = time.perf_counter()
        while not written.is_set():
            [change] = chance.choices(changes, weights)
            keys = {
                "order": chance.randrange(MARKED_ORDERS.stop, last[0]),
                "purchase": chance.randrange(1, last[1]),
                "payment": chance.randrange(1, last[2]),
            }
            connection.execute(change, keys)
            commits[writer] += 1
            due += pause_seconds
            time.sleep(max(due - time.perf_counter(), 0))


def _mark(owner: Dsn, written: threading.Event, markers: _Markers) -> None:
    with psycopg.connect(owner.reveal(), autocommit=True) as connection:
        [(most,)] = connection.execute("SELECT max(units_sold) FROM sales_order").fetchall()
        units = max(int(most), 1_000_000)
        while not written.wait(MARKER_SECONDS):
            units += 1
            order = MARKED_ORDERS[units % len(MARKED_ORDERS)]
            connection.execute(
                "UPDATE sales_order SET units_sold = %s WHERE sales_order_id = %s", [units, order]
            )
            with markers.lock:
                markers.pending[order] = units, time.perf_counter()


def _watch(warehouse: Dsn, seen: threading.Event, markers: _Markers) -> None:
    query = (
        "SELECT sales_order_id, units_sold FROM current_sales_order WHERE sales_order_id = ANY(%s)"
    )
    with psycopg.connect(warehouse.reveal(), autocommit=True) as connection:
        while not seen.wait(POLL_SECONDS):
            with markers.lock:
                pending = dict(markers.pending)
            for order, units in connection.execute(query, [list(pending)]).fetchall():
                if units == pending[order][0]:
                    markers.seconds.append(time.perf_counter() - pending[order][1])
                    with markers.lock:
                        del markers.pending[order]
