"""A small source of any shape, with the lake it is ingested into: what the capture tests share."""

import random
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import lake_reader
import psycopg
from lake_reader import Line
from psycopg import sql

from totes.config.settings import Dsn
from totes.embedded.servers import EmbeddedServer, prepare_source
from totes.lake.folder import FolderStore
from totes.lake.manifest import Manifest
from totes.source.catalogue import Scope
from totes.stages.ingest import Accept, ingest

GRANTS = """
CREATE SCHEMA IF NOT EXISTS shop;
GRANT USAGE ON SCHEMA shop TO totes_ingest;
ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO totes_ingest;
"""

ITEM = "CREATE TABLE item (id int PRIMARY KEY, name text, price numeric)"
STOCK = "INSERT INTO item SELECT i, 'item ' || i, i + 0.50 FROM generate_series(1, {}) i"


CAREFUL = Accept()


@dataclass
class ScratchSource:
    """Schema `shop` of a source; `owner` runs the business, `dsn` may only read it."""

    owner: Dsn
    dsn: Dsn
    lake: Path
    scope: Scope = field(default_factory=lambda: Scope(schema="shop"))

    @property
    def store(self) -> FolderStore:
        return FolderStore(self.lake)

    def open(self) -> AbstractContextManager[psycopg.Connection]:
        """The application's connection, in a transaction that commits at the block's end."""
        return psycopg.connect(self.owner.reveal(), options="-csearch_path=shop")

    def run(self, script: str) -> None:
        """Statements in one transaction, except where the first is one that allows none."""
        autocommit = re.match(r"\s*(VACUUM|CLUSTER|COMMIT|ROLLBACK|ALTER TABLE \S+ DETACH)", script)
        with self.open() as connection:
            connection.autocommit = bool(autocommit)
            connection.execute(script.encode())

    def stocked(self, rows: int = 3) -> "ScratchSource":
        """With a table `item` of so many rows, captured."""
        self.run(f"{ITEM}; {STOCK.format(rows)}")
        assert self.capture() is not None
        return self

    def capture(self, accept: Accept = CAREFUL) -> Manifest | None:
        return ingest(self.dsn, self.store, self.scope, accept=accept).batch

    def carried(self, table: str = "item") -> list[Line]:
        """What a capture carries of a table now; nothing where it makes no batch."""
        batch = self.capture()
        return lake_reader.lines(self.store, batch, table) if batch else []

    def changes(self, table: str = "item", key: str = "id") -> set[tuple[str, object]]:
        """The same as (operation, key)."""
        carried = self.carried(table)
        changed = {(line["_op"], line[key]) for line in carried}
        assert len(changed) == len(carried)
        return changed

    def truth(self, table: str = "item") -> list[tuple[str | None, ...]]:
        """The source's rows as its output functions print them, sorted."""
        with self.open() as connection:
            connection.execute("SET timezone = 'UTC'")
            relation = sql.Identifier("shop", table)
            result = connection.execute(sql.SQL("SELECT * FROM {}").format(relation)).pgresult
            assert result is not None
            found = [
                tuple(_text(result.get_value(row, column)) for column in range(result.nfields))
                for row in range(result.ntuples)
            ]
        return lake_reader.sorted_rows(found)

    def is_carried_whole(self, table: str = "item") -> bool:
        """Whether lake and source hold the same rows of the table."""
        return lake_reader.rows(self.store, table) == self.truth(table)


def scratch_source_on(
    server: EmbeddedServer, lake: Path, database: str = "totesys"
) -> ScratchSource:
    """A scratch source on a server of its own."""
    source = prepare_source(server.dsn, database)
    with psycopg.connect(source.owner.reveal()) as connection:
        connection.execute(GRANTS)
    return ScratchSource(source.owner, source.reader, lake / "lake")


def seeded() -> random.Random:
    """Chance that a failing test can be given again: pytest shows what it printed."""
    seed = random.randrange(1 << 32)  # noqa: S311  not for secrets
    print("seed", seed)  # noqa: T201
    return random.Random(seed)  # noqa: S311


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def once(action: Callable[[], None]) -> Callable[[], None]:
    """A failpoint's action that happens the first time only."""
    left = [action]

    def act() -> None:
        if left:
            left.pop()()

    return act
