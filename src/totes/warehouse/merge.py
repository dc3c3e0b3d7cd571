"""A batch's rows into the star: upserts of dimensions, versions of facts into their history.

A fact's history is a row of versions on one line of time. A version usually goes to its end; one
that comes late (it was in quarantine) goes between its neighbours by the same statements, which
treat one moment of `valid_from` after another.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import duckdb
from psycopg import Connection, errors, sql

from totes.engine import fitting
from totes.lake.manifest import ProcessedManifest, StarFile
from totes.progress import Progress
from totes.star.contract import StarTable, literal
from totes.star.definition import TOTESYS, Star
from totes.warehouse import daily, dependents
from totes.warehouse.binary import ROWS_PER_BLOCK, copy_in
from totes.warehouse.statement import read, statement

BULK_ROWS = 10_000
"""From here on an empty table is filled without its keys, which are then made set-wise."""

_REFUSED = {
    "star_table": "VARCHAR",
    "key": "VARCHAR",
    "column_name": "VARCHAR",
    "value": "VARCHAR",
    "reason": "VARCHAR",
    "row": "VARCHAR",
    "valid_from": "TIMESTAMPTZ",
}


_MOMENT = {"valid_from": "TIMESTAMPTZ", "_op": "VARCHAR"}
"""What a file of a star has beside its contract's columns."""

_LONG = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
"""Types that DuckDB takes by one name and tells by another."""

_DESCRIBE = "select column_name as name, column_type as type from (describe select * from {})"


def apply(  # noqa: PLR0913, PLR0917  two ends, what goes from one to the other, and who watches
    connection: Connection[Any],
    engine: duckdb.DuckDBPyConnection,
    star: Star,
    manifest: ProcessedManifest,
    local: Mapping[str, Path],
    progress: Progress,
) -> None:
    """Bring the batch's rows into the warehouse, within the caller's transaction.

    `local` has the local copy of each object that the manifest's `files` and `refused` name.
    """
    connection.execute(read("tune"))
    _Batch(connection, engine, star, manifest, local, progress).apply()


class UntrueError(Exception):
    """What a file has instead of what its manifest says."""


def check_file(  # noqa: PLR0913  a file, and all that says what must be in it
    engine: duckdb.DuckDBPyConnection,
    star: Star,
    manifest: ProcessedManifest,
    file: StarFile,
    path: Path,
    *,
    refused: bool,
) -> None:
    """UntrueError unless a file has the columns, types, rows and moments it must have."""
    if not refused and file.table not in star.tables:
        raise UntrueError(f"there is no star table {file.table}")
    expected = _REFUSED if refused else _columns(star.tables[file.table]) | _MOMENT
    rows = f"read_parquet({literal(str(path))}, hive_partitioning = false)"
    try:
        with fitting(f"Reading {file.table} of batch {manifest.batch}"):
            found = dict(
                engine.execute(f"select name, type from ({_DESCRIBE.format(rows)})").fetchall()
            )
            if found != {name: _LONG.get(kind, kind) for name, kind in expected.items()}:
                raise UntrueError(
                    f"its columns are not those of {'the quarantine' if refused else file.table}"
                )
            op = "'upsert'" if refused else "_op"
            counted = engine.execute(
                f"select count(*), count(*) filter ({op} = 'delete'),"
                f" coalesce(bool_and({op} in ('upsert', 'delete') and valid_from <= ?), true)"
                f" from {rows}",
                [manifest.captured_at],
            ).fetchone()
    except duckdb.Error as error:
        raise UntrueError(str(error).splitlines()[0]) from error
    if counted != (file.rows, file.deletes, True):
        raise UntrueError(f"it has other rows than its {file.rows}, or {file.deletes} deletes")


class _Definition(NamedTuple):
    """A key or index of a table, as the statements that drop and create it."""

    table_name: str
    take_down: str
    put_up: str


@dataclass(frozen=True)
class _Batch:
    connection: Connection[Any]
    engine: duckdb.DuckDBPyConnection
    star: Star
    manifest: ProcessedManifest
    local: Mapping[str, Path]
    progress: Progress

    def apply(self) -> None:
        self._refuse()
        in_bulk = [table for table in self.star.tables.values() if self._is_bulk(table)]
        definitions = self._take_down(in_bulk)
        changes = daily.Changes(self.connection)
        for star in self.star.tables.values():
            if star in in_bulk:
                self._fill(star)
            else:
                self._merge(star, changes)
        thinned = self._put_up(definitions)
        for star in in_bulk:
            self.connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(star.name)))
        filled = {
            star.name: None if star.name in thinned else self._parquet(self._files(star))
            for star in in_bulk
        }
        changes.settle(filled.keys())
        if self.star == TOTESYS:
            daily.fill(self.connection, self.engine, filled)
        self.connection.execute(statement("forget_earlier", batch=self.manifest.batch))

    def _refuse(self) -> None:
        """Quarantine what the contract refused."""
        if not self.manifest.refused:
            return
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(
                sql.Identifier(name), sql.SQL("timestamptz" if name == "valid_from" else "text")
            )
            for name in _REFUSED
        )
        staged = sql.Identifier("staged_refused")
        self.connection.execute(
            sql.SQL("CREATE TEMPORARY TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS").format(
                staged, columns
            )
        )
        self.connection.execute(sql.SQL("TRUNCATE {}").format(staged))
        self._copy(staged, _REFUSED, self.manifest.refused)
        composite = [table.name for table in self.star.tables.values() if len(table.key) > 1]
        self.connection.execute(
            statement("refuse", staged=staged, batch=self.manifest.batch, composite=composite)
        )

    # A first load: straight into empty tables.

    def _is_bulk(self, star: StarTable) -> bool:
        """Whether the star is empty and gets many rows, all of them of this moment."""
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

    def _take_down(self, stars: Sequence[StarTable]) -> list[_Definition]:
        if not stars:
            return []
        found = self.connection.execute(
            statement(
                "definitions", tables=[star.name for star in stars], stars=list(self.star.tables)
            )
        )
        definitions = [_Definition(*row) for row in found]
        for definition in reversed(definitions):
            self.connection.execute(definition.take_down.encode())
        return definitions

    def _fill(self, star: StarTable) -> None:
        columns = _columns(star) | ({"valid_from": "TIMESTAMPTZ"} if star.is_fact else {})
        self._copy(sql.Identifier(star.name), columns, self._files(star))

    def _put_up(self, definitions: Iterable[_Definition]) -> set[str]:
        """Put keys and indexes up; the tables that lost rows to quarantine by it."""
        thinned = set()
        for table_name, _, put_up in definitions:
            try:
                with self.connection.transaction():
                    self.connection.execute(put_up.encode())
            except errors.ForeignKeyViolation:
                star = self.star.tables[table_name]
                self._set_aside(star, sql.Identifier(star.name))
                thinned.add(star.name)
                self.connection.execute(put_up.encode())
        return thinned

    # Every other load: staged first.

    def _merge(self, star: StarTable, changes: daily.Changes) -> None:
        staged = sql.Identifier(f"staged_{star.name}")
        columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in star.columns)
        names = {"staged": staged, "star": sql.Identifier(star.name), "columns": columns}
        files = self._files(star)
        if not (files or self._is_awaited(star)):
            return
        self.connection.execute(statement("stage", **names))
        self.connection.execute(sql.SQL("TRUNCATE {}").format(staged))
        if files:
            self._copy(staged, _columns(star) | _MOMENT, files)
        if star.is_fact:
            self._free(star, staged)
            self.connection.execute(sql.SQL("ANALYZE {}").format(staged))
            self._set_aside(star, staged)
        else:
            self.connection.execute(sql.SQL("ANALYZE {}").format(staged))
        moments = sql.SQL("SELECT DISTINCT valid_from FROM {} ORDER BY 1").format(staged)
        if self.star == TOTESYS:
            changes.touch(star, staged)
        for (moment,) in self.connection.execute(moments).fetchall():
            self._place(star, names, moment)

    def _is_awaited(self, star: StarTable) -> bool:
        """Whether versions of the star wait for a dimension's row."""
        query = (
            "SELECT EXISTS (SELECT FROM totes.quarantine"
            " WHERE star_table = %s AND waits_for IS NOT NULL AND released_at IS NULL)"
        )
        return self.connection.execute(query, [star.name]).fetchone() == (True,)

    def _free(self, star: StarTable, staged: sql.Identifier) -> None:
        """Stage the versions that waited for a dimension row of this batch."""
        for dimension in self._dimensions(star):
            if self._files(dimension):
                self.connection.execute(
                    statement(
                        "free_waiting",
                        staged=staged,
                        name=star.name,
                        same=_same_key(star, "known", "entered"),
                        **_reference(dimension),
                        key_type=sql.SQL(dimension.key[0].type.postgres),
                    )
                )

    def _set_aside(self, star: StarTable, relation: sql.Identifier) -> None:
        """Quarantine those rows of `relation` whose dimension rows are missing."""
        for column in star.columns:
            if column.references:
                self.connection.execute(
                    statement(
                        "set_aside",
                        relation=relation,
                        name=star.name,
                        batch=self.manifest.batch,
                        key=_key_text(star, "w"),
                        columns=_qualified("w", [c.name for c in star.columns]),
                        column=sql.Identifier(column.name),
                        column_name=column.name,
                        **_reference(self.star.tables[column.references]),
                    )
                )

    def _place(
        self, star: StarTable, names: Mapping[str, sql.Composable], moment: datetime
    ) -> None:
        """Bring the staged rows of one moment into the star."""
        columns = [column.name for column in star.columns]
        parts = {
            **names,
            "name": star.name,
            "key": _names(star.key_names),
            "key_text": _key_text(star, "s"),
            "fact_key_text": _key_text(star, "f"),
            "same_as_fact": _same_key(star, "f", "s"),
            "same_as_earlier": _same_key(star, "f", "earlier"),
            "same_as_joined": _same_key(star, "f", "joined"),
            "same_as_dimension": _same_key(star, "d", "s"),
            "same_as_entered": _same_key(star, "e", "s"),
            "joined_key": _qualified("f", star.key_names),
            "moment": moment,
            "batch": self.manifest.batch,
            "captured_at": self.manifest.captured_at,
            "of_fact": _qualified("f", columns),
            "of_earlier": _qualified("earlier", columns),
            "of_staged": _qualified("s", columns),
            "current": _qualified("d", columns),
            "excluded": _qualified("excluded", columns),
        }
        late = moment < self.manifest.captured_at
        for step in _STEPS[star.is_fact, late]:
            self.connection.execute(statement(step, **parts))
        if star.is_fact and late:  # join_equal deletes versions
            dependents.check_references(self.connection, self.star)

    def _dimensions(self, star: StarTable) -> list[StarTable]:
        """The dimensions that a fact refers to, each once."""
        names = dict.fromkeys(column.references for column in star.columns)
        return [self.star.tables[name] for name in names if name]

    def _files(self, star: StarTable) -> list[StarFile]:
        return [file for file in self.manifest.files if file.table == star.name]

    def _parquet(self, files: Iterable[StarFile]) -> str:
        paths = ", ".join(map(literal, self._paths(files)))
        return f"select * from read_parquet([{paths}], hive_partitioning = false)"

    def _paths(self, files: Iterable[StarFile]) -> list[str]:
        return [str(self.local[file.path]) for file in files]

    def _copy(
        self, table: sql.Identifier, columns: Mapping[str, str], files: Sequence[StarFile]
    ) -> None:
        with fitting(f"Loading {files[0].table} of batch {self.manifest.batch}"):
            copy_in(
                self.connection,
                self.engine,
                table=table,
                columns=columns,
                rows=self._parquet(files),
                progress=self.progress,
                block_rows=self._block_rows(files),
            )

    def _block_rows(self, files: Iterable[StarFile]) -> int:
        """How many rows take as little memory as the row groups that transform made of them.

        A file's last group may have few rows of any width.
        """
        smallest = self.engine.execute(
            "select min(row_group_num_rows) from ("
            " select *, max(row_group_id) over (partition by file_name) as last"
            " from parquet_metadata($paths)) where row_group_id < last",
            {"paths": self._paths(files)},
        ).fetchone()
        return min(ROWS_PER_BLOCK, (smallest and smallest[0]) or ROWS_PER_BLOCK)


_OF_FACT = ("supersede", "drop_known", "close_versions", "insert_versions")
_OF_DIMENSION = ("supersede", "delete_dimension", "upsert_dimension")
_OF_LATE = ("end_superseded", "release")

_STEPS: Mapping[tuple[bool, bool], tuple[str, ...]] = MappingProxyType(
    {
        (True, False): _OF_FACT,
        (True, True): (*_OF_LATE, *_OF_FACT, "join_equal"),
        (False, False): _OF_DIMENSION,
        (False, True): (*_OF_LATE, "insert_ended_dimension", *_OF_DIMENSION),
    }
)
"""What places a moment's rows: of a fact or not, late (they were in quarantine) or not."""


def _columns(star: StarTable) -> dict[str, str]:
    return {column.name: column.type.name for column in star.columns}


def _reference(dimension: StarTable) -> dict[str, str | sql.Identifier]:
    return {
        "dimension": sql.Identifier(dimension.name),
        "dimension_name": dimension.name,
        "dimension_key": sql.Identifier(dimension.key_names[0]),
    }


def _names(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _key_text(star: StarTable, alias: str) -> sql.Composed:
    """SQL: the natural key as bookkeeping has it: one text, a JSON array of several columns."""
    parts = [sql.SQL("{}::text").format(sql.Identifier(alias, name)) for name in star.key_names]
    if len(parts) == 1:
        return sql.Composed(parts)
    return sql.SQL("jsonb_build_array({})::text").format(sql.SQL(", ").join(parts))


def _same_key(star: StarTable, one: str, other: str) -> sql.Composed:
    """SQL: whether two relations' rows have the same natural key."""
    return sql.SQL("({}) = ({})").format(
        _qualified(one, star.key_names), _qualified(other, star.key_names)
    )


def _qualified(relation: str, columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(relation, column) for column in columns)
