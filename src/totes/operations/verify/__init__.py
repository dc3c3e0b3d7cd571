"""Proof: source against warehouse, row by row, without moving rows that are equal.

Both servers deal their rows into buckets by key and send a count and a digest of each bucket; only
the rows of buckets that differ are fetched, to say which keys and columns. What the warehouse must
show is said by SQL of its own (`source/*.sql`), written independently of the models.

A source that goes on changing is captured, loaded and compared within one snapshot of it.

The exchange rates are left out: totesys has none to compare them with.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, LiteralString

import psycopg
import pycountry
from psycopg import sql

from totes.config.settings import Dsn
from totes.errors import WarehouseError
from totes.progress import QUIET, Progress
from totes.source.snapshot import Snapshot, open_snapshot
from totes.stages.ingest import capture_batch, newest_batch
from totes.stages.load import load
from totes.stages.runner import Pipeline
from totes.stages.transform import transform
from totes.star.contract import AMOUNT, BIGINT, DATE, INTEGER, MONEY, Column, StarTable
from totes.star.definition import Star
from totes.warehouse.connection import connect
from totes.warehouse.schema import check

ATTEMPTS = 5
"""How often verify starts again because another run brought a newer batch meanwhile."""

_BUCKET_ROWS = 256
_LEAST_BUCKETS = 1024
_MOST_BUCKETS_SHOWN = 20

_APART: LiteralString = (
    "SELECT DISTINCT key FROM totes.quarantine WHERE star_table = %(star)s"
    " AND superseded_at IS NULL AND released_at IS NULL ORDER BY key"
)

_YEARS: LiteralString = (
    "SELECT extract(year FROM date_id)::int FROM dim_date GROUP BY 1 HAVING count(*) > 1"
)
"""The calendar never shrinks; a single day is no calendar but a mistake."""


@dataclass(frozen=True)
class Difference:
    """A key that differs: `missing` in the warehouse, `surplus` there, or in these columns."""

    key: str
    kind: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableVerdict:
    """What was compared of one star table.

    `more` counts differing buckets of keys beyond those whose rows were looked at; `quarantined`
    are keys left out of the comparison because a version of theirs was refused.
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
class Verdict:
    """The warehouse as of `batch` against the source in the snapshot of that batch."""

    batch: int
    tables: tuple[TableVerdict, ...]

    @property
    def equal(self) -> bool:
        """Whether all tables are equal."""
        return all(table.equal for table in self.tables)

    def to_json(self) -> dict[str, Any]:
        """The verdict as `totes verify --json` prints it."""
        tables = [asdict(table) | {"equal": table.equal} for table in self.tables]
        return {"equal": self.equal, "batch": self.batch, "tables": tables}


def verify(pipeline: Pipeline, progress: Progress = QUIET) -> Verdict:
    """Bring the warehouse up to one snapshot of the source and compare the two in it.

    The warehouse records when that was, and whether they were equal.
    """
    with connect(pipeline.warehouse) as warehouse:
        check(warehouse, pipeline.star)  # before anything is captured
    for _ in range(ATTEMPTS):
        last = newest_batch(pipeline.ingestion)
        with open_snapshot(pipeline.source, pipeline.scope) as snapshot:
            ingested = capture_batch(
                snapshot, pipeline.ingestion, last, rates=pipeline.rates, progress=progress
            )
            if ingested is None:
                continue
            batch = ingested.batch or (last[0] if last else None)
            if batch is None:
                raise AssertionError  # an empty store always gets its first batch
            for _made in transform(
                pipeline.ingestion, pipeline.processed, pipeline.star, progress=progress
            ):
                pass
            for _loaded in load(
                pipeline.processed, pipeline.warehouse, pipeline.star, progress=progress
            ):
                pass
            with connect(pipeline.warehouse) as warehouse, warehouse.transaction():
                warehouse.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                (loaded,) = _column(warehouse, "SELECT max(batch) FROM totes.batches")
                if loaded == batch.batch:
                    rows = max(table.rows for table in batch.captured)
                    buckets = max(_LEAST_BUCKETS, rows // _BUCKET_ROWS)
                    comparison = _Comparison(pipeline.star, snapshot, warehouse, buckets)
                    verdict = Verdict(batch.batch, tuple(comparison.tables(progress)))
                    return _recorded(verdict, pipeline.warehouse)
    raise WarehouseError(
        f"Another run brought newer batches {ATTEMPTS} times while verify compared: "
        "stop it, or try again."
    )


def _recorded(verdict: Verdict, dsn: Dsn) -> Verdict:
    """Tell those who read the warehouse what came of it."""
    with connect(dsn) as warehouse, warehouse.transaction():
        warehouse.execute(
            "INSERT INTO totes.verifications (batch, equal) VALUES (%s, %s) ON CONFLICT (one)"
            " DO UPDATE SET batch = excluded.batch, equal = excluded.equal, verified_at = DEFAULT",
            [verdict.batch, verdict.equal],
        )
    return verdict


class _Comparison:
    """Two open snapshots, and how many buckets the keys are dealt into."""

    def __init__(
        self, star: Star, snapshot: Snapshot, warehouse: psycopg.Connection, buckets: int
    ) -> None:
        self._star = star
        self._snapshot = snapshot
        self._warehouse = warehouse
        self._buckets = buckets
        snapshot.connection.execute(
            sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(snapshot.scope.schema))
        )
        currencies = list(_currencies(snapshot.connection))
        compared = [table for table in star.tables.values() if table.in_source]
        self._apart = {
            table.name: _column(warehouse, _APART, star=table.name) for table in compared
        }
        self._parameters: dict[str, object] = {
            "iso_codes": [code for code, _ in currencies],
            "iso_names": [name for _, name in currencies],
            "years": _column(warehouse, _YEARS) if "dim_date" in star.tables else [],
            **{f"apart_from_{name}": keys for name, keys in self._apart.items()},
        }

    def tables(self, progress: Progress) -> Iterator[TableVerdict]:
        with ThreadPoolExecutor(2) as pool:
            for name in self._apart:
                progress.start(f"verify {name}")
                yield self._table(self._star.tables[name], pool)

    def _table(self, star: StarTable, pool: ThreadPoolExecutor) -> TableVerdict:
        apart = self._apart[star.name]
        parameters = {**self._parameters, "apart": apart, "star": star.name}
        source_rows = _source_rows(star, self._star.verify_sql(star.name))
        warehouse_rows = _warehouse_rows(star)

        def both(
            query: Callable[[StarTable, int, sql.Composable], sql.Composed],
        ) -> list[list[Any]]:
            """Ask source and warehouse the same of their rows, at the same time."""
            queries = [query(star, self._buckets, rows) for rows in (source_rows, warehouse_rows)]
            there = pool.submit(_fetch, self._warehouse, queries[1], parameters)
            here = _fetch(self._snapshot.connection, queries[0], parameters)
            return [here, there.result()]

        here, there = ({bucket: rest for bucket, *rest in rows} for rows in both(_digests))
        differing = sorted(b for b in here.keys() | there.keys() if here.get(b) != there.get(b))
        parameters["shown"] = differing[:_MOST_BUCKETS_SHOWN]
        return TableVerdict(
            name=star.name,
            source_rows=sum(count for count, _ in here.values()),
            warehouse_rows=sum(count for count, _ in there.values()),
            differing=tuple(_differences(star, *both(_rows_of))) if differing else (),
            more=len(differing[_MOST_BUCKETS_SHOWN:]),
            quarantined=tuple(apart),
        )


def _currencies(source: psycopg.Connection) -> Iterator[tuple[str, str]]:
    """Codes and names of ISO 4217, less the names that the source's encoding can't hold."""
    encoding = source.info.parameter_status("server_encoding") or "UTF8"
    known = {"SQL_ASCII": "UTF8"}.get(encoding, encoding.replace("WIN", "cp"))
    for currency in pycountry.currencies:
        try:
            currency.name.encode(known)
        except (LookupError, UnicodeEncodeError):
            if not currency.name.isascii():
                continue
        yield currency.alpha_3, currency.name


def _source_rows(star: StarTable, query: str) -> sql.Composable:
    trusted = sql.SQL(query)  # of the star's folder, as its models are
    return sql.SQL("({}) AS t ({})").format(trusted, _names(star))


def _warehouse_rows(star: StarTable) -> sql.Composable:
    """The rows that are true now: current versions, and dimension rows not deleted since."""
    columns = sql.SQL(", ").join(map(_comparable, star.columns))
    current = sql.SQL(
        "valid_to IS NULL"
        if star.is_fact
        else "NOT EXISTS (SELECT FROM totes.deleted_dimension_rows AS gone"
        " WHERE gone.table_name = %(star)s AND gone.key = {key})"
    ).format(key=_key(star))
    return sql.SQL("(SELECT {} FROM {} WHERE {}) AS t ({})").format(
        columns, sql.Identifier(star.name), current, _names(star)
    )


def _comparable(column: Column) -> sql.Composable:
    """A column, its text independent of how many zeros its type pads fractions with."""
    name = sql.Identifier(column.name)
    return sql.SQL("trim_scale({})").format(name) if column.type in {MONEY, AMOUNT} else name


def _names(star: StarTable) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(column.name) for column in star.columns)


def _values(star: StarTable) -> sql.Composable:
    texts = (sql.SQL("{}::text").format(sql.Identifier(column.name)) for column in star.columns)
    return sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join(texts))


def _bucket(star: StarTable, buckets: int) -> sql.Composable:
    key, *others = star.key
    number = "('x' || left(md5({}), 7))::bit(28)::int"
    if not others and key.type in {INTEGER, BIGINT}:
        number = "{}"
    elif not others and key.type is DATE:
        number = "({} - date '1900-01-01')"
    named = sql.Identifier(key.name) if number.startswith(("{", "({")) else _key(star)
    return sql.SQL("mod({}, {})").format(sql.SQL(number).format(named), buckets)


def _key(star: StarTable) -> sql.Composable:
    """The natural key as one text, as bookkeeping tables hold it."""
    parts = [sql.SQL("{}::text").format(sql.Identifier(name)) for name in star.key_names]
    if len(parts) == 1:
        return parts[0]
    return sql.SQL("jsonb_build_array({})::text").format(sql.SQL(", ").join(parts))


def _digests(star: StarTable, buckets: int, rows: sql.Composable) -> sql.Composed:
    """Bucket, rows in it, and a digest that no order changes."""
    return sql.SQL(
        "SELECT {bucket}, count(*),"
        " bit_xor(('x' || left(md5(convert_to({values}::text, 'UTF8')), 16))::bit(64)::bigint)"
        " FROM {rows} WHERE {apart} GROUP BY 1"
    ).format(bucket=_bucket(star, buckets), values=_values(star), rows=rows, apart=_not_apart(star))


def _rows_of(star: StarTable, buckets: int, rows: sql.Composable) -> sql.Composed:
    """All columns as text, of the rows in the buckets `shown`."""
    return sql.SQL(
        "SELECT {key}, {values} FROM {rows} WHERE {apart} AND {bucket} = ANY (%(shown)s)"
    ).format(
        bucket=_bucket(star, buckets),
        key=_key(star),
        values=_values(star),
        rows=rows,
        apart=_not_apart(star),
    )


def _not_apart(star: StarTable) -> sql.Composable:
    return sql.SQL("{} <> ALL (%(apart)s)").format(_key(star))


def _differences(star: StarTable, here: list[Any], there: list[Any]) -> Iterator[Difference]:
    """What differs between rows of the source and of the warehouse, key by key."""
    source = dict(here)
    warehouse: dict[str, list[Any]] = {}
    for key, values in there:
        warehouse.setdefault(key, []).append(values)
    for key in sorted(source.keys() | warehouse.keys(), key=_natural):
        expected, found = source.get(key), warehouse.get(key, [])
        if expected is None or len(found) > 1:
            yield Difference(key, "surplus")
        elif not found:
            yield Difference(key, "missing")
        elif expected != found[0]:
            pairs = zip(star.columns, expected, found[0], strict=True)
            yield Difference(key, "different", tuple(c.name for c, a, b in pairs if a != b))


def _natural(key: str) -> tuple[int, str]:
    return len(key), key


def _fetch(
    connection: psycopg.Connection, query: sql.Composed, parameters: dict[str, object]
) -> list[Any]:
    return connection.execute(query, parameters).fetchall()


def _column(
    connection: psycopg.Connection, query: LiteralString, **parameters: object
) -> list[Any]:
    return [value for (value,) in connection.execute(query, parameters)]
