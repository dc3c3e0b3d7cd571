"""Load a batch's rows into the star: upsert dimensions, insert versions of facts.

The versions of a fact are ordered by time. A new version is usually the last; a version released
from quarantine goes between earlier and later ones. A batch may have many versions of a row: the
same statements place all of them, once per table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import duckdb
from psycopg import Connection, errors, sql

from totes.duckdb_engine import convert_memory_errors
from totes.errors import LakeError
from totes.lake.line import IS_UPSERT
from totes.lake.manifest import ProcessedManifest, StarFile
from totes.progress import Progress
from totes.sql_text import literal, quote
from totes.star.batch_files import QUARANTINE_COLUMNS, VERSION_COLUMNS
from totes.star.contract import StarTable
from totes.star.folder import Star
from totes.star.history import history_parts, qualified, same_key
from totes.warehouse import dependents
from totes.warehouse.binary import ROWS_PER_BLOCK, copy_in, read_blocks
from totes.warehouse.ddl import key_text
from totes.warehouse.statement import read_statement, statement

BULK_ROWS = 10_000
"""From this size, keys and indexes of an empty table are dropped and created after filling it."""

NUMPY_ROWS = 100_000
"""From this number of rows, NumPy composes them: it saves more time than its import takes."""


def load_rows(  # noqa: PLR0913, PLR0917  both databases, the batch, and the progress
    connection: Connection[Any],
    engine: duckdb.DuckDBPyConnection,
    star: Star,
    manifest: ProcessedManifest,
    local_paths: Mapping[str, Path],
    progress: Progress,
) -> None:
    """Load a batch's rows into the warehouse in the caller's transaction.

    `local_paths` maps each path in the manifest's `files` and `rejected` to a local copy.
    """
    connection.execute(read_statement("transaction_settings"))
    _BatchLoad(connection, engine, star, manifest, local_paths, progress).load()


_QUARANTINE = sql.Identifier("totes", "quarantine")


class _Definition(NamedTuple):
    """The statements that drop and create a key or index of a table."""

    table_name: str
    drop_sql: str
    create_sql: str


@dataclass(frozen=True)
class _BatchLoad:
    connection: Connection[Any]
    engine: duckdb.DuckDBPyConnection
    star: Star
    manifest: ProcessedManifest
    local_paths: Mapping[str, Path]
    progress: Progress

    def load(self) -> None:
        try:
            self._load()
        except (errors.UniqueViolation, errors.CardinalityViolation) as error:
            for star in self.star.tables.values():
                self._check_unique(star, error)
            raise

    def _check_unique(self, star: StarTable, cause: Exception) -> None:
        """Raise LakeError if a star table's files have two versions of a row with one moment."""
        if not (files := self._files(star)):
            return
        key = ", ".join(map(quote, star.key_names))
        row = self.engine.execute(
            f"select cast(({key}) as varchar) from ({self._parquet(files)})"
            f" where {IS_UPSERT} group by {key}, valid_from having count(*) > 1 limit 1"
        ).fetchone()
        if row is not None:
            raise LakeError(
                f"Batch {self.manifest.batch} has two versions of one row of {star.name} with the "
                f"same valid_from: {', '.join(star.key_names)} {row[0]}. If its model can return "
                "a row twice, correct the model and run totes replay."
            ) from cause

    def _load(self) -> None:
        self._quarantine_rejected()
        to_fill = [table for table in self.star.tables.values() if self._can_fill(table)]
        definitions = self._drop_keys_and_indexes(to_fill)
        for star in self.star.tables.values():
            if star in to_fill:
                self._fill(star)
            else:
                self._merge(star)
        self._create_keys_and_indexes(definitions)
        for star in to_fill:
            self.connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(star.name)))
        self.connection.execute(
            statement(
                "delete_earlier_rejections", quarantine=_QUARANTINE, batch=self.manifest.batch
            )
        )

    def _quarantine_rejected(self) -> None:
        """Quarantine the rows that the contract rejected."""
        if not self.manifest.rejected:
            return
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(
                sql.Identifier(name), sql.SQL("timestamptz" if name == "valid_from" else "text")
            )
            for name in QUARANTINE_COLUMNS
        )
        staged = sql.Identifier("staged_rejected")
        self.connection.execute(
            sql.SQL("CREATE TEMPORARY TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS").format(
                staged, columns
            )
        )
        self.connection.execute(sql.SQL("TRUNCATE {}").format(staged))
        self._copy(staged, QUARANTINE_COLUMNS, self.manifest.rejected)
        composite = [table.name for table in self.star.tables.values() if len(table.key) > 1]
        self.connection.execute(
            statement(
                "quarantine_rejected",
                staged=staged,
                batch=self.manifest.batch,
                composite=composite,
            )
        )

    # Empty tables are filled directly.

    def _can_fill(self, star: StarTable) -> bool:
        """Return whether the table is empty and gets many rows, all valid from the capture time."""
        files = self._files(star)
        if sum(file.rows for file in files) < BULK_ROWS or any(file.deletes for file in files):
            return False
        empty = sql.SQL(
            "SELECT NOT EXISTS (SELECT FROM {}) AND NOT EXISTS"
            " (SELECT FROM totes.quarantine WHERE star_table = {} AND batch < {})"
        ).format(sql.Identifier(star.name), star.name, self.manifest.batch)
        if self.connection.execute(empty).fetchone() != (True,):
            return False
        moment = literal(self.manifest.captured_at.isoformat())
        late = f"from ({self._parquet(files)}) where valid_from <> timestamptz {moment} limit 1"
        return self.engine.execute(f"select 1 {late}").fetchone() is None

    def _drop_keys_and_indexes(self, stars: Sequence[StarTable]) -> list[_Definition]:
        if not stars:
            return []
        rows = self.connection.execute(
            statement(
                "keys_and_indexes",
                tables=[star.name for star in stars],
                stars=list(self.star.tables),
                valid=self._find_valid_keys(stars),
            )
        )
        definitions = [_Definition(*row) for row in rows]
        for definition in reversed(definitions):
            self.connection.execute(definition.drop_sql.encode())
        return definitions

    def _find_valid_keys(self, stars: Iterable[StarTable]) -> list[str]:
        """Return the foreign keys that the batch's files satisfy, as `table: definition`.

        They can stay while the table is filled, if PostgreSQL does not check them row by row.
        """
        role = self.connection.execute("SHOW session_replication_role").fetchone()
        if role != ("replica",):
            return []
        return [
            f"{star.name}: FOREIGN KEY ({column.name})"
            f" REFERENCES {dimension.name}({dimension.key_names[0]})"
            for star in stars
            for dimension in self._dimensions(star)
            for column in star.columns
            if column.references == dimension.name
            and self._has_all_rows(dimension, star, column.name)
        ]

    def _has_all_rows(self, dimension: StarTable, star: StarTable, column: str) -> bool:
        """Return whether the batch has all rows of `dimension` that a column refers to."""
        if not (files := self._files(dimension)):
            return False
        unmatched = (
            f"select 1 from ({self._parquet(self._files(star))}) as f"
            f" anti join ({self._parquet(files)}) as d"
            f" on f.{quote(column)} = d.{quote(dimension.key_names[0])} and d.{IS_UPSERT}"
            f" where f.{quote(column)} is not null limit 1"
        )
        return self.engine.execute(unmatched).fetchone() is None

    def _fill(self, star: StarTable) -> None:
        columns = _column_types(star) | ({"valid_from": "TIMESTAMPTZ"} if star.is_fact else {})
        self._copy(sql.Identifier(star.name), columns, self._files(star))

    def _create_keys_and_indexes(self, definitions: Iterable[_Definition]) -> None:
        """Create keys and indexes again; quarantine rows that violate a foreign key."""
        for table_name, _, create_sql in definitions:
            try:
                with self.connection.transaction():
                    self.connection.execute(create_sql.encode())
            except errors.ForeignKeyViolation:
                self._quarantine_unmatched(self.star.tables[table_name], sql.Identifier(table_name))
                self.connection.execute(create_sql.encode())

    # Rows for tables that are not empty are staged first.

    def _merge(self, star: StarTable) -> None:
        staged = sql.Identifier(f"staged_{star.name}")
        names = {"staged": staged, "star": sql.Identifier(star.name)}
        files = self._files(star)
        if not (files or self._has_waiting_versions(star)):
            return
        self.connection.execute(statement("create_staging_table", **history_parts(star), **names))
        self.connection.execute(sql.SQL("TRUNCATE {}").format(staged))
        if files:
            self._copy(staged, {**_column_types(star), **VERSION_COLUMNS}, files)
        if star.is_fact:
            self._stage_waiting(star, staged)
            self.connection.execute(sql.SQL("ANALYZE {}").format(staged))
            self._quarantine_unmatched(star, staged)
        else:
            self.connection.execute(sql.SQL("ANALYZE {}").format(staged))
        self._merge_staged(star, names)

    def _has_waiting_versions(self, star: StarTable) -> bool:
        """Return whether versions in quarantine wait for a dimension row."""
        query = (
            "SELECT EXISTS (SELECT FROM totes.quarantine"
            " WHERE star_table = %s AND waits_for IS NOT NULL AND released_at IS NULL)"
        )
        return self.connection.execute(query, [star.name]).fetchone() == (True,)

    def _stage_waiting(self, star: StarTable, staged: sql.Identifier) -> None:
        """Stage the quarantined versions that waited for a dimension row of this batch."""
        for dimension in self._dimensions(star):
            if self._files(dimension):
                self.connection.execute(
                    statement(
                        "stage_waiting",
                        staged=staged,
                        name=star.name,
                        same_key=same_key(star, "s", "version"),
                        **_reference_parts(dimension),
                        key_type=sql.SQL(dimension.key[0].type.postgres),
                    )
                )

    def _quarantine_unmatched(self, star: StarTable, relation: sql.Identifier) -> None:
        """Quarantine the rows of `relation` that refer to a missing dimension row."""
        for column in star.columns:
            if column.references:
                self.connection.execute(
                    statement(
                        "quarantine_unmatched",
                        relation=relation,
                        name=star.name,
                        batch=self.manifest.batch,
                        key=key_text(star.key_names, "u"),
                        columns=qualified("u", [c.name for c in star.columns]),
                        column=sql.Identifier(column.name),
                        column_name=column.name,
                        **_reference_parts(self.star.tables[column.references]),
                    )
                )

    def _merge_staged(self, star: StarTable, names: Mapping[str, sql.Composable]) -> None:
        """Merge the staged rows into the star table, whatever their valid_from is."""
        parts = {
            **history_parts(star),
            **names,
            "actions": sql.Identifier(f"actions_{star.name}"),
            "quarantine": _QUARANTINE,
            "surrogate": sql.Identifier(star.surrogate.name if star.surrogate else ""),
            "key_text": key_text(star.key_names, "s"),
            "inserted_and_staged": same_key(star, "i", "s"),
            "excluded": qualified("excluded", [column.name for column in star.columns]),
            "batch": self.manifest.batch,
            "captured_at": self.manifest.captured_at,
        }
        late = sql.SQL("SELECT EXISTS (SELECT FROM {staged} WHERE valid_from < {captured_at})")
        is_late = self.connection.execute(late.format(**parts)).fetchone() == (True,)
        deleted = 0
        for step in _STEPS[star.is_fact, is_late]:
            cursor = self.connection.execute(statement(step, **parts))
            deleted += cursor.rowcount if step == "delete_versions" else 0
        if deleted:
            dependents.check_user_foreign_keys(self.connection, self.star)

    def _dimensions(self, star: StarTable) -> list[StarTable]:
        """Return the dimensions that a fact refers to, each once."""
        names = dict.fromkeys(column.references for column in star.columns)
        return [self.star.tables[name] for name in names if name]

    def _files(self, star: StarTable) -> list[StarFile]:
        return [file for file in self.manifest.files if file.table == star.name]

    def _parquet(self, files: Iterable[StarFile]) -> str:
        paths = ", ".join(map(literal, self._paths(files)))
        return f"select * from read_parquet([{paths}], hive_partitioning = false)"

    def _paths(self, files: Iterable[StarFile]) -> list[str]:
        return [str(self.local_paths[file.path]) for file in files]

    def _copy(
        self, table: sql.Identifier, columns: Mapping[str, str], files: Sequence[StarFile]
    ) -> None:
        with convert_memory_errors(f"Loading {files[0].table} of batch {self.manifest.batch}"):
            copy_in(
                self.connection,
                table=table,
                columns=columns,
                blocks=self._blocks(columns, files),
                progress=self.progress,
            )

    def _blocks(
        self, columns: Mapping[str, str], files: Sequence[StarFile]
    ) -> Iterable[tuple[bytes, int]]:
        """Return the files' rows for `copy_in`."""
        if "VARCHAR" in columns.values() or sum(file.rows for file in files) < NUMPY_ROWS:
            return read_blocks(self.engine, columns, self._parquet(files), self._block_rows(files))
        from totes.warehouse import records  # noqa: PLC0415  imports NumPy

        return records.read_blocks(self.engine, columns, self._paths(files))

    def _block_rows(self, files: Iterable[StarFile]) -> int:
        """Return how many rows to read at a time: the smallest row group in the files.

        Row groups are limited by bytes. A file's last group is ignored: it may have few rows.
        """
        smallest = self.engine.execute(
            "select min(row_group_num_rows) from ("
            " select *, max(row_group_id) over (partition by file_name) as last"
            " from parquet_metadata($paths)) where row_group_id < last",
            {"paths": self._paths(files)},
        ).fetchone()
        return min(ROWS_PER_BLOCK, (smallest and smallest[0]) or ROWS_PER_BLOCK)


_RELEASE_STEPS = ("set_valid_to_of_superseded", "release_quarantined", "supersede_quarantined")
_DIMENSION_STEPS = ("upsert_dimension", "remove_deletions", "record_deleted_dimension")

_STEPS: Mapping[tuple[bool, bool], tuple[str, ...]] = MappingProxyType(
    {
        (True, False): (
            "supersede_quarantined",
            "create_actions_table",
            "find_latest_actions",
            "end_versions",
            "insert_versions",
        ),
        (True, True): (
            *_RELEASE_STEPS,
            "stage_continued",
            "create_actions_table",
            "find_actions",
            "delete_versions",
            "end_versions",
            "insert_versions",
        ),
        (False, False): ("supersede_quarantined", *_DIMENSION_STEPS),
        (False, True): (*_RELEASE_STEPS, *_DIMENSION_STEPS, "insert_deleted_dimension"),
    }
)
"""The statements that merge staged rows, by: is a fact, has rows from before the capture."""


def _column_types(star: StarTable) -> dict[str, str]:
    return {column.name: column.type.loaded for column in star.columns}


def _reference_parts(dimension: StarTable) -> dict[str, str | sql.Identifier]:
    return {
        "dimension": sql.Identifier(dimension.name),
        "dimension_name": dimension.name,
        "dimension_key": sql.Identifier(dimension.key_names[0]),
    }
