"""Verify: compare source and warehouse row by row, without transferring rows that are equal.

Both servers assign rows to buckets by key and return a count and a digest of each bucket. Only the
rows of buckets that differ are fetched, to report keys and columns. The expected rows come from the
star's `verify/*.sql`, which is written independently of the models.

Source and warehouse compute at the same time, each one table after the other. The source may change
during the comparison, because it is captured, loaded and compared in one snapshot.

Exchange rates are not compared: totesys has none.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, LiteralString

import psycopg
import pycountry
from psycopg import sql

from totes.config.dsn import Dsn
from totes.errors import LogUnreadable, WarehouseError
from totes.operations.verify import queries
from totes.progress import NO_PROGRESS, Progress
from totes.source.snapshot import Snapshot
from totes.stages.ingest import capture_batch, open_capture
from totes.stages.load import load
from totes.stages.runner import Pipeline
from totes.stages.transform import transform
from totes.star.contract import StarTable
from totes.star.folder import Star
from totes.warehouse.connection import connect
from totes.warehouse.schema import check_schema

ATTEMPTS = 5
"""How often verify starts again if another run loads a newer batch."""

_BUCKET_ROWS = 256
_MIN_BUCKETS = 1024
_MAX_BUCKETS_SHOWN = 20

_QUARANTINED_KEYS: LiteralString = (
    "SELECT DISTINCT key FROM totes.quarantine WHERE star_table = %(star)s"
    " AND superseded_at IS NULL AND released_at IS NULL ORDER BY key"
)

_CALENDAR_YEARS: LiteralString = (
    "SELECT extract(year FROM date_id)::int FROM dim_date GROUP BY 1 HAVING count(*) > 1"
)
"""The years of the calendar, which remain when no date uses them any more. A year with a single day
is an error, and not expected."""


@dataclass(frozen=True)
class Difference:
    """A key that differs: `missing` in the warehouse, `surplus` there, or in these columns."""

    key: str
    kind: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableResult:
    """The result for one star table.

    `more` is the number of differing buckets whose rows were not fetched. `quarantined` are keys
    that are not compared because a version is in quarantine.
    """

    name: str
    source_rows: int
    warehouse_rows: int
    differing: tuple[Difference, ...]
    more: int
    quarantined: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether source and warehouse have the same rows."""
        return not self.differing and not self.more


@dataclass(frozen=True)
class VerifyResult:
    """The comparison of the warehouse as of `batch` with the source in the batch's snapshot."""

    batch: int
    tables: tuple[TableResult, ...]

    @property
    def equal(self) -> bool:
        """Whether all tables are equal."""
        return all(table.equal for table in self.tables)

    def to_json(self) -> dict[str, Any]:
        """Return the result as `totes verify --json` prints it."""
        tables = [asdict(table) | {"equal": table.equal} for table in self.tables]
        return {"equal": self.equal, "batch": self.batch, "tables": tables}


def verify(pipeline: Pipeline, progress: Progress = NO_PROGRESS) -> VerifyResult:
    """Update the warehouse to a snapshot of the source, and compare the two in that snapshot.

    The time and the result are recorded in the warehouse. Raises WarehouseError if other runs load
    newer batches ATTEMPTS times.
    """
    with connect(pipeline.warehouse) as warehouse:
        check_schema(warehouse, pipeline.star)  # before anything is captured
    for _ in range(ATTEMPTS):
        reader = pipeline.log_reader
        with open_capture(
            pipeline.source, pipeline.ingestion, pipeline.scope, pipeline.rates, reader
        ) as capture:
            try:
                captured = capture_batch(
                    capture, pipeline.ingestion, rates=pipeline.rates, progress=progress
                )
            except LogUnreadable:
                continue  # the next attempt re-creates the slot
            if captured is None or not captured.is_complete:
                continue
            batch = captured.batch or (capture.last[0] if capture.last else None)
            if batch is None:
                raise AssertionError  # an empty store always gets its first batch
            for _ in transform(
                pipeline.ingestion, pipeline.processed, pipeline.star, progress=progress
            ):
                pass
            for _ in load(pipeline.processed, pipeline.warehouse, pipeline.star, progress=progress):
                pass
            with connect(pipeline.warehouse) as warehouse, warehouse.transaction():
                warehouse.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                (loaded,) = _fetch_column(warehouse, "SELECT max(batch) FROM totes.batches")
                if reader:
                    reader.close()  # both snapshots are open: `totes run` may read the log again
                if loaded == batch.batch:
                    rows = max(table.rows for table in batch.source_tables)
                    buckets = max(_MIN_BUCKETS, rows // _BUCKET_ROWS)
                    comparison = _Comparison(pipeline.star, capture.snapshot, warehouse, buckets)
                    result = VerifyResult(batch.batch, tuple(comparison.compare_tables(progress)))
                    _record(result, pipeline.warehouse)
                    return result
    raise WarehouseError(
        f"Another run loaded newer batches {ATTEMPTS} times during the comparison: "
        "stop it, or try again."
    )


def _record(result: VerifyResult, dsn: Dsn) -> None:
    with connect(dsn) as warehouse, warehouse.transaction():
        warehouse.execute(
            "INSERT INTO totes.verifications (batch, equal) VALUES (%s, %s) ON CONFLICT (one)"
            " DO UPDATE SET batch = excluded.batch, equal = excluded.equal, verified_at = DEFAULT",
            [result.batch, result.equal],
        )


@dataclass(frozen=True)
class _Side:
    """A snapshot of source or warehouse, and SQL for the rows of a star table in it."""

    connection: psycopg.Connection
    rows: Callable[[StarTable], sql.Composable]


class _Comparison:
    """The open snapshots of source and warehouse, and the number of buckets."""

    def __init__(
        self, star: Star, snapshot: Snapshot, warehouse: psycopg.Connection, buckets: int
    ) -> None:
        self._source = _Side(
            snapshot.connection,
            lambda table: queries.source_rows(table, star.verify_sql(table.name)),
        )
        self._warehouse = _Side(warehouse, queries.warehouse_rows)
        self._buckets = buckets
        snapshot.connection.execute(
            sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(snapshot.scope.schema))
        )
        currencies = list(_currencies(snapshot.connection))
        self._tables = [table for table in star.tables.values() if table.in_source]
        self._quarantined = {
            table.name: _fetch_column(warehouse, _QUARANTINED_KEYS, star=table.name)
            for table in self._tables
        }
        self._parameters: dict[str, object] = {
            "seed": secrets.randbits(63),
            "iso_codes": [code for code, _ in currencies],
            "iso_names": [name for _, name in currencies],
            "years": _fetch_column(warehouse, _CALENDAR_YEARS) if "dim_date" in star.tables else [],
            **{f"quarantined_{name}": keys for name, keys in self._quarantined.items()},
        }
        self._digests = dict(self._choose_digests())

    def compare_tables(self, progress: Progress) -> Iterator[TableResult]:
        """Yield the results after all tables have been compared.

        Neither side waits for the other: the warehouse has a thread of its own.
        """
        pool = ThreadPoolExecutor(1)
        try:
            pending = [
                pool.submit(self._fetch_digests, self._warehouse, table) for table in self._tables
            ]
            compared = []
            for table, in_warehouse in zip(self._tables, pending, strict=True):
                progress.start(f"verify {table.name}")
                source = self._fetch_digests(self._source, table)
                warehouse = in_warehouse.result()
                buckets = source.keys() | warehouse.keys()
                differing = sorted(b for b in buckets if source.get(b) != warehouse.get(b))
                compared.append((table, _count_rows(source), _count_rows(warehouse), differing))
            for table, source_rows, warehouse_rows, differing in compared:
                shown = differing[:_MAX_BUCKETS_SHOWN]
                yield TableResult(
                    name=table.name,
                    source_rows=source_rows,
                    warehouse_rows=warehouse_rows,
                    differing=tuple(self._find_differences(table, shown, pool)) if shown else (),
                    more=len(differing[_MAX_BUCKETS_SHOWN:]),
                    quarantined=tuple(self._quarantined[table.name]),
                )
        finally:
            pool.shutdown(cancel_futures=True)

    def _choose_digests(self) -> Iterator[tuple[str, queries.Digest]]:
        """Yield for each table a digest that both servers compute equally."""
        sides = (self._source, self._warehouse)
        samples = [
            side.connection.execute(queries.HASHES_OF_A_SAMPLE, self._parameters).fetchone()
            for side in sides
        ]
        for table in self._tables:
            if samples[0] == samples[1]:
                yield table.name, queries.hash_digest(*(self._types(side, table) for side in sides))
            else:
                yield table.name, queries.text_digest

    def _types(self, side: _Side, table: StarTable) -> list[int]:
        """Return the OIDs of the columns' types."""
        cursor = self._execute(side, table, queries.select_no_rows(side.rows(table)))
        return [column.type_code for column in cursor.description or ()]

    def _fetch_digests(self, side: _Side, table: StarTable) -> dict[int, tuple[int, Decimal]]:
        """Return the row count and the digest of each bucket that has rows."""
        digest = self._digests[table.name]
        query = queries.select_digests(table, self._buckets, side.rows(table), digest)
        rows = self._execute(side, table, query)
        return {bucket: (count, digest) for bucket, count, digest in rows}

    def _find_differences(
        self, table: StarTable, buckets: list[int], pool: ThreadPoolExecutor
    ) -> Iterator[Difference]:
        def fetch_rows(side: _Side) -> list[tuple[str, list[str | None]]]:
            query = queries.select_rows(table, self._buckets, side.rows(table))
            return self._execute(side, table, query, shown=buckets).fetchall()

        in_warehouse = pool.submit(fetch_rows, self._warehouse)
        return _differences(table, fetch_rows(self._source), in_warehouse.result())

    def _execute(
        self, side: _Side, table: StarTable, query: sql.Composed, **parameters: object
    ) -> psycopg.Cursor[Any]:
        quarantined = self._quarantined[table.name]
        names = {"star": table.name, "quarantined": quarantined}
        return side.connection.execute(query, {**self._parameters, **names, **parameters})


def _count_rows(digests: Mapping[int, tuple[int, Decimal]]) -> int:
    return sum(count for count, _ in digests.values())


def _currencies(source: psycopg.Connection) -> Iterator[tuple[str, str]]:
    """Yield codes and names of ISO 4217, except names that the source's encoding can't encode."""
    encoding = source.info.parameter_status("server_encoding") or "UTF8"
    codec = {"SQL_ASCII": "UTF8"}.get(encoding, encoding.replace("WIN", "cp"))
    for currency in pycountry.currencies:
        try:
            currency.name.encode(codec)
        except (LookupError, UnicodeEncodeError):
            if not currency.name.isascii():
                continue
        yield currency.alpha_3, currency.name


def _differences(
    star: StarTable, source_rows: list[Any], warehouse_rows: list[Any]
) -> Iterator[Difference]:
    """Yield the differences between rows of source and warehouse in the order of their keys."""
    source = dict(source_rows)
    warehouse: dict[str, list[Any]] = {}
    for key, values in warehouse_rows:
        warehouse.setdefault(key, []).append(values)
    for key in sorted(source.keys() | warehouse.keys(), key=_numeric_order):
        expected, actual = source.get(key), warehouse.get(key, [])
        if expected is None or len(actual) > 1:
            yield Difference(key, "surplus")
        elif not actual:
            yield Difference(key, "missing")
        elif expected != actual[0]:
            pairs = zip(star.columns, expected, actual[0], strict=True)
            yield Difference(key, "different", tuple(c.name for c, a, b in pairs if a != b))


def _numeric_order(key: str) -> tuple[int, str]:
    return len(key), key


def _fetch_column(
    connection: psycopg.Connection, query: LiteralString, **parameters: object
) -> list[Any]:
    return [value for (value,) in connection.execute(query, parameters)]
