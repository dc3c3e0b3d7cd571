"""Current rows of the source tables that models join, in Parquet files, the newest last.

A file has the changes of one or more batches: the table's columns as text, `_batch`, and `_live`,
which is false for a deleted key. Each file has more rows than all later files together. So there
are few files, and the number of times a row is rewritten is logarithmic in the size of the table.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from totes.lake.line import IS_UPSERT
from totes.lake.manifest import File
from totes.sql_text import quote
from totes.star.contract import parquet
from totes.star.lineage import CHANGED
from totes.star.relation import JsonLines, empty_relation


def count_unmerged(files: Sequence[File], rows: int) -> int:
    """Return how many of `files` stay when `rows` are added; the rest is merged with these rows."""
    for position, file in enumerate(files):
        later_rows = sum(later.rows for later in files[position + 1 :]) + rows
        if file.rows <= later_rows:
            return position
    return len(files)


_RESERVED = frozenset({"_batch", "_live"})


def distinct_names(columns: Sequence[str], read: Collection[str]) -> list[str]:
    """Return the columns that one file can hold: names in DuckDB are case-insensitive.

    Of several names that differ only in case, the one in `read` is returned, otherwise the first.
    """
    used = set(_RESERVED)
    names = []
    for name in sorted(columns, key=lambda name: name not in read):
        if name.lower() not in used:
            used.add(name.lower())
            names.append(name)
    return names


def batch_rows(lines: JsonLines, columns: Sequence[str], batch: int) -> str:
    """Return SQL for the changes of one batch to a table."""
    return lines.newest(columns, f"cast({batch} as bigint) as _batch", f"{IS_UPSERT} as _live")


def newest_rows(paths: Sequence[Path], columns: Sequence[str], key: Sequence[str]) -> str:
    """Return SQL for the newest row of every key, including deleted keys.

    The newest batch of each key is found from the keys alone, so that wide values stay out of
    memory.
    """
    selected = ", ".join([*map(quote, columns), "_batch", "_live"])
    first, *later = (f"select {selected} from {parquet(path)}" for path in paths)
    if not later:
        return first
    names = ", ".join(quote(name) for name in key)
    rows = " union all ".join(later)
    newest_batches = f"select {names}, max(_batch) as _batch from ({rows}) group by {names}"
    return (
        f"select * from ({rows}) semi join ({newest_batches}) using ({names}, _batch)"
        f" union all"
        f" select * from ({first}) anti join ({newest_batches}) using ({names})"
    )


def current_rows(
    paths: Sequence[Path], columns: Sequence[str], key: Sequence[str], since: int
) -> str:
    """Return SQL for the live rows, flagged if batch `since` or a later batch changed them."""
    if not paths:
        return empty_relation(columns)
    selected = ", ".join([*map(quote, columns), f"_batch >= {since} as {CHANGED}"])
    rows = live_rows(newest_rows(paths, distinct_names([*columns, *key], columns), key))
    return f"select {selected} from ({rows})"


def live_rows(rows: str) -> str:
    """Return SQL for the rows whose key is not deleted."""
    return f"select * from ({rows}) where _live"
