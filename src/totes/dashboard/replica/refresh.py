"""Copy the changed rows of the warehouse, or whole tables, into a replica in one transaction."""

import json
import tempfile
from collections.abc import Buffer, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
from psycopg import Connection, sql
from psycopg.rows import class_row

from totes.dashboard.replica.tables import TABLES, ReplicaTable
from totes.progress import Progress
from totes.sql_text import literal, quote, read_sql

CHUNK_BYTES = 32 << 20
"""The approximate size of the CSV files in which DuckDB reads the rows."""

STATE_TABLE = "replica_state"

MAX_LINE_BYTES = 256 << 20
"""DuckDB reads longer CSV rows only with a larger limit."""


@dataclass(frozen=True)
class State:
    """A state of the warehouse.

    `server` identifies the server and its timeline, the database and the schema. `snapshot` is the
    result of `pg_current_snapshot()`. `batch` is the newest batch, captured and loaded at these
    times. The first batch was captured at `history_begins`; at `checked_at` the source had no newer
    changes. `layouts` identifies the storage and the triggers of each table: changes that the
    triggers do not record (TRUNCATE, a bulk load) change it. It is None if a trigger is missing.
    """

    server: str
    snapshot: str
    batch: int | None
    captured_at: datetime | None
    loaded_at: datetime | None
    history_begins: datetime | None
    checked_at: datetime | None
    layouts: dict[str, str | None]
    rows: int
    """The number of rows of all tables, estimated from the server's statistics."""


def refresh(
    connection: Connection[Any], engine: duckdb.DuckDBPyConnection, progress: Progress
) -> int:
    """Update a replica to the warehouse's current state; return the number of rows read.

    Readers of the replica see the new state when all of it is there. Raises psycopg.Error and
    duckdb.Error.
    """
    with connection.transaction(), tempfile.TemporaryDirectory(prefix="totes-replica-") as scratch:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute("SET LOCAL lock_timeout = '1s'")
        connection.execute("SET LOCAL row_security = on")
        relations = sql.SQL(", ").join(table.relation for table in TABLES.values())
        # Before the snapshot is taken: a table that is truncated after it would look empty.
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(relations))
        now, before = _read_state(connection), stored_state(engine)
        if before and before.snapshot == now.snapshot and before.server == now.server:
            return 0
        recorded = _recorded_tables(connection, before, now) if before else set()
        changed = _changed_tables(connection, before) if before and recorded else set()
        copy = _Copy(connection, engine, Path(scratch) / "rows.csv", progress)
        rows = 0
        with _transaction(engine):
            for table in TABLES.values():
                if table.name not in recorded:
                    progress.start(f"copy {table.name}", now.rows)
                    rows += copy.whole(table)
                elif before and table.name in changed:
                    rows += copy.changes(table, before.snapshot)
            _store_state(engine, now)
        return rows


def stored_state(engine: duckdb.DuckDBPyConnection) -> State | None:
    """Return the state of a replica; None if it has none, or other columns than this version."""
    try:
        stored = engine.execute(f"SELECT state, columns FROM {STATE_TABLE}").fetchone()
    except duckdb.CatalogException:
        return None
    state = json.loads(stored[0]) if stored else {}
    if stored is None or stored[1] != _columns() or state.keys() != _FIELDS:
        return None
    for name in ("captured_at", "loaded_at", "history_begins", "checked_at"):
        if state[name] is not None:
            state[name] = datetime.fromisoformat(state[name])
    return State(**state)


_FIELDS = {field.name for field in fields(State)}


def _store_state(engine: duckdb.DuckDBPyConnection, state: State) -> None:
    engine.execute(f"CREATE OR REPLACE TABLE {STATE_TABLE} (state VARCHAR, columns VARCHAR)")
    text = json.dumps(asdict(state), default=datetime.isoformat)
    engine.execute(f"INSERT INTO {STATE_TABLE} VALUES (?, ?)", [text, _columns()])


@cache
def _columns() -> str:
    """Return the replica's tables and columns as one text."""
    return "; ".join(table.create for table in TABLES.values())


def _read_state(connection: Connection[Any]) -> State:
    with connection.cursor(row_factory=class_row(State)) as cursor:
        return cursor.execute(_statement("state", tables=_relations())).fetchall()[0]


def _relations() -> list[str]:
    return [table.relation.as_string() for table in TABLES.values()]


def _recorded_tables(connection: Connection[Any], before: State, now: State) -> set[str]:
    """Return the tables of which `totes.changes` has all changes since a state."""
    if before.server != now.server:
        return set()
    follows = connection.execute(_statement("follows", **asdict(before))).fetchone()
    if follows != (True,):
        return set()
    return {
        name for name, layout in now.layouts.items() if layout and layout == before.layouts[name]
    }


def _changed_tables(connection: Connection[Any], before: State) -> set[str]:
    """Return the tables that `totes.changes` has changes of since a state."""
    query = _statement("changed_tables", tables=_relations(), snapshot=before.snapshot)
    return {name for (name,) in connection.execute(query)}


@dataclass(frozen=True)
class _Copy:
    connection: Connection[Any]
    engine: duckdb.DuckDBPyConnection
    chunk: Path
    progress: Progress

    def whole(self, table: ReplicaTable) -> int:
        """Replace a table; return the number of rows."""
        self.engine.execute(table.create)
        return self._insert(table.name, table.columns, table.select)

    def changes(self, table: ReplicaTable, snapshot: str) -> int:
        """Replace the rows whose keys have changed since a snapshot; return their number."""
        kind = table.columns[table.key]
        keys = _statement(
            "changed_keys", table=table.relation.as_string(), type=sql.SQL(kind), snapshot=snapshot
        )
        self.engine.execute(f"CREATE OR REPLACE TEMPORARY TABLE changed_keys (key {kind})")
        self._insert("changed_keys", {"key": kind}, keys)
        self.engine.execute(
            f"DELETE FROM {quote(table.name)}"
            f" WHERE {quote(table.key)} IN (SELECT key FROM changed_keys)"
        )
        rows = sql.SQL("{} AND {} IN ({})").format(table.select, sql.Identifier(table.key), keys)
        return self._insert(table.name, table.columns, rows)

    def _insert(self, name: str, columns: Mapping[str, str], query: sql.Composable) -> int:
        """Insert the result of a query of the warehouse into a table; return the number of rows."""
        types = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in columns.items())
        insert = (
            f"INSERT INTO {quote(name)} SELECT * FROM read_csv({literal(str(self.chunk))},"
            f" columns = {{{types}}}, auto_detect = false, header = false, parallel = false,"
            f" delim = ',', quote = '\"', escape = '\"', nullstr = '', allow_quoted_nulls = false,"
            f" max_line_size = {MAX_LINE_BYTES})"
        )
        total = 0
        statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(query)
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            rows = iter(copy)
            while written := _write(self.chunk, rows):
                self.engine.execute(insert)
                total += written
                self.progress.advance(written)
        return total


def _write(path: Path, rows: Iterator[Buffer]) -> int:
    """Write rows to a file until it has CHUNK_BYTES; return their number."""
    size = count = 0
    with path.open("wb") as file:
        for row in rows:
            size += file.write(row)
            count += 1
            if size >= CHUNK_BYTES:
                break
    return count


@contextmanager
def _transaction(engine: duckdb.DuckDBPyConnection) -> Iterator[None]:
    engine.execute("BEGIN TRANSACTION")
    try:
        yield
    except BaseException:
        engine.execute("ROLLBACK")
        raise
    engine.execute("COMMIT")


def _statement(name: str, **values: object) -> sql.Composed:
    """Return the SQL of a file in this folder with the values as literals."""
    return sql.SQL(read_sql(__package__, f"{name}.sql")).format(**values)
