"""Read the rows of a range, usually with one statement.

Wide rows are read a few at a time to bound memory. If a value can't be read, its row is found by
halving the range, and captured without that value.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from totes.errors import SourceError
from totes.lake.manifest import MAX_LINE_BYTES
from totes.postgres.sqlstate import (
    is_caused_by_encoding,
    is_caused_by_value,
    may_pass_with_fewer_rows,
)
from totes.source import changes, json_sql
from totes.source.catalogue import INTEGER_TYPES, SourceColumn, SourceTable
from totes.source.changes import Chunk, Horizon
from totes.source.ranges import RowRange
from totes.source.unreadable import BYTES_KEPT, reason, replacement

_WIDE_BYTES = 1 << 13
"""A row with more bytes than this is a wide row."""

_WIDE_RANGE_BYTES = 16 << 20
"""The most bytes of wide rows that one statement reads, unless a single row has more."""

_ADVICE = "repair the table, or exclude it (TOTES_EXCLUDE_TABLES)"


def read_changes(
    connection: psycopg.Connection,
    table: SourceTable,
    xmax: int,
    horizon: Horizon | None,
    row_range: RowRange,
) -> Iterator[Chunk]:
    """Yield the rows of a range; all of them count as changed if `horizon` is None.

    Raises SourceError if a row's key or a whole block can't be read.
    """
    reader = _RangeReader(connection, table, xmax, horizon)
    for smaller_range, is_too_long in reader.split_by_size(row_range):
        if is_too_long:  # converting the whole row to JSON would take minutes and fail
            yield reader.read_row(smaller_range)
        else:
            yield from reader.read_chunks(smaller_range)


@dataclass(frozen=True)
class _RangeReader:
    connection: psycopg.Connection
    table: SourceTable
    xmax: int
    horizon: Horizon | None

    def split_by_size(self, row_range: RowRange) -> Iterator[tuple[RowRange, bool]]:
        """Yield smaller ranges, each with whether it is one row that is too long."""
        total = 0
        for position, count, size_bytes in (
            self._find_wide_rows(row_range) if row_range.has_toast else ()
        ):
            if total + size_bytes > _WIDE_RANGE_BYTES:
                before, row_range = row_range.split(position)
                if before.start < before.end:
                    yield before, False
                total = 0
            if size_bytes > _WIDE_RANGE_BYTES:
                row, row_range = row_range.split(position + 1)
                yield row, count == 1 and size_bytes > MAX_LINE_BYTES
            else:
                total += size_bytes
        yield row_range, False

    def _find_wide_rows(self, row_range: RowRange) -> list[tuple[int, int, int]]:
        try:
            with self.connection.transaction():
                return changes.find_wide_rows(
                    self.connection, self.table, self.horizon, row_range, _WIDE_BYTES
                )
        except psycopg.Error as error:
            if not may_pass_with_fewer_rows(error):
                raise
            return []  # the statement that reads the rows raises the error again

    def read_chunks(self, row_range: RowRange) -> Iterator[Chunk]:
        """Yield the rows of a range, in smaller ranges where one statement can't read them."""
        try:
            chunk = self._read(row_range)
        except psycopg.Error as error:
            if not may_pass_with_fewer_rows(error):
                raise
            smaller_ranges = self._split(row_range, error)
            if not smaller_ranges and not is_caused_by_value(error):
                raise
        else:
            yield chunk
            return
        if not smaller_ranges:
            yield self.read_row(row_range)
        for smaller_range in smaller_ranges:
            yield from self.read_chunks(smaller_range)

    def _read(
        self, row_range: RowRange, unreadable: Mapping[str, str] = json_sql.NO_COLUMNS
    ) -> Chunk:
        with self.connection.transaction():  # a savepoint: the snapshot survives an error
            return changes.read_range(
                self.connection,
                self.table,
                self.xmax,
                self.horizon,
                row_range,
                max_bytes=MAX_LINE_BYTES,
                unreadable=unreadable,
            )

    def _split(self, row_range: RowRange, error: psycopg.Error) -> tuple[RowRange, ...]:
        """Return halves of the blocks, or of a single block's rows; empty for a single row."""
        if row_range.blocks > 1:
            return row_range.halves()
        try:
            with self.connection.transaction():
                rows = changes.find_row_positions(self.connection, self.table, row_range)
        except psycopg.Error as block_error:
            if not is_caused_by_value(block_error):
                raise
            raise SourceError(
                f"Block {row_range.block} of table {self.table.name} can't be read "
                f"({reason(block_error)}), so its rows are unknown, and nothing was captured: "
                f"{_ADVICE}."
            ) from block_error
        if not rows:
            raise error
        table_oids = sorted({table_oid for table_oid, _ in rows})
        if len(table_oids) > 1:
            return tuple(replace(row_range, table_oid=table_oid) for table_oid in table_oids)
        return row_range.split(rows[len(rows) // 2][1]) if len(rows) > 1 else ()

    def read_row(self, row_range: RowRange) -> Chunk:
        """Read the only row of a range, without the values that can't be read."""
        unreadable = self._replace_unreadable(row_range)
        for column in self.table.key_columns:
            if column.name in unreadable and column.base in INTEGER_TYPES:
                raise self._unreadable_key_error(row_range, unreadable[column.name])
        try:
            return self._read(row_range, unreadable)
        except psycopg.Error as error:
            if not is_caused_by_value(error):
                raise
            raise self._unreadable_key_error(row_range, reason(error)) from error

    def _unreadable_key_error(self, row_range: RowRange, cause: str) -> SourceError:
        return SourceError(
            f"The key of a row in block {row_range.block} of table {self.table.name} can't be read "
            f"({cause}), and nothing was captured: {_ADVICE}."
        )

    def _replace_unreadable(self, row_range: RowRange) -> dict[str, str]:
        """Return the JSON objects that replace the row's unreadable values, by column."""
        replacements: dict[str, str] = {}
        sizes: dict[str, int] = {}
        for column in self.table.columns:
            size = self._evaluate(row_range, json_sql.stored_bytes_sql(column))
            if isinstance(size, int) and size <= MAX_LINE_BYTES:
                size = self._evaluate(row_range, json_sql.printed_bytes_sql(column))
            if isinstance(size, int):
                sizes[column.name] = size
            elif isinstance(size, psycopg.Error):
                replacements[column.name] = replacement(
                    reason(size), self._first_bytes(row_range, column, size)
                )
        while (total := sum(sizes.values())) > MAX_LINE_BYTES:
            longest = max(sizes, key=sizes.__getitem__)
            replacements[longest] = replacement(
                f"{sizes.pop(longest)} bytes as JSON in a row of {total}, and a row may have "
                f"at most {MAX_LINE_BYTES}"
            )
        return replacements

    def _first_bytes(
        self, row_range: RowRange, column: SourceColumn, error: psycopg.Error
    ) -> str | None:
        """Return the first bytes, in hex, of a value that can't be converted to UTF-8."""
        if not is_caused_by_encoding(error):
            return None
        in_hex = self._evaluate(row_range, json_sql.first_bytes_sql(column, BYTES_KEPT))
        return in_hex if isinstance(in_hex, str) else None

    def _evaluate(self, row_range: RowRange, expression: sql.Composable) -> object:
        """Return an expression's value for the only row of a range, or the error it raises."""
        try:
            with self.connection.transaction():
                return changes.evaluate_for_row(self.connection, self.table, row_range, expression)
        except psycopg.Error as error:
            if not is_caused_by_value(error):
                raise
            return error
