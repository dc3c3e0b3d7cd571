"""Compares the warehouse with a journal of all changes, which triggers write in the source.

A manifest has the snapshot of its batch, and the journal has the transaction of each change. So
the source's rows in that snapshot can be reconstructed independently of the platform. This module
imports nothing from totes: manifests are read as JSON.
"""

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from warehouse_oracle import (
    COLUMNS,
    DIMENSIONS,
    FACTS,
    Oracle,
    Row,
    read_rows,
    read_source,
    read_versions,
)

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

_EMPTY_SNAPSHOT = "1:1:"
"""A snapshot in which no transaction is visible."""

_JOURNAL: LiteralString = """
CREATE TABLE journal.{entries} (
    entry bigint GENERATED ALWAYS AS IDENTITY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    key integer NOT NULL,
    is_deleted boolean NOT NULL,
    image public.{table}
);
CREATE TABLE replica.{table} (LIKE public.{table} INCLUDING INDEXES);
CREATE FUNCTION journal.{note}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND OLD.{key} <> NEW.{key} THEN
        INSERT INTO journal.{entries} (key, is_deleted) VALUES (OLD.{key}, true);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO journal.{entries} (key, is_deleted, image) VALUES (NEW.{key}, false, NEW);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER journal AFTER INSERT OR UPDATE OR DELETE ON public.{table}
FOR EACH ROW EXECUTE FUNCTION journal.{note}();
"""
"""The journal of a table, and a replica of it. No statement may exchange keys between rows."""

_APPLY_JOURNAL: LiteralString = """
CREATE TEMPORARY TABLE changed_key AS
SELECT DISTINCT ON (key) key, is_deleted, image
FROM journal.{entries}
WHERE pg_visible_in_snapshot(xid, {now}) AND NOT pg_visible_in_snapshot(xid, {before})
ORDER BY key, entry DESC;
DELETE FROM replica.{table} WHERE {key} IN (SELECT key FROM changed_key);
INSERT INTO replica.{table} SELECT (image).* FROM changed_key WHERE NOT is_deleted;
"""
"""Apply the changes between two snapshots to a replica. The last entry of a key is its newest,
because writers of the same key wait for each other."""


_UNRECORDED_VERSIONS: LiteralString = """
SELECT {key}, valid_from FROM {fact}
WHERE valid_from > (SELECT coalesce(max(captured_at), '-infinity') FROM totes.batches)
"""


@dataclass(frozen=True)
class Finding:
    """A difference from the source; its kind is lost, doubled or altered."""

    kind: str
    table: str
    key: str
    batch: int | None
    text: str


@dataclass
class SourceAudit:
    """Replays the journal batch by batch; `admin` is the DSN of a superuser of the source."""

    admin: str
    ingestion: Path
    oracle: Oracle = field(default_factory=Oracle)
    batches: dict[int, datetime] = field(default_factory=dict)
    """The capture times of the batches that have been replayed."""

    complete: list[datetime] = field(default_factory=list)
    """The capture times of the batches that have exactly what their snapshot sees."""

    has_log: bool = False
    """Whether a batch has versions of the log. The journal has no moments of their commits, so
    that only the state at each capture time is compared, and more rows of dimensions may exist."""

    _snapshot: str = _EMPTY_SNAPSHOT

    def install(self) -> None:
        """Create the journal, which must exist before the first row."""
        with psycopg.connect(self.admin) as connection:
            connection.execute("CREATE SCHEMA journal; CREATE SCHEMA replica")
            for table in TABLES:
                connection.execute(_compose(table, _JOURNAL))

    def changes(self) -> int:
        """Return the number of committed changes."""
        with psycopg.connect(self.admin) as connection:
            return sum(_count_entries(connection, table) for table in TABLES)

    def replay_batches(self) -> Iterator[Finding]:
        """Record the source's rows in the snapshot of each new batch."""
        with psycopg.connect(self.admin, options="-cTimeZone=UTC") as connection:
            connection.autocommit = True
            if not self.batches:
                for table in TABLES:
                    connection.execute(_compose(table, "TRUNCATE replica.{table}"))
            while (path := self._manifest(len(self.batches) + 1)).exists():
                batch = json.loads(path.read_text(encoding="utf-8"))
                at = datetime.fromisoformat(batch["captured_at"])
                if self.batches and at <= max(self.batches.values()):
                    yield Finding(
                        "altered",
                        "batches",
                        "-",
                        batch["batch"],
                        f"its time {at} is not after the last one",
                    )
                changes = self._apply_journal(connection, batch["snapshot"])
                self.has_log = self.has_log or any(table["of_log"] for table in batch["tables"])
                if not (batch["log"] and batch["log"]["ahead"]):
                    self.complete.append(at)
                # The first batch that is read from the log may have none.
                if not (changes or batch["released"] or batch["log"]):
                    yield Finding("doubled", "batches", "-", batch["batch"], "has no changes")
                self.oracle.record(read_source(connection), at)
                self.batches[len(self.batches) + 1] = at

    def _manifest(self, batch: int) -> Path:
        return self.ingestion / "batches" / f"{batch:012d}.json"

    def _apply_journal(self, connection: psycopg.Connection, snapshot: str) -> int:
        """Update the replica to a snapshot; return the number of changed rows."""
        changes = 0
        with connection.transaction():
            for table in TABLES:
                for statement in _APPLY_JOURNAL.split(";\n")[:3]:
                    composed = _compose(table, statement, now=snapshot, before=self._snapshot)
                    changes += max(connection.execute(composed).rowcount, 0)
                connection.execute("DROP TABLE changed_key")
        connection.execute("SET search_path TO replica")
        self._snapshot = snapshot
        return changes

    def rows(self, table: str) -> list[tuple[str | None, ...]]:
        """Return a source table at the last batch, with values as text, in any order."""
        with psycopg.connect(self.admin, options="-cTimeZone=UTC") as connection:
            result = connection.execute(_compose(table, "SELECT * FROM replica.{table}")).pgresult
            assert result is not None
            return [
                tuple(
                    None if value is None else value.decode()
                    for value in (result.get_value(row, column) for column in range(result.nfields))
                )
                for row in range(result.ntuples)
            ]

    def compare(self, warehouse: str) -> Iterator[Finding]:
        """Yield all differences between the warehouse and the expected rows."""
        with psycopg.connect(warehouse, options="-cTimeZone=UTC") as connection:
            for fact in FACTS:
                yield from self._compare_fact(connection, fact)
            for dimension in DIMENSIONS:
                yield from self._compare_dimension(connection, dimension)
            yield from self._compare_calendar(connection)
            yield from self._compare_batches(connection)

    def find_partial_loads(self, warehouse: str) -> Iterator[Finding]:
        """Yield versions that are visible although their batch is not recorded."""
        with psycopg.connect(warehouse) as connection:
            for fact in FACTS:
                with suppress(psycopg.errors.UndefinedTable), connection.transaction():
                    found = connection.execute(
                        sql.SQL(_UNRECORDED_VERSIONS).format(
                            fact=sql.Identifier(fact),
                            key=sql.Identifier(COLUMNS[fact][0]),
                        )
                    ).fetchall()
                    for key, since in found:
                        text = f"valid from {since}, but its batch is not recorded"
                        yield Finding("altered", fact, str(key), None, text)

    def _compare_fact(self, connection: psycopg.Connection, fact: str) -> Iterator[Finding]:
        """Versions are compared by key and valid_from; valid_to is the last value."""
        found = defaultdict[tuple[Any, datetime], list[Row]](list)
        for *values, since, until in read_versions(connection, fact):
            found[values[0], since].append((*values, until))
        if self.has_log:
            yield from self._compare_states(fact, found)
            return
        yield from self._differences(
            fact, self.oracle.versions[fact], found, (*COLUMNS[fact], "valid_to")
        )

    def _compare_states(
        self, fact: str, found: Mapping[tuple[Any, datetime], list[Row]]
    ) -> Iterator[Finding]:
        """Compare the versions of each capture time; no two may be valid at the same time."""
        expected = {at: [row] for at, row in self.oracle.versions[fact].items()}
        states = [_states(versions, self.complete) for versions in (expected, found)]
        for key in states[0].keys() | states[1].keys():
            pairs = zip(
                *(state.get(key, [[] for _ in self.complete]) for state in states), strict=True
            )
            for at, (there, here) in zip(self.complete, pairs, strict=True):
                if there != here:
                    kind = "doubled" if len(here) > 1 else "altered" if here else "lost"
                    yield Finding(kind, fact, str(key), None, f"at {at}: {there}, {here}")
                    break

    def _compare_dimension(
        self, connection: psycopg.Connection, dimension: str
    ) -> Iterator[Finding]:
        found = defaultdict[tuple[Any, None], list[Row]](list)
        for row in read_rows(connection, dimension):
            if not self.has_log or row[0] in self.oracle.latest[dimension]:
                found[row[0], None].append(row)
        latest = {(key, None): row for key, row in self.oracle.latest[dimension].items()}
        yield from self._differences(dimension, latest, found, COLUMNS[dimension])
        recorded = connection.execute(
            "SELECT key FROM totes.deleted_dimension_rows WHERE table_name = %s", [dimension]
        )
        recorded_keys, deleted_keys = (
            {key for (key,) in recorded},
            self.oracle.deleted_keys(dimension),
        )
        for key in deleted_keys - recorded_keys:
            yield Finding("lost", dimension, key, None, "its deletion")
        live = {str(key) for key in self.oracle.rows[dimension]}
        for key in recorded_keys & live if self.has_log else recorded_keys - deleted_keys:
            yield Finding("altered", dimension, key, None, "a deletion that did not happen")

    def _differences(
        self, table: str, expected: Any, found: Any, columns: tuple[str, ...]
    ) -> Iterator[Finding]:
        """Compare rows by key and valid_from; `found` has a list of rows for each."""
        batch_at = {at: batch for batch, at in self.batches.items()}
        for at in expected.keys() | found.keys():
            key, since = at
            there = found.get(at, [])
            batch = batch_at.get(since)
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
        for day in expected - days if self.has_log else expected ^ days:
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


def _states(
    versions: Mapping[tuple[Any, datetime], list[Row]], moments: list[datetime]
) -> dict[Any, list[list[Row]]]:
    """Return by key the rows that are valid at each moment, without `valid_to`."""
    states: dict[Any, list[list[Row]]] = {}
    for (key, since), rows in versions.items():
        for *values, until in rows:
            first = bisect_left(moments, since)
            last = len(moments) if until is None else bisect_left(moments, until)
            state = states.setdefault(key, [[] for _ in moments])
            for place in range(first, last):
                state[place].append(tuple(values))
    return states


def _compose(table: str, statement: LiteralString, **values: object) -> sql.Composed:
    return sql.SQL(statement).format(
        table=sql.Identifier(table),
        key=sql.Identifier(f"{table}_id"),
        entries=sql.Identifier(table),
        note=sql.Identifier(f"note_{table}"),
        **values,
    )


def _count_entries(connection: psycopg.Connection, table: str) -> int:
    found = connection.execute(_compose(table, "SELECT count(*) FROM journal.{entries}"))
    return sum(rows for (rows,) in found)
