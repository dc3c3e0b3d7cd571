"""A small source with any tables, and the lake that it is ingested into."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import lake_reader
import psycopg
from lake_reader import Line
from psycopg import sql

from totes.config.dsn import Dsn
from totes.embedded.servers import EmbeddedServer, prepare_source
from totes.lake.folder import FolderStore
from totes.lake.manifest import Manifest
from totes.source.catalogue import CaptureScope
from totes.stages.ingest import AcceptOptions, ingest

GRANTS = """
CREATE SCHEMA IF NOT EXISTS scratch;
GRANT USAGE ON SCHEMA scratch TO totes_ingest;
ALTER DEFAULT PRIVILEGES IN SCHEMA scratch GRANT SELECT ON TABLES TO totes_ingest;
"""

CREATE_ITEM = "CREATE TABLE item (id int PRIMARY KEY, name text, price numeric)"
INSERT_ITEMS = "INSERT INTO item SELECT i, 'item ' || i, i + 0.50 FROM generate_series(1, {}) i"


ACCEPT_NOTHING = AcceptOptions()


@dataclass
class ScratchSource:
    """The schema `scratch` of a source. `owner` is the application's role, `dsn` the platform's."""

    owner: Dsn
    dsn: Dsn
    lake: Path
    scope: CaptureScope = field(default_factory=lambda: CaptureScope(schema="scratch"))

    @property
    def store(self) -> FolderStore:
        return FolderStore(self.lake)

    def open(self) -> AbstractContextManager[psycopg.Connection]:
        """Connect as the application, in a transaction that commits at the end of the block."""
        return psycopg.connect(self.owner.reveal(), options="-csearch_path=scratch")

    def run(self, script: str) -> None:
        """Run statements in one transaction, unless the first one can't run in a transaction."""
        autocommit = re.match(r"\s*(VACUUM|CLUSTER|COMMIT|ROLLBACK|ALTER TABLE \S+ DETACH)", script)
        with self.open() as connection:
            connection.autocommit = bool(autocommit)
            connection.execute(script.encode())

    def add_items(self, rows: int = 3) -> "ScratchSource":
        """Create a table `item` with so many rows, and capture it; return self."""
        self.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(rows)}")
        assert self.capture() is not None
        return self

    def capture(self, accept: AcceptOptions = ACCEPT_NOTHING) -> Manifest | None:
        return ingest(self.dsn, self.store, self.scope, accept=accept).batch

    def captured_lines(self, table: str = "item") -> list[Line]:
        """Capture; return the lines of a table, none if there was no batch."""
        batch = self.capture()
        return lake_reader.lines(self.store, batch, table) if batch else []

    def changes(self, table: str = "item", key: str = "id") -> set[tuple[str, object]]:
        """Capture; return operation and key of each line of a table."""
        lines = self.captured_lines(table)
        changes = {(line["_op"], line[key]) for line in lines}
        assert len(changes) == len(lines)
        return changes

    def source_rows(self, table: str = "item") -> list[tuple[str | None, ...]]:
        """Return the rows in the source as text, sorted."""
        with self.open() as connection:
            connection.execute("SET timezone = 'UTC'")
            relation = sql.Identifier("scratch", table)
            result = connection.execute(sql.SQL("SELECT * FROM {}").format(relation)).pgresult
            assert result is not None
            rows = [
                tuple(_text(result.get_value(row, column)) for column in range(result.nfields))
                for row in range(result.ntuples)
            ]
        return lake_reader.sorted_rows(rows)

    def lake_equals_source(self, table: str = "item") -> bool:
        """Whether lake and source have the same rows of the table."""
        return lake_reader.rows(self.store, table) == self.source_rows(table)


def create_scratch_source(
    server: EmbeddedServer, lake: Path, database: str = "totesys"
) -> ScratchSource:
    """Create a scratch source on a server."""
    source = prepare_source(server.dsn, database)
    with psycopg.connect(source.owner.reveal()) as connection:
        connection.execute(GRANTS)
    return ScratchSource(source.owner, source.reader, lake / "lake")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def once(action: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls `action` only the first time."""
    remaining = [action]

    def act() -> None:
        if remaining:
            remaining.pop()()

    return act
