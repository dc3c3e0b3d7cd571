"""Reading a range of a table's rows in as many statements as its values ask for.

Usually that is one. Wide rows are read a few at a time, so that memory stays flat. Where a value
can't be read, its row is found by halving the range, and carried without that value.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from totes.errors import SourceError
from totes.lake.manifest import LONGEST_LINE_BYTES
from totes.source import changes
from totes.source.catalogue import SourceColumn, SourceTable
from totes.source.changes import Chunk, Horizon, Span
from totes.source.unreadable import (
    BYTES_KEPT,
    is_of_encoding,
    is_of_range,
    is_of_value,
    reason,
    stand_in,
)

_WIDE_BYTES = 1 << 13
"""Rows with more bytes than this are counted before they are read."""

_STEP_BYTES = 16 << 20
"""So many bytes of wide rows are read by one statement, more only where a single row has them."""

_ADVICE = "repair the table, or exclude it (TOTES_EXCLUDE_TABLES)"


def read_changes(
    connection: psycopg.Connection,
    table: SourceTable,
    current: int,
    horizon: Horizon | None,
    span: Span,
) -> Iterator[Chunk]:
    """Read a range of rows; all of them count as changed where `horizon` is None.

    SourceError where rows are unknown: their key or their whole block can't be read.
    """
    reading = _Reading(connection, table, current, horizon)
    for step, too_long in reading.steps(span):
        if too_long:  # printing it would take minutes, to no end
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
        """The range in parts of about _STEP_BYTES; true with a single row too long for a line."""
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
            if not is_of_range(error):
                raise
            return []  # whatever it is, reading will meet it again

    def chunks(self, span: Span) -> Iterator[Chunk]:
        """The rows of a range, in halves where it can't be read at once."""
        try:
            chunk = self._read(span)
        except psycopg.Error as error:
            if not is_of_range(error):
                raise
            parts = self._halves(span, error)
            if not parts and not is_of_value(error):
                raise
        else:
            yield chunk
            return
        if not parts:
            yield self.row(span)
        for part in parts:
            yield from self.chunks(part)

    def _read(self, span: Span, unreadable: Mapping[str, str] = changes.ALL) -> Chunk:
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
        """Half of the blocks each, or of one block half of the rows; nothing of a single row."""
        if span.blocks > 1:
            return span.halves()
        try:
            with self.connection.transaction():
                rows = changes.positions(self.connection, self.table, span)
        except psycopg.Error as damage:
            if not is_of_value(damage):
                raise
            raise SourceError(
                f"Block {span.block} of table {self.table.name} can't be read ({reason(damage)}), "
                f"so nobody knows which rows it has, and nothing was captured: {_ADVICE}."
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
                raise self._unknown(span, unreadable[column.name])
        try:
            return self._read(span, unreadable)
        except psycopg.Error as again:
            if not is_of_value(again):
                raise
            raise self._unknown(span, reason(again)) from again

    def _unknown(self, span: Span, why: str) -> SourceError:
        return SourceError(
            f"A row in block {span.block} of table {self.table.name} can't be told by its key "
            f"({why}), and nothing was captured: {_ADVICE}."
        )

    def _unreadable(self, span: Span) -> dict[str, str]:
        """What stands in the row's line in place of its values, for those that can't be read."""
        found: dict[str, str] = {}
        sizes: dict[str, int] = {}
        for column in self.table.columns:
            size = self._asked(span, changes.stored_bytes(column))
            if isinstance(size, int) and size <= LONGEST_LINE_BYTES:
                size = self._asked(span, changes.printed_bytes(column))
            if isinstance(size, int):
                sizes[column.name] = size
            elif isinstance(size, psycopg.Error):
                found[column.name] = stand_in(reason(size), self._hex(span, column, size))
        while (total := sum(sizes.values())) > LONGEST_LINE_BYTES:
            longest = max(sizes, key=sizes.__getitem__)
            found[longest] = stand_in(
                f"{sizes.pop(longest)} bytes as JSON in a row of {total}, and a row may have "
                f"{LONGEST_LINE_BYTES}"
            )
        return found

    def _hex(self, span: Span, column: SourceColumn, error: psycopg.Error) -> str | None:
        """The first bytes of a value that isn't text in the encoding it should have."""
        if not is_of_encoding(error):
            return None
        in_hex = self._asked(span, changes.first_bytes(column, BYTES_KEPT))
        return in_hex if isinstance(in_hex, str) else None

    def _asked(self, span: Span, value: sql.Composable) -> object:
        """An expression's value for the only row of a range, or the error that it ends with."""
        try:
            with self.connection.transaction():
                return changes.of_row(self.connection, self.table, span, value)
        except psycopg.Error as error:
            if not is_of_value(error):
                raise
            return error
