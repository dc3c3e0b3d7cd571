"""Current rows of the source tables that models join: Parquet files, the newest last.

A file holds what one or more batches did to a table: its columns as text, `_batch`, and
`_live`, false for a deleted key. Every file has more rows than all after it together, so there are
few of them, and a row is written again about as often as its table doubles.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from totes.batch import File
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


def newest(paths: Sequence[Path], key: Sequence[str]) -> str:
    """SQL: the newest row of every key, deleted keys among them.

    Only the files after the first are sorted; the first, the largest, is read past them.
    """
    first, *later = map(parquet, paths)
    if not later:
        return f"select * from {first}"
    names = ", ".join(quote(name) for name in key)
    rows = " union all by name ".join(f"select * from {file}" for file in later)
    return (
        f"with later as materialized (select * from ({rows})"
        f" qualify row_number() over (partition by {names} order by _batch desc) = 1)"
        f" select * from later union all by name"
        f" select first.* from {first} as first anti join later using ({names})"
    )


def current(paths: Sequence[Path], columns: Sequence[str], key: Sequence[str], since: int) -> str:
    """SQL: the live rows, and whether batch `since` or a later one changed them."""
    if not paths:
        return no_rows(columns)
    selected = ", ".join([*map(quote, columns), f"_batch >= {since} as {CHANGED}"])
    return f"select {selected} from ({live(newest(paths, key))})"


def live(rows: str) -> str:
    """SQL: the rows, less those that only say that their key was deleted."""
    return f"select * from ({rows}) where _live"
