"""Ranges of the rows of a table: what one statement reads, and the sections they are counted in.

The package's docstring has a drawing of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from psycopg import sql

_BLOCK_STRIDE = 1 << 16
"""The positions reserved for each block: more than the rows a block can have."""

_LAST_POSITION = (1 << 48) - 1
"""The greatest position: a ctid has 32 bits for the block and 16 for the row."""

_SECTIONS_PER_STATEMENT = 256

_MAX_SECTIONS = 1 << 16
"""The most sections of a table: the number of rows of each is kept in memory."""


@dataclass(frozen=True)
class RowRange:
    """A range of row positions in a table: block * 2^16 + row number in the block.

    `end` is exclusive. The `last` range of a table has no upper bound, because another table access
    method may number rows differently. `has_toast`: rows may be longer than a block. `table_oid`
    is the only partition or child table to read; None means all of them, whose rows may have the
    same positions. Rows are counted by section, of `section_blocks` blocks.
    """

    start: int
    end: int
    last: bool = False
    has_toast: bool = False
    table_oid: int | None = None
    section_blocks: int = 1

    @property
    def block(self) -> int:
        """The first block."""
        return self.start // _BLOCK_STRIDE

    @property
    def blocks(self) -> int:
        """The number of blocks; the last one may be incomplete."""
        return (self.end - 1) // _BLOCK_STRIDE - self.block + 1

    def halves(self) -> tuple["RowRange", "RowRange"]:
        """Return two ranges with half of the blocks each."""
        return self.split((self.block + self.blocks // 2) * _BLOCK_STRIDE)

    def split(self, position: int) -> tuple["RowRange", "RowRange"]:
        """Return the range up to `position`, and the range from there."""
        return replace(self, end=position, last=False), replace(self, start=position)

    @property
    def first_section(self) -> int:
        """The number of the section of its first row."""
        return self.block // self.section_blocks

    @property
    def bounds(self) -> tuple[int, int]:
        """Its start and end; the end of the last range is the greatest position."""
        return self.start, _LAST_POSITION if self.last else self.end

    def section_bounds(self) -> list[tuple[int, int]]:
        """Return start and end of the part of the range in each section, in their order."""
        length = self.section_blocks * _BLOCK_STRIDE
        starts = range((self.first_section + 1) * length, self.end, length)
        return list(pairwise([self.start, *starts, self.bounds[1]]))


def choose_section_blocks(blocks: int, range_blocks: int, members: int) -> int:
    """Return the number of blocks in a section: few, as a deletion causes all its keys to be read.

    The table has `blocks` blocks, and `members` partitions or children, each of which is searched
    for each section. A range has `range_blocks` blocks.
    """
    return max(range_blocks * (1 + members) // _SECTIONS_PER_STATEMENT, blocks // _MAX_SECTIONS, 1)


def split_blocks(
    blocks: range, *, last: bool, has_toast: bool = False, section_blocks: int = 1
) -> Iterator[RowRange]:
    """Yield ranges that cover some blocks, each from one element of `blocks` to the next.

    `last`: they are the last blocks of the table.
    """
    for start in blocks:
        end = min(start + blocks.step, blocks.stop)
        yield RowRange(
            start * _BLOCK_STRIDE,
            end * _BLOCK_STRIDE,
            last=last and end == blocks.stop,
            has_toast=has_toast,
            section_blocks=section_blocks,
        )


def section_ranges(sections: Sequence[int], section_blocks: int) -> Iterator[RowRange]:
    """Yield the ranges of rows of some sections."""
    length = section_blocks * _BLOCK_STRIDE
    for section in sections:
        yield RowRange(section * length, (section + 1) * length)


def range_condition(row_range: RowRange) -> sql.Composable:
    """Return SQL that is true for the rows `t` of a range."""
    start = sql.SQL("t.ctid >= {}::tid").format(ctid_of(row_range.start))
    if row_range.table_oid is not None:
        start = sql.SQL("t.tableoid = {}::oid AND {}").format(row_range.table_oid, start)
    if row_range.last:
        return start
    return sql.SQL("{} AND t.ctid < {}::tid").format(start, ctid_of(row_range.end))


def ctid_of(position: int) -> str:
    """Return the ctid of a position."""
    return f"({position // _BLOCK_STRIDE},{position % _BLOCK_STRIDE})"


def position_of(ctid: str) -> int:
    """Return the position of a ctid."""
    block, row = ctid.strip("()").split(",")
    return int(block) * _BLOCK_STRIDE + int(row)
