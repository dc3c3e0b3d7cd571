"""Queries on quarantine: rejected versions that are neither superseded nor released.

Superseded and released versions remain in the table `totes.quarantine` as history.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

from totes.config.dsn import Dsn
from totes.warehouse.connection import connect
from totes.warehouse.schema import check_migrations


@dataclass(frozen=True)
class QuarantineCount:
    """The number of quarantined rows of a star table with the same column and reason."""

    rows: int
    table: str
    column: str | None
    reason: str


@dataclass(frozen=True)
class QuarantinedRow:
    """A version in quarantine: star table, natural key, and reason.

    Or a value that can't be read in the source: `batch` is None, and `table` a source table.
    """

    batch: int | None
    table: str
    key: str
    column: str | None
    value: str | None
    reason: str


@contextmanager
def _connect(warehouse: Dsn) -> Iterator[Connection[Any]]:
    """Yield a session; raises WarehouseError if the warehouse has no tables yet."""
    with connect(warehouse) as connection:
        check_migrations(connection)
        yield connection


def count_quarantined_rows(warehouse: Dsn) -> list[QuarantineCount]:
    """Return the numbers of quarantined rows by table, column and reason."""
    with (
        _connect(warehouse) as connection,
        connection.cursor(row_factory=class_row(QuarantineCount)) as rows,
    ):
        return rows.execute(
            'SELECT count(*) AS rows, star_table AS "table", column_name AS "column", reason'
            " FROM totes.quarantine WHERE released_at IS NULL AND superseded_at IS NULL"
            " GROUP BY 2, 3, 4 ORDER BY 2, 3, 4"
        ).fetchall()


def list_quarantined_rows(warehouse: Dsn, table: str | None, limit: int) -> list[QuarantinedRow]:
    """Return the oldest `limit` quarantined rows of one star table, or of all if it is None."""
    with _connect(warehouse) as connection:
        cursor = connection.cursor(row_factory=class_row(QuarantinedRow))
        return cursor.execute(
            'SELECT batch, star_table AS "table", key, column_name AS "column", value, reason'
            " FROM totes.quarantine WHERE released_at IS NULL AND superseded_at IS NULL"
            " AND (%(table)s::text IS NULL OR star_table = %(table)s)"
            " ORDER BY quarantine_id LIMIT %(limit)s",
            {"table": table, "limit": limit},
        ).fetchall()


def find_rejected_batches(warehouse: Dsn, *, history: bool = True) -> list[int]:
    """Return the batches with rows that the contract rejected, which a release can try again.

    With `history`, also batches with superseded rows: they belong between other versions.
    """
    with _connect(warehouse) as connection:
        rows = connection.execute(
            "SELECT DISTINCT batch FROM totes.quarantine WHERE waits_for IS NULL"
            " AND released_at IS NULL AND (%s OR superseded_at IS NULL) ORDER BY batch",
            [history],
        )
        return [batch for (batch,) in rows]


def count_waiting_rows(warehouse: Dsn, batch: int) -> dict[str, int]:
    """Return how many rows of a batch wait for a dimension row, by star table."""
    with connect(warehouse) as connection:
        rows = connection.execute(
            "SELECT star_table, count(*) FROM totes.quarantine WHERE batch = %s"
            " AND waits_for IS NOT NULL AND released_at IS NULL GROUP BY 1 ORDER BY 1",
            [batch],
        )
        return dict(rows.fetchall())
