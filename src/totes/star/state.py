"""Current rows of the source tables that models join: Parquet files, the newest last.

A file holds what one or more batches did to a table: its columns as text, `_batch`, and
`_live`, false for a deleted key. Every file has more rows than all after it together, so there are
few of them, and a row is written again about as often as its table doubles.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from totes.lake.manifest import File
from totes.star.contract import quote
from totes.star.lineage import CHANGED
from totes.star.relation import Lines, no_rows, parquet


def settled(files: Sequence[File], rows: int) -> int:
    """How many of `files` stay when `rows` new ones come; the others are merged with these."""
    for staying, file in enumerate(files):
        rows_after = sum(later.rows for later in files[staying + 1 :]) + rows
        if file.rows <= rows_after:
            return staying
    return len(files)


_OURS = frozenset({"_batch", "_live"})


def distinct(columns: Sequence[str], read: Collection[str]) -> list[str]:
    """Those of a table's columns that one file can hold: to DuckDB, case makes no other name.

    Of several that differ by case alone it is the one in `read`, which a model needs, or the first.
    """
    taken = set(_OURS)
    chosen = []
    for name in sorted(columns, key=lambda name: name not in read):
        if name.lower() not in taken:
            taken.add(name.lower())
            chosen.append(name)
    return chosen


def change(lines: Lines, columns: Sequence[str], batch: int) -> str:
    """SQL: what a batch did to a table."""
    return lines.rows(columns, f"cast({batch} as bigint) as _batch", "_op = 'upsert' as _live")


def newest(paths: Sequence[Path], columns: Sequence[str], key: Sequence[str]) -> str:
    """SQL: `columns` of the newest row of every key, deleted keys among them.

    Which row is the newest is found by the keys alone, so no wide value is held meanwhile.
    """
    selected = ", ".join([*map(quote, columns), "_batch", "_live"])
    first, *later = (f"select {selected} from {parquet(path)}" for path in paths)
    if not later:
        return first
    names = ", ".join(quote(name) for name in key)
    rows = " union all ".join(later)
    newest_batch = f"select {names}, max(_batch) as _batch from ({rows}) group by {names}"
    return (
        f"select * from ({rows}) semi join ({newest_batch}) using ({names}, _batch)"
        f" union all"
        f" select * from ({first}) anti join ({newest_batch}) using ({names})"
    )


def current(paths: Sequence[Path], columns: Sequence[str], key: Sequence[str], since: int) -> str:
    """SQL: the live rows, and whether batch `since` or a later one changed them."""
    if not paths:
        return no_rows(columns)
    selected = ", ".join([*map(quote, columns), f"_batch >= {since} as {CHANGED}"])
    rows = live(newest(paths, distinct([*columns, *key], columns), key))
    return f"select {selected} from ({rows})"


def live(rows: str) -> str:
    """SQL: the rows, less those that only say that their key was deleted."""
    return f"select * from ({rows}) where _live"
