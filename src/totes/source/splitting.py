"""Splitting: the pieces of each table, and which of them an earlier attempt has stored."""

import logging
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import psycopg

from totes.lake.unfinished import Attempt, LargeTable
from totes.source.catalogue import SourceTable
from totes.source.files import BatchFiles
from totes.source.pieces import EarlierPiece, Piece, Plan
from totes.source.ranges import RowRange, choose_section_blocks
from totes.source.snapshot import (
    Snapshot,
    VisibleTransactions,
    read_label_digest,
    snapshot_xmin,
)

log = logging.getLogger(__name__)

_RANGE_BYTES = 1 << 20
"""The bytes of a table that one statement reads if all rows are captured; three times as JSON."""

_SPARSE_RANGE_BYTES = 8 << 20
"""The same if only changed rows are captured."""

_RANGES_PER_PIECE = 16

_MAX_PIECES = 1000
"""The most pieces of a table, and about the most files: a manifest stays small."""


class TableSize(NamedTuple):
    """A table's size: blocks of its largest partition, total bytes, and whether it has TOAST.

    `relfilenodes` has the OID and relfilenode of the table, and of each partition or child. A
    rewrite of a table changes them: as long as they are equal, no row has moved to another block
    unless it was updated. It is empty if one of them has another access method than heap, in which
    rows may move.
    """

    blocks: int
    size_bytes: int
    has_toast: bool
    relfilenodes: str


def read_table_size(connection: psycopg.Connection, table: SourceTable) -> TableSize:
    """Return the present size of a table."""
    ((blocks, size_bytes, toast_bytes, relfilenodes),) = connection.execute(
        """
        SELECT coalesce(max(pg_relation_size(relid)), 0)
                   / current_setting('block_size')::bigint,
               coalesce(sum(pg_table_size(relid)), 0)::bigint,
               coalesce(sum(pg_relation_size(reltoastrelid)), 0),
               CASE WHEN bool_and(amname = 'heap') FILTER (WHERE relkind = 'r')
                    THEN string_agg(pg_class.oid || ':' || relfilenode, ' ' ORDER BY pg_class.oid)
                    ELSE '' END
        FROM unnest(%s::oid[]) AS member (relid)
        JOIN pg_class ON pg_class.oid = relid
        LEFT JOIN pg_am ON pg_am.oid = relam
        """,
        [[table.oid, *table.members]],
    ).fetchall()
    return TableSize(blocks, size_bytes, toast_bytes > 0, relfilenodes)


@dataclass(frozen=True)
class SplitTable:
    """The pieces of a table, and its `relfilenodes` as in TableSize."""

    pieces: list[Piece]
    relfilenodes: str

    @property
    def section_blocks(self) -> int:
        """The number of blocks of a section."""
        return self.pieces[0].section_blocks

    def all_ranges(self) -> list[RowRange]:
        """Return the ranges of all pieces."""
        return list(chain.from_iterable(piece.ranges() for piece in self.pieces))


class Splitting:
    """Splits the tables of a snapshot into pieces; `plans` says how each is captured."""

    def __init__(self, snapshot: Snapshot, files: BatchFiles, plans: Sequence[Plan]) -> None:
        self._snapshot = snapshot
        self._files = files
        self._sizes = [(plan, read_table_size(snapshot.connection, plan.table)) for plan in plans]

    @cached_property
    def _large_tables(self) -> tuple[LargeTable, ...]:
        return tuple(
            LargeTable(
                name=plan.table.name,
                fingerprint=plan.table.fingerprint,
                relfilenodes=size.relfilenodes,
                blocks=size.blocks,
                size_bytes=size.size_bytes,
            )
            for plan, size in self._sizes
            if _is_large(plan, size)
        )

    @property
    def large_bytes(self) -> int:
        """The bytes of all tables whose pieces are recorded."""
        return sum(table.size_bytes for table in self._large_tables)

    def split(self) -> list[SplitTable]:
        """Return the pieces of each table, including those that an earlier attempt has stored."""
        attempt, earlier = "", []
        if self._large_tables:
            if stored := self._files.unfinished.measure():
                log.info(
                    "Batch %d is continued: %d rows, %.0f %% of its large tables, were stored.",
                    *(stored.batch, stored.rows, 100 * stored.share),
                )
            labels = read_label_digest(self._snapshot.connection)
            earlier = [*self._find_earlier_attempts(labels)]
            attempt = self._files.unfinished.add_attempt(
                Attempt(
                    token=self._files.attempt,
                    snapshot=self._snapshot.text,
                    identity=self._snapshot.identity,
                    labels=labels,
                    tables=self._large_tables,
                )
            )
        return [
            SplitTable(
                list(_split(plan, size, attempt, self._find_stored(plan, size, earlier))),
                size.relfilenodes,
            )
            for plan, size in self._sizes
        ]

    def _find_earlier_attempts(self, labels: str) -> Iterator[tuple[str, Attempt]]:
        """Yield the attempts whose rows this snapshot would see at the same place."""
        visible = VisibleTransactions(self._snapshot.text)
        for name, attempt in self._files.unfinished.attempts():
            if (
                attempt.identity.is_same(self._snapshot.identity)
                and attempt.labels == labels
                and visible.include(VisibleTransactions(attempt.snapshot))
            ):
                yield name, attempt

    def _find_stored(
        self, plan: Plan, size: TableSize, attempts: Sequence[tuple[str, Attempt]]
    ) -> list[EarlierPiece]:
        """Return pieces of a table that earlier attempts have stored, in their order."""
        stored = [
            EarlierPiece(piece, snapshot_xmin(attempt.snapshot))
            for name, attempt in attempts
            if _is_large(plan, size)
            and (table := attempt.table(plan.table.name))
            and table.fingerprint == plan.table.fingerprint
            and table.relfilenodes == size.relfilenodes
            for piece in self._files.unfinished.pieces(name, plan.table.name)
        ]
        stored.sort(key=lambda one: one.xmin, reverse=True)  # the newest have the fewest changes
        without_overlap: list[EarlierPiece] = []
        for new in stored:  # concurrent attempts have stored the same blocks
            index = bisect(
                without_overlap, new.piece.first_block, key=lambda one: one.piece.first_block
            )
            before, after = without_overlap[:index][-1:], without_overlap[index:][:1]
            if all(one.piece.end_block <= new.piece.first_block for one in before) and all(
                one.piece.first_block >= new.piece.end_block for one in after
            ):
                without_overlap.insert(index, new)
        return without_overlap


def _is_large(plan: Plan, size: TableSize) -> bool:
    """Whether the pieces of a table are recorded, so that a later attempt need not read them.

    That requires that rows stay in their blocks, and that keys are unique.
    """
    return (
        plan.horizon is None
        and size.relfilenodes != ""
        and not plan.table.has_children
        and size.blocks > _range_blocks(plan, size) * _RANGES_PER_PIECE
    )


def _range_blocks(plan: Plan, size: TableSize) -> int:
    """Return the number of blocks in a range of a table."""
    range_bytes = _RANGE_BYTES if plan.horizon is None else _SPARSE_RANGE_BYTES
    return max(1, size.blocks * range_bytes // max(size.size_bytes, 1))


def _split(
    plan: Plan, size: TableSize, attempt: str, stored_pieces: Sequence[EarlierPiece]
) -> Iterator[Piece]:
    range_blocks = _range_blocks(plan, size)
    blocks_per_piece = range_blocks * max(
        _RANGES_PER_PIECE, -(-size.blocks // (range_blocks * _MAX_PIECES))
    )
    section_blocks = choose_section_blocks(size.blocks, range_blocks, len(plan.table.members))
    bytes_per_block = size.size_bytes // max(size.blocks, 1)

    def piece(first: int, end: int, *, last: bool, earlier: EarlierPiece | None = None) -> Piece:
        return Piece(
            blocks=range(first, end, range_blocks),
            last=last,
            has_toast=size.has_toast,
            section_blocks=section_blocks,
            size_bytes=bytes_per_block * (end - first),
            attempt=attempt if _is_large(plan, size) else "",
            earlier=earlier,
        )

    def gap(first: int, until: int, *, last: bool = False) -> Iterator[Piece]:
        for start in range(first, until, blocks_per_piece):
            end = min(start + blocks_per_piece, until)
            yield piece(start, end, last=last and end == until)

    first = 0
    for stored in stored_pieces:
        yield from gap(first, stored.piece.first_block)
        first = stored.piece.end_block
        yield piece(stored.piece.first_block, first, last=False, earlier=stored)
    if first < size.blocks or not stored_pieces:
        yield from gap(first, max(size.blocks, 1), last=True)
