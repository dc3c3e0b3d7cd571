"""What every capture must have seen, told by a journal that triggers keep in the source itself.

A manifest says which snapshot its batch is of. The journal says which transaction wrote what. So
the source can be had as it was in that snapshot, whatever the platform read, and when. Imports
nothing from totes: the lake's manifests are read as plain JSON.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from warehouse_oracle import DIMENSIONS, FACTS, Oracle, Row, look

TABLES = (
    "address",
    "counterparty",
    "currency",
    "department",
    "design",
    "payment",
    "payment_type",
    "purchase_order",
    "sales_order",
    "staff",
    "transaction",
)

_BEGINNING = "1:1:"
"""A snapshot that sees nothing."""

_JOURNAL: LiteralString = """
CREATE TABLE journal.{entries} (
    entry bigint GENERATED ALWAYS AS IDENTITY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    key integer NOT NULL,
    gone boolean NOT NULL,
    image public.{table}
);
CREATE TABLE witness.{table} (LIKE public.{table} INCLUDING INDEXES);
CREATE FUNCTION journal.{note}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND OLD.{key} <> NEW.{key} THEN
        INSERT INTO journal.{entries} (key, gone) VALUES (OLD.{key}, true);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO journal.{entries} (key, gone, image) VALUES (NEW.{key}, false, NEW);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER journal AFTER INSERT OR UPDATE OR DELETE ON public.{table}
FOR EACH ROW EXECUTE FUNCTION journal.{note}();
"""
"""One row written by a statement at a time: within one, keys must not be handed on."""

_FOLD: LiteralString = """
CREATE TEMPORARY TABLE news AS
SELECT DISTINCT ON (key) key, gone, image
FROM journal.{entries}
WHERE pg_visible_in_snapshot(xid, {now}) AND NOT pg_visible_in_snapshot(xid, {before})
ORDER BY key, entry DESC;
DELETE FROM witness.{table} WHERE {key} IN (SELECT key FROM news);
INSERT INTO witness.{table} SELECT (image).* FROM news WHERE NOT gone;
"""
"""Bring a table from the snapshot before to this one: a key's writers wait for one another."""


_HALF: LiteralString = """
SELECT {key}, valid_from FROM {fact}
WHERE valid_from > (SELECT coalesce(max(captured_at), '-infinity') FROM totes.batches)
"""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was in the source: `kind` is lost, doubled or altered."""

    kind: str
    table: str
    key: str
    batch: int | None
    text: str


@dataclass
class SourceAudit:
    """Follows a lake's batches with the source's journal; `admin` is a superuser's DSN there."""

    admin: str
    ingestion: Path
    oracle: Oracle = field(default_factory=Oracle)
    batches: dict[int, datetime] = field(default_factory=dict)
    """When each batch was captured, of those followed so far."""

    _snapshot: str = _BEGINNING

    def install(self) -> None:
        """Before the first row: the journal knows what was written while it was there."""
        with psycopg.connect(self.admin) as connection:
            connection.execute("CREATE SCHEMA journal; CREATE SCHEMA witness")
            for table in TABLES:
                connection.execute(_of(table, _JOURNAL))

    def changes(self) -> int:
        """How many rows have been written and committed."""
        with psycopg.connect(self.admin) as connection:
            return sum(_rows_of(connection, table) for table in TABLES)

    def follow(self) -> Iterator[Finding]:
        """Look at the source as each new batch must have seen it."""
        with psycopg.connect(self.admin, options="-cTimeZone=UTC") as connection:
            connection.autocommit = True
            if not self.batches:
                for table in TABLES:
                    connection.execute(_of(table, "TRUNCATE witness.{table}"))
            while (path := self._manifest(len(self.batches) + 1)).exists():
                batch = json.loads(path.read_text(encoding="utf-8"))
                at = datetime.fromisoformat(batch["captured_at"])
                if self.batches and at <= max(self.batches.values()):
                    yield Finding("altered", "batches", "-", batch["batch"], f"goes back to {at}")
                news = self._fold(connection, batch["snapshot"])
                if not (news or batch["released"]):
                    yield Finding("doubled", "batches", "-", batch["batch"], "has nothing new")
                self.oracle.record(look(connection), at)
                self.batches[len(self.batches) + 1] = at

    def _manifest(self, batch: int) -> Path:
        return self.ingestion / "batches" / f"{batch:012d}.json"

    def _fold(self, connection: psycopg.Connection, snapshot: str) -> int:
        """How many rows are new or gone."""
        news = 0
        with connection.transaction():
            for table in TABLES:
                for statement in _FOLD.split(";\n")[:3]:
                    fold = _of(table, statement, now=snapshot, before=self._snapshot)
                    news += max(connection.execute(fold).rowcount, 0)
                connection.execute("DROP TABLE news")
        connection.execute("SET search_path TO witness")
        self._snapshot = snapshot
        return news

    def rows(self, table: str) -> list[tuple[str | None, ...]]:
        """A source table as of the last batch, as PostgreSQL prints its values; in no order."""
        with psycopg.connect(self.admin, options="-cTimeZone=UTC") as connection:
            result = connection.execute(_of(table, "SELECT * FROM witness.{table}")).pgresult
            assert result is not None
            return [
                tuple(
                    None if value is None else value.decode()
                    for value in (result.get_value(row, column) for column in range(result.nfields))
                )
                for row in range(result.ntuples)
            ]

    def compare(self, warehouse: str) -> Iterator[Finding]:
        """What the warehouse holds, and what it must hold."""
        with psycopg.connect(warehouse, options="-cTimeZone=UTC") as connection:
            for fact in FACTS:
                yield from self._compare_fact(connection, fact)
            for dimension in DIMENSIONS:
                yield from self._compare_dimension(connection, dimension)
            yield from self._compare_calendar(connection)
            yield from self._compare_batches(connection)

    def half_loaded(self, warehouse: str) -> Iterator[Finding]:
        """Versions that readers see although their batch is not there."""
        with psycopg.connect(warehouse) as connection:
            for fact in FACTS:
                with suppress(psycopg.errors.UndefinedTable), connection.transaction():
                    found = connection.execute(
                        sql.SQL(_HALF).format(
                            fact=sql.Identifier(fact),
                            key=sql.Identifier(f"{fact.removeprefix('fact_')}_id"),
                        )
                    ).fetchall()
                    for key, since in found:
                        text = f"is there since {since}, its batch is not"
                        yield Finding("altered", fact, str(key), None, text)

    def _compare_fact(self, connection: psycopg.Connection, fact: str) -> Iterator[Finding]:
        """A version is the key and when it began; its last value is when it ended."""
        found = defaultdict[tuple[Any, datetime], list[Row]](list)
        columns, rows = _all(connection, fact)
        for _, *values, since, until in rows:
            found[values[0], since].append((*values, until))
        yield from self._differences(
            fact, self.oracle.versions[fact], found, [*columns[1:-2], columns[-1]]
        )

    def _compare_dimension(
        self, connection: psycopg.Connection, dimension: str
    ) -> Iterator[Finding]:
        found = defaultdict[tuple[Any, None], list[Row]](list)
        columns, rows = _all(connection, dimension)
        for row in rows:
            found[row[0], None].append(row)
        latest = {(key, None): row for key, row in self.oracle.latest[dimension].items()}
        yield from self._differences(dimension, latest, found, columns)
        recorded = connection.execute(
            "SELECT key FROM totes.deleted_dimension_rows WHERE table_name = %s", [dimension]
        )
        deleted, gone = {key for (key,) in recorded}, self.oracle.gone(dimension)
        for key in gone - deleted:
            yield Finding("lost", dimension, key, None, "its deletion")
        for key in deleted - gone:
            yield Finding("altered", dimension, key, None, "a deletion that never was")

    def _differences(
        self, table: str, expected: Any, found: Any, columns: list[str]
    ) -> Iterator[Finding]:
        """`expected` and `found` by key and beginning; the latter lists all that were found."""
        of = {at: batch for batch, at in self.batches.items()}
        for at in expected.keys() | found.keys():
            key, since = at
            there = found.get(at, [])
            batch = of.get(since)
            if at not in expected:
                yield Finding("doubled", table, str(key), batch, f"surplus: {there}")
            elif not there:
                yield Finding("lost", table, str(key), batch, f"missing: {expected[at]}")
            elif len(there) > 1:
                yield Finding("doubled", table, str(key), batch, f"{len(there)} times")
            elif there[0] != expected[at]:
                pairs = zip(columns, expected[at], there[0], strict=True)
                text = ", ".join(f"{name}: {a!r} became {b!r}" for name, a, b in pairs if a != b)
                yield Finding("altered", table, str(key), batch, text)

    def _compare_calendar(self, connection: psycopg.Connection) -> Iterator[Finding]:
        days = {day for (day,) in connection.execute("SELECT date_id FROM dim_date")}
        expected = {
            date.fromordinal(day)
            for year in self.oracle.years
            for day in range(date(year, 1, 1).toordinal(), date(year + 1, 1, 1).toordinal())
        }
        for day in expected ^ days:
            kind = "lost" if day in expected else "doubled"
            yield Finding(kind, "dim_date", str(day), None, "")

    def _compare_batches(self, connection: psycopg.Connection) -> Iterator[Finding]:
        loaded: dict[int, datetime] = dict(
            connection.execute("SELECT batch, captured_at FROM totes.batches").fetchall()
        )
        for batch in self.batches.keys() | loaded.keys():
            expected, found = self.batches.get(batch), loaded.get(batch)
            if expected != found:
                kind = "lost" if found is None else "doubled" if expected is None else "altered"
                yield Finding(kind, "totes.batches", str(batch), batch, f"{expected}, {found}")


def _of(table: str, statement: LiteralString, **values: object) -> sql.Composed:
    return sql.SQL(statement).format(
        table=sql.Identifier(table),
        key=sql.Identifier(f"{table}_id"),
        entries=sql.Identifier(table),
        note=sql.Identifier(f"note_{table}"),
        **values,
    )


def _rows_of(connection: psycopg.Connection, table: str) -> int:
    found = connection.execute(_of(table, "SELECT count(*) FROM journal.{entries}"))
    return sum(rows for (rows,) in found)


def _all(connection: psycopg.Connection, table: str) -> tuple[list[str], list[Row]]:
    """Columns and rows."""
    cursor = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
    return [column.name for column in cursor.description or ()], cursor.fetchall()
