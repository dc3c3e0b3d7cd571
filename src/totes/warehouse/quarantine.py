"""Quarantine, as the warehouse holds it: versions that were refused and that nothing has replaced.

What superseded or released rows say is history; it stays in the table `totes.quarantine`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

from totes.config.settings import Dsn
from totes.warehouse.connection import connect
from totes.warehouse.schema import check_migrations


@dataclass(frozen=True)
class Count:
    """How many rows of a star table wait, for one reason."""

    rows: int
    table: str
    column: str | None
    reason: str


@dataclass(frozen=True)
class Refused:
    """A version in quarantine: the star table, its natural key there, and the reason.

    Also a value that can't be read in the source: `batch` is None, `table` a table of the source.
    """

    batch: int | None
    table: str
    key: str
    column: str | None
    value: str | None
    reason: str


@contextmanager
def _migrated(warehouse: Dsn) -> Iterator[Connection[Any]]:
    """A session of a warehouse that has its tables; WarehouseError where it has not."""
    with connect(warehouse) as connection:
        check_migrations(connection)
        yield connection


def counts(warehouse: Dsn) -> list[Count]:
    """By table, column and reason."""
    with (
        _migrated(warehouse) as connection,
        connection.cursor(row_factory=class_row(Count)) as rows,
    ):
        return rows.execute(
            'SELECT count(*) AS rows, star_table AS "table", column_name AS "column", reason'
            " FROM totes.quarantine WHERE released_at IS NULL AND superseded_at IS NULL"
            " GROUP BY 2, 3, 4 ORDER BY 2, 3, 4"
        ).fetchall()


def refused(warehouse: Dsn, table: str | None, limit: int) -> list[Refused]:
    """The oldest `limit` of them, of one star table or of all."""
    with _migrated(warehouse) as connection:
        cursor = connection.cursor(row_factory=class_row(Refused))
        return cursor.execute(
            'SELECT batch, star_table AS "table", key, column_name AS "column", value, reason'
            " FROM totes.quarantine WHERE released_at IS NULL AND superseded_at IS NULL"
            " AND (%(table)s::text IS NULL OR star_table = %(table)s)"
            " ORDER BY quarantine_id LIMIT %(limit)s",
            {"table": table, "limit": limit},
        ).fetchall()


def refused_batches(warehouse: Dsn, *, history: bool = True) -> list[int]:
    """The batches with rows that the contract refused, and a release can try again.

    Those of the `history` too, which something newer has replaced: they belong between others.
    """
    with _migrated(warehouse) as connection:
        rows = connection.execute(
            "SELECT DISTINCT batch FROM totes.quarantine WHERE waits_for IS NULL"
            " AND released_at IS NULL AND (%s OR superseded_at IS NULL) ORDER BY batch",
            [history],
        )
        return [batch for (batch,) in rows]


def set_aside(warehouse: Dsn, batch: int) -> dict[str, int]:
    """Rows of a batch that wait for a row of a dimension, by star table."""
    with connect(warehouse) as connection:
        rows = connection.execute(
            "SELECT star_table, count(*) FROM totes.quarantine WHERE batch = %s"
            " AND waits_for IS NOT NULL AND released_at IS NULL GROUP BY 1 ORDER BY 1",
            [batch],
        )
        return dict(rows.fetchall())
