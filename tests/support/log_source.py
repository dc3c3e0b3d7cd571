"""A scratch source whose write-ahead log is read, and what the lake has of its log."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import duckdb
import lake_reader
import psycopg
from database import execute
from lake_reader import Line
from psycopg import errors, sql
from scratch_source import GRANTS, ScratchSource

from totes.config.dsn import Dsn
from totes.embedded.servers import EmbeddedServer, prepare_source
from totes.lake.manifest import Manifest, Table
from totes.lake.store import Store
from totes.source.log.reader import LOG_TIMEOUT_SECONDS, LogReader
from totes.stages.ingest import AcceptOptions, IngestResult, ingest

LOG_SETTINGS = {
    "wal_level": "logical",
    "max_slot_wal_keep_size": "1GB",
    "max_prepared_transactions": "20",
    "synchronous_commit": "on",  # without fsync, this costs nothing
    "wal_writer_delay": "10ms",  # an asynchronous commit is in the log soon
}
"""Settings of a server with a log that can be read; the last two only make tests faster."""

PUBLICATION = "totes"

PUBLISH = """
DO $$
BEGIN
    EXECUTE (
        SELECT 'CREATE PUBLICATION totes FOR TABLE ' || string_agg(format('%I', tablename), ', ')
        FROM pg_tables WHERE schemaname = 'public' AND tablename <> '_prisma_migrations'
    );
END $$
"""
"""SQL: the publication of all tables of totesys."""

WAIT_SECONDS = 30.0
"""How long to wait for a condition before a test fails."""

ACCEPT_DELETES = AcceptOptions(deletes=True)


@dataclass
class LogSource(ScratchSource):
    """A scratch source with a publication `totes`; `admin` is the superuser."""

    admin: Dsn = field(kw_only=True)
    slot: str = field(kw_only=True)
    readers: list[LogReader] = field(default_factory=list)

    def new_reader(self, quiet_seconds: float = LOG_TIMEOUT_SECONDS) -> LogReader:
        """Return a reader as a new process would have it, and close the last one.

        It would wait until the last one releases the slot.
        """
        if self.readers:
            self.readers[-1].close()
        reader = LogReader(self.dsn, self.slot, PUBLICATION, quiet_seconds)
        self.readers.append(reader)
        return reader

    @property
    def reader(self) -> LogReader:
        """The newest reader, or a new one."""
        return self.readers[-1] if self.readers else self.new_reader()

    def administer(self, *scripts: str) -> None:
        """Run scripts as superuser, each in a transaction of its own."""
        execute(self.admin.replace(options="-csearch_path=scratch"), *scripts)

    def ask(self, query: LiteralString, *parameters: object) -> Any:
        """Return the first value of the first row, as superuser; None without rows."""
        with psycopg.connect(self.admin.reveal(), autocommit=True) as connection:
            row = connection.execute(query, parameters).fetchone()
        return row and row[0]

    def publish(self, *tables: str) -> None:
        """Create the publication of these tables, or add them to it."""
        names = sql.SQL(", ").join(sql.Identifier("scratch", table) for table in tables)
        exists = self.ask("SELECT true FROM pg_publication WHERE pubname = %s", PUBLICATION)
        action = sql.SQL("ALTER PUBLICATION {} ADD" if exists else "CREATE PUBLICATION {} FOR")
        statement = action.format(sql.Identifier(PUBLICATION)) + sql.SQL(" TABLE ") + names
        with psycopg.connect(self.admin.reveal(), autocommit=True) as connection:
            connection.execute(statement)

    def read_log(self, reader: LogReader | None = None) -> IngestResult:
        """Publish a batch from the log, as far as it has everything."""
        return ingest(
            self.dsn,
            self.store,
            self.scope,
            log_reader=reader or self.reader,
            accept=ACCEPT_DELETES,
        )

    def read_batch(self, reader: LogReader | None = None) -> Manifest:
        """Publish a batch from the log; there must be one."""
        batch = self.read_log(reader).batch
        assert batch is not None
        return batch

    def lines_in_log(self, table: str = "item") -> list[Line]:
        """Publish a batch, in which a table must be read from the log; return its lines."""
        batch = self.read_batch()
        assert entry(batch, table).of_log, "the table was scanned"
        lines = lake_reader.lines(self.store, batch, table)
        return sorted(lines, key=lake_reader.place_in_log)

    def begin_item(self, rows: int = 3, *, more: str = "") -> "LogSource":
        """Create, publish and capture a table `item`; `more` are statements before that."""
        self.run(
            "CREATE TABLE item (id int PRIMARY KEY, name text, price numeric);"
            f"INSERT INTO item SELECT i, 'item ' || i, i + 0.50 FROM generate_series(1, {rows}) i;"
            f"{more}"
        )
        self.publish("item")
        assert self.read_batch().log is not None
        return self

    def check_lake(self, *tables: str) -> None:
        """Check rows, number of rows and live keys of the newest batch against the source."""
        newest = lake_reader.batches(self.store)[-1]
        for table in tables or ("item",):
            assert lake_reader.rows(self.store, table) == self.source_rows(table), table
            current = lake_reader.current_lines(self.store, table)
            found = entry(newest, table)
            assert found.rows == len(current), table
            if found.key:
                expected = {tuple(key_text(line[name]) for name in found.key) for line in current}
                assert live_keys(self.store, found) == expected, table

    def check_scan_finds_nothing(self) -> None:
        """Check that a scan of all tables finds no difference to the newest batch."""
        before = lake_reader.batches(self.store)[-1]
        self.run("SELECT pg_current_xact_id()")  # otherwise nothing is scanned
        after = self.capture(ACCEPT_DELETES)
        tables = after.source_tables if after else ()
        changed = {table.name: table.files for table in tables if table.files}
        # A row in the log of a running transaction, or of one after the snapshot, is read again.
        for table in changed:
            again = lake_reader.lines(self.store, after or before, table)
            assert [line for line in again if line["_op"] == "delete"] == []
            assert lake_reader.rows(self.store, table) == self.source_rows(table)

    def wait_for(self, query: LiteralString, *parameters: object) -> None:
        """Wait until a query returns true."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.ask(query, *parameters):
            assert time.monotonic() < deadline, query
            time.sleep(0.02)

    def wait_until_slot_is_free(self) -> None:
        self.wait_for("SELECT NOT active FROM pg_replication_slots WHERE slot_name = %s", self.slot)

    def drop_slot(self) -> None:
        """Drop the slot, once no process reads it."""
        self.wait_until_slot_is_free()
        self.ask("SELECT pg_drop_replication_slot(%s)", self.slot)


def entry(batch: Manifest, table: str = "item") -> Table:
    """Return a table's entry in a batch."""
    found = batch.table(table)
    assert found is not None
    return found


def key_text(value: object) -> str:
    """Return a value of a line as the files of live keys have it."""
    return value if isinstance(value, str) else json.dumps(value)


def live_keys(store: Store, table: Table) -> set[tuple[str, ...]]:
    """Return the live keys that a batch leaves, as text."""
    names = ", ".join(f"k{number}::VARCHAR" for number in range(len(table.key)))
    keys: set[tuple[str, ...]] = set()
    with closing(duckdb.connect()) as engine:
        for file in table.keys:
            live = "_live" if file.kind == "change" else "true"
            path = store.url.removeprefix("file://") + "/" + file.path
            rows = engine.execute(f"SELECT {live}, {names} FROM read_parquet(?)", [path]).fetchall()
            assert len(rows) == file.rows
            for is_live, *key in rows:
                (keys.add if is_live else keys.discard)(tuple(key))
    return keys


@dataclass(frozen=True)
class LakeVersion:
    """A version in the lake: an upserted row, or None for a deletion; scanned ones have no `at`."""

    batch: int
    xid: int | None
    at: str | None
    row: Line | None


def versions(store: Store, table: str) -> dict[tuple[object, ...], list[LakeVersion]]:
    """Return all versions of a table in the lake by key, in the order of their moments."""
    found: dict[tuple[object, ...], list[LakeVersion]] = defaultdict(list)
    for batch in lake_reader.batches(store):
        table_entry = batch.table(table)
        if table_entry is None:
            continue
        lines = lake_reader.lines(store, batch, table)
        if table_entry.of_log:
            lines.sort(key=lake_reader.place_in_log)
        for line in lines:
            row = lake_reader.columns(line)
            version = LakeVersion(
                batch.batch,
                int(line["_xid"]) if line["_xid"] else None,
                line.get("_at"),
                row if line["_op"] == "upsert" else None,
            )
            found[tuple(row[name] for name in table_entry.key)].append(version)
    return found


@contextmanager
def open_log_source(server: EmbeddedServer, database: str, folder: Path) -> Iterator[LogSource]:
    """Create a database whose log the platform may read; drop it with its slots at the end."""
    source = prepare_source(server.dsn, database)
    execute(source.owner, GRANTS)
    # The publication of a superuser may have any table; the demo's role may replicate.
    execute(source.superuser, "ALTER ROLE totes_ingest REPLICATION")
    made = LogSource(
        source.owner, source.reader, folder / "lake", admin=source.superuser, slot=f"s_{database}"
    )
    try:
        yield made
    finally:
        for reader in made.readers:
            reader.close()
        drop_logged_database(server.dsn, source.superuser, database)


_DROP_SLOTS = """
SELECT pg_terminate_backend(active_pid)
FROM pg_replication_slots WHERE database = %s AND active;
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s
"""


def drop_logged_database(server: Dsn, superuser: Dsn, database: str) -> None:
    """Drop a database with its prepared transactions and slots."""
    with psycopg.connect(superuser.reveal(), autocommit=True) as connection:
        prepared = connection.execute(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        ).fetchall()
        for (name,) in prepared:
            connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(name)))
    deadline = time.monotonic() + WAIT_SECONDS
    with psycopg.connect(server.reveal(), autocommit=True) as connection:
        while True:
            try:
                connection.execute(_DROP_SLOTS.replace("%s", f"'{database}'").encode())
                break
            except errors.ObjectInUse:  # also the checkpointer may use it for a moment
                assert time.monotonic() < deadline, "a slot stays in use"
                time.sleep(0.02)
        connection.execute(
            sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database))
        )
