"""Pieces that an earlier attempt has stored, updated to the snapshot of this attempt.

A stored piece has the rows that the earlier snapshot S saw in some blocks, each with the id of the
transaction that wrote it. This snapshot is a later one of the same server, and the table was not
rewritten since. What to do with a row depends on the transaction that wrote it:

- below the xmin of S: S saw the row in the same place, so it is stored and need not be read;
- xmin or later: the row is read from the source now.

A stored row may no longer be there, because it was updated, moved or deleted. The number of rows
that the source has now in these blocks shows whether all such rows were written again. If not, the
keys in these blocks are read, and show which rows are gone.

A piece without any difference is kept as it is. Otherwise the lines that are still valid are copied
into a new file, followed by the new lines. So every piece has exactly the rows of this snapshot,
and the batch is the same as if it had been read at once.
"""

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import override

import psycopg
from isal import igzip

from totes.errors import LakeError, LakeUnavailable
from totes.postgres.sqlstate import is_caused_by_value
from totes.source.changes import Horizon
from totes.source.keys import TableKeys
from totes.source.pieces import (
    EarlierPiece,
    Piece,
    PieceReader,
    PieceRows,
    Plan,
    Rows,
    StoredFile,
    copy_flagged_lines,
)
from totes.source.reading import read_changes

log = logging.getLogger(__name__)


class ResumingReader(PieceReader):
    """Reads pieces; of those that are stored, only what has changed."""

    @override
    def read(self, connection: psycopg.Connection, plan: Plan, piece: Piece) -> PieceRows:
        if piece.earlier is None:
            return super().read(connection, plan, piece)
        changed = self.new_rows()
        try:
            update = _Update(self, connection, plan, piece, piece.earlier, changed)
            rows = update.read_changes()
            stored_file = None if rows is None else update.find_file(rows)
        finally:
            changed.delete()
        if stored_file is None or rows is None:
            return super().read(connection, plan, piece)
        self.advance(rows - changed.count)
        return PieceRows(
            self.new_rows(),
            Counter({piece.blocks.start // piece.section_blocks: rows}),
            changed=rows,
            content_hash=stored_file.content_hash,
            stored_files=[stored_file] if stored_file.file else [],
        )


@dataclass
class _Update:
    """Brings one earlier piece up to the snapshot; `changed` are the rows written since."""

    reader: PieceReader
    connection: psycopg.Connection
    plan: Plan
    piece: Piece
    earlier: EarlierPiece
    changed: Rows

    def read_changes(self) -> int | None:
        """Read the changed rows; return the number of all, None if a value is unreadable."""
        horizon, rows = Horizon(self.earlier.xmin, self.reader.xmax), 0
        for row_range in self.piece.ranges():
            for chunk in read_changes(
                self.connection, self.plan.table, self.reader.xmax, horizon, row_range
            ):
                if chunk.unreadable:
                    return None
                rows += sum(chunk.rows.values())
                if chunk.changed:
                    self.changed.append(chunk)
                self.reader.advance(chunk.changed)
        return rows

    def find_file(self, rows: int) -> StoredFile | None:
        """Return the file with all `rows` of the piece; None if it must be read again."""
        old, files = self.earlier.piece, self.reader.files
        is_same = self.changed.count == 0 and rows == old.rows
        if old.lines is None:
            return StoredFile(None) if is_same else None
        try:
            lines = files.fetch(old.lines)
            old_keys = files.fetch(old.keys) if old.keys else None
        except LakeUnavailable:
            raise
        except LakeError as error:
            log.warning("A piece of table %s is read again: %s", self.plan.table.name, error)
            return None
        if old_keys:
            stored_file = self._find_keyed_file(rows, lines, old_keys)
        else:  # without keys, a piece is kept as a whole or not at all
            stored_file = StoredFile(old.lines, content_hash=old.content_hash) if is_same else None
        lines.unlink()
        return stored_file

    def _find_keyed_file(self, rows: int, lines: Path, old_keys: Path) -> StoredFile | None:
        with self.reader.open_engine() as engine:
            keys = TableKeys(engine, self.plan.table)
            changed = self.reader.files.new_path("parquet")
            self.changed.keys.touch()
            keys.extract_keys(self.changed.keys, changed, self.reader.xmax)
            kept = self._find_kept(keys, rows, old_keys, changed)
            if kept is None:
                return None
            if kept == self.earlier.piece.rows == rows:
                return StoredFile(self.earlier.piece.lines, old_keys)
            stored_file = self._store_merged(keys, lines, old_keys, changed)
        for path in (old_keys, changed):
            path.unlink()
        return stored_file

    def _find_kept(self, keys: TableKeys, rows: int, old_keys: Path, changed: Path) -> int | None:
        """Find which stored rows are still there; return their number, None if it is not known."""
        unchanged, xmin = rows - self.changed.count, self.earlier.xmin
        kept, old_rows = keys.find_kept(old_keys, changed, xmin, all_rows=False)
        if old_rows != unchanged:
            try:
                with self.connection.transaction():
                    present = keys.read_keys(
                        self.connection,
                        list(self.piece.ranges()),
                        self.reader.files,
                        self.reader.xmax,
                    )
            except psycopg.Error as error:
                if not is_caused_by_value(error):
                    raise
                return None
            kept, old_rows = keys.find_kept(old_keys, present, xmin, all_rows=True)
            present.unlink()
        if old_rows != unchanged:
            log.warning(
                "Table %s has %d unchanged rows in the blocks from %d to %d, but %d of them are "
                "stored: these blocks are read again.",
                self.plan.table.name,
                unchanged,
                self.piece.blocks.start,
                self.piece.blocks.stop,
                old_rows,
            )
            return None
        return kept

    def _store_merged(
        self, keys: TableKeys, lines: Path, old_keys: Path, changed: Path
    ) -> StoredFile:
        """Store the kept lines and the new ones in a file, and record it."""
        files = self.reader.files
        merged, merged_keys = files.new_path("jsonl"), files.new_path("parquet")
        with merged.open("wb") as into:
            with igzip.open(lines) as old_lines:  # type: ignore[no-untyped-call]
                copied = copy_flagged_lines(old_lines, into, keys.flag_kept_rows())
            if self.changed.count:
                with self.changed.lines.open("rb") as new_lines:
                    flags = keys.flag_new_rows(changed, old_keys)
                    copied += copy_flagged_lines(new_lines, into, flags)
        rows = keys.write_kept(old_keys, changed, merged_keys)
        if copied != rows:
            raise AssertionError
        file = files.put_lines(self.plan.table.name, merged, rows=rows) if rows else None
        stored_file = StoredFile(file, merged_keys if rows else None)
        self.reader.record(self.plan, self.piece, stored_file)
        return stored_file
