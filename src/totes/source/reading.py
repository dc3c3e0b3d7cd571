"""Reading a range of a table's rows, usually by one statement.

Wide rows are read a few at a time, so that memory stays flat. Where a value can't be read, its row
is found by halving the range, and captured without that value.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from totes.errors import SourceError
from totes.lake.manifest import LONGEST_LINE_BYTES
from totes.postgres.sqlstate import (
    is_caused_by_encoding,
    is_caused_by_value,
    may_pass_with_fewer_rows,
)
from totes.source import changes
from totes.source.catalogue import SourceColumn, SourceTable
from totes.source.changes import Chunk, Horizon, Span
from totes.source.unreadable import BYTES_KEPT, reason, replacement

_WIDE_BYTES = 1 << 13
"""A row with more bytes than this is a wide row."""

_STEP_BYTES = 16 << 20
"""At most this many bytes of wide rows are read by one statement, unless a single row has more."""

_ADVICE = "repair the table, or exclude it (TOTES_EXCLUDE_TABLES)"


def read_changes(
    connection: psycopg.Connection,
    table: SourceTable,
    current: int,
    horizon: Horizon | None,
    span: Span,
) -> Iterator[Chunk]:
    """Read a range of rows; all of them count as changed where `horizon` is None.

    SourceError where a row's key or a whole block can't be read: which rows there are is unknown.
    """
    reading = _Reading(connection, table, current, horizon)
    for step, too_long in reading.steps(span):
        if too_long:  # PostgreSQL would work on it for minutes, and fail
            yield reading.row(step)
        else:
            yield from reading.chunks(step)


@dataclass(frozen=True)
class _Reading:
    connection: psycopg.Connection
    table: SourceTable
    current: int
    horizon: Horizon | None

    def steps(self, span: Span) -> Iterator[tuple[Span, bool]]:
        """The range in parts of about _STEP_BYTES, and of each whether it is a row too long."""
        total = 0
        for position, count, width in self._wide_rows(span) if span.wide else ():
            if total + width > _STEP_BYTES:
                step, span = span.split(position)
                if step.start < step.end:
                    yield step, False
                total = 0
            if width > _STEP_BYTES:
                row, span = span.split(position + 1)
                yield row, count == 1 and width > LONGEST_LINE_BYTES
            else:
                total += width
        yield span, False

    def _wide_rows(self, span: Span) -> list[tuple[int, int, int]]:
        try:
            with self.connection.transaction():
                return changes.wide_rows(
                    self.connection, self.table, self.horizon, span, _WIDE_BYTES
                )
        except psycopg.Error as error:
            if not may_pass_with_fewer_rows(error):
                raise
            return []  # reading the rows will raise it again

    def chunks(self, span: Span) -> Iterator[Chunk]:
        """The rows of a range; where one statement can't read them, by several."""
        try:
            chunk = self._read(span)
        except psycopg.Error as error:
            if not may_pass_with_fewer_rows(error):
                raise
            parts = self._halves(span, error)
            if not parts and not is_caused_by_value(error):
                raise
        else:
            yield chunk
            return
        if not parts:
            yield self.row(span)
        for part in parts:
            yield from self.chunks(part)

    def _read(self, span: Span, unreadable: Mapping[str, str] = changes.NO_COLUMNS) -> Chunk:
        with self.connection.transaction():  # a savepoint, to go on from after an error
            return changes.read_range(
                self.connection,
                self.table,
                self.current,
                self.horizon,
                span,
                most_bytes=LONGEST_LINE_BYTES,
                unreadable=unreadable,
            )

    def _halves(self, span: Span, error: psycopg.Error) -> tuple[Span, ...]:
        """Two halves of the blocks, or of a single block's rows; nothing where it is one row."""
        if span.blocks > 1:
            return span.halves()
        try:
            with self.connection.transaction():
                rows = changes.positions(self.connection, self.table, span)
        except psycopg.Error as damage:
            if not is_caused_by_value(damage):
                raise
            raise SourceError(
                f"Block {span.block} of table {self.table.name} can't be read ({reason(damage)}), "
                f"so its rows are unknown, and nothing was captured: {_ADVICE}."
            ) from damage
        if not rows:
            raise error
        parts = sorted({part for part, _ in rows})
        if len(parts) > 1:
            return tuple(replace(span, part=part) for part in parts)
        return span.split(rows[len(rows) // 2][1]) if len(rows) > 1 else ()

    def row(self, span: Span) -> Chunk:
        """The only row of a range, without the values that can't be read."""
        unreadable = self._unreadable(span)
        for column in self.table.key_columns:
            if column.name in unreadable and column.base in changes.INTEGERS:
                raise self._key_unreadable(span, unreadable[column.name])
        try:
            return self._read(span, unreadable)
        except psycopg.Error as again:
            if not is_caused_by_value(again):
                raise
            raise self._key_unreadable(span, reason(again)) from again

    def _key_unreadable(self, span: Span, why: str) -> SourceError:
        return SourceError(
            f"The key of a row in block {span.block} of table {self.table.name} can't be read "
            f"({why}), and nothing was captured: {_ADVICE}."
        )

    def _unreadable(self, span: Span) -> dict[str, str]:
        """By column, the JSON objects that replace the row's unreadable values."""
        found: dict[str, str] = {}
        sizes: dict[str, int] = {}
        for column in self.table.columns:
            size = self._evaluate(span, changes.stored_bytes(column))
            if isinstance(size, int) and size <= LONGEST_LINE_BYTES:
                size = self._evaluate(span, changes.printed_bytes(column))
            if isinstance(size, int):
                sizes[column.name] = size
            elif isinstance(size, psycopg.Error):
                found[column.name] = replacement(reason(size), self._hex(span, column, size))
        while (total := sum(sizes.values())) > LONGEST_LINE_BYTES:
            longest = max(sizes, key=sizes.__getitem__)
            found[longest] = replacement(
                f"{sizes.pop(longest)} bytes as JSON in a row of {total}, and a row may have "
                f"at most {LONGEST_LINE_BYTES}"
            )
        return found

    def _hex(self, span: Span, column: SourceColumn, error: psycopg.Error) -> str | None:
        """The first bytes of a value that can't be converted to UTF-8."""
        if not is_caused_by_encoding(error):
            return None
        in_hex = self._evaluate(span, changes.first_bytes(column, BYTES_KEPT))
        return in_hex if isinstance(in_hex, str) else None

    def _evaluate(self, span: Span, value: sql.Composable) -> object:
        """An expression's value for the only row of a range, or the error that it raises."""
        try:
            with self.connection.transaction():
                return changes.of_row(self.connection, self.table, span, value)
        except psycopg.Error as error:
            if not is_caused_by_value(error):
                raise
            return error
