"""Places the versions of batches in the history of one star table, in DuckDB.

The statements that decide what the history is are those of `totes.star.history`, which the
warehouse executes too. What the two databases do in different ways is in the `statements` of each,
under the same names. The temporary tables have only rows of the keys that changed:

- `batch_rows` and `rejected`: what the batches bring, each row with its `_batch`.
- `slice`: the rows of some keys. `_waits` is true if a row refers to a missing dimension row.
- `staged`: the rows of the slice that one pass places: those of one batch, or all.
- `file_rows`: the rows of all files that have one of these keys, with the number of their file, and
  new rows; `replaced_files`: the numbers of those that change.
- `quarantine`: rejected and waiting versions, also released ones.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, LiteralString

import duckdb
from psycopg import sql

from totes.lakehouse.tables import engine_types
from totes.star.batch_files import column_types
from totes.star.contract import StarTable
from totes.star.history import history_parts
from totes.star.statement import statement

_QUARANTINE_STEPS = (
    "quarantine_rejected",
    "quarantine_unmatched",
    "set_valid_to_of_superseded",
    "release_quarantined",
    "supersede_quarantined",
)
_FACT_STEPS = (
    "create_actions_table",
    "find_actions",
    "find_replaced_files",
    "delete_versions",
    "end_versions",
    "insert_versions",
)


@dataclass(frozen=True)
class History:
    """Executes the statements for one star table."""

    engine: duckdb.DuckDBPyConnection
    star: StarTable

    @cached_property
    def _parts(self) -> dict[str, object]:
        pairs = [
            sql.SQL("{} := {}").format(sql.Identifier(name), sql.Identifier("s", name))
            for name in column_types(self.star)
        ]
        return {
            **history_parts(self.star),
            **{name: sql.Identifier(name) for name in ("staged", "actions", "quarantine")},
            "star": sql.Identifier("file_rows"),
            "surrogate": sql.Identifier("_version_number"),
            "first_key": sql.Identifier(self.star.key_names[0]),
            "key_text": self._key_text("s"),
            "version": sql.SQL("struct_pack({})").format(sql.SQL(", ").join(pairs)),
            "version_type": sql.SQL("struct({})").format(define_columns(column_types(self.star))),
            "column_definitions": define_columns(engine_types(self.star)),
        }

    def _key_text(self, relation: str) -> sql.Composed:
        """Return SQL for a key as text; of several columns, it is a JSON array."""
        texts = [
            sql.SQL("cast({} AS varchar)").format(sql.Identifier(relation, name))
            for name in self.star.key_names
        ]
        if len(texts) == 1:
            return sql.Composed(texts)
        return sql.SQL("cast(to_json([{}]) AS varchar)").format(sql.SQL(", ").join(texts))

    def compose(self, name: str, /, **parts: object) -> sql.Composed:
        """Return a statement for this table; values become literals."""
        return statement(__package__, name, **{**self._parts, **parts})

    def execute(self, name: str, /, **parts: object) -> list[tuple[Any, ...]]:
        """Execute a statement for this table and return its rows."""
        return self.query(self.compose(name, **parts))

    def query(self, query: sql.Composable) -> list[tuple[Any, ...]]:
        """Execute a statement that is composed elsewhere and return its rows."""
        return self.engine.execute(query.as_string()).fetchall()

    def exists(self, rows: LiteralString, **parts: object) -> bool:
        """Return whether a relation has a row that fulfils the conditions which follow its name."""
        query = sql.SQL("SELECT EXISTS (SELECT 1 FROM {})")
        return self.query(query.format(sql.SQL(rows).format(**{**self._parts, **parts}))) == [
            (True,)
        ]

    def place(self) -> None:
        """Place all rows of the slice, whose keys were never in quarantine."""
        self.execute("stage_batch", batch=None)
        self._place_staged()

    def place_batch(self, batch: int, captured_at: datetime) -> None:
        """Place the rows of one batch in the slice, after those of the batches before it."""
        parts = {"batch": batch, "captured_at": captured_at}
        self.execute("stage_batch", **parts)
        for name in _QUARANTINE_STEPS:
            self.execute(name, **parts)
        if self.star.is_fact:
            self.execute("stage_continued")
        self._place_staged()
        if not self.star.is_fact:
            self.execute("insert_deleted_dimension")
        self.execute("delete_earlier_rejections", **parts)

    def _place_staged(self) -> None:
        for name in _FACT_STEPS if self.star.is_fact else ["upsert_dimension"]:
            self.execute(name)


def define_columns(types: dict[str, str]) -> sql.Composed:
    """Return SQL: columns with their types, which the contract has checked."""
    return sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in types.items()
    )
