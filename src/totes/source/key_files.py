"""The files of live keys that one batch leaves for the next."""

from pathlib import Path
from typing import Literal

from totes.lake.manifest import KeyFile
from totes.source.files import BatchFiles
from totes.source.keys import TableKeys

_MAX_CHANGE_FILES = 16
"""The most change files of a table: the next one is merged with them into one file."""

_MAX_CHANGED_SHARE = 0.1
"""The most keys in change files, as a share of the base file; beyond it, a new base is written."""


def fits_change_file(previous: tuple[KeyFile, ...], changes: int) -> bool:
    """Return whether this number of changes is stored in a further file, next to `previous`."""
    base, change_files = previous[:1], previous[1:]
    max_changes = _MAX_CHANGED_SHARE * sum(file.rows for file in base)
    total = changes + sum(file.rows for file in change_files)
    return len(change_files) < _MAX_CHANGE_FILES and total <= max_changes


def store_live_keys(
    files: BatchFiles, table: str, keys: TableKeys, previous: tuple[KeyFile, ...], changes: int
) -> tuple[KeyFile, ...]:
    """Store the live keys after a batch with this number of changes; return their files.

    `previous` are the files of the batch before.
    """
    if previous and not changes and not keys.has_read_all:
        return previous

    def put(kind: Literal["base", "change"], path: Path, rows: int) -> KeyFile:
        return KeyFile(kind=kind, **files.put_parquet(table, "keys", path, rows).model_dump())

    path = files.new_path("parquet")
    if not keys.has_read_all:
        if fits_change_file(previous, changes):
            return (*previous, put("change", path, keys.write_changes(path)))
        # Several files may have the same key: merged, they have fewer rows.
        base = previous[:1]
        max_changes = _MAX_CHANGED_SHARE * sum(file.rows for file in base)
        if changes <= max_changes and (merged := keys.write_merged_changes(path)) <= max_changes:
            return (*base, put("change", path, merged))
    return (put("base", path, keys.write_base(path)),)
