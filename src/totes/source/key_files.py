"""The files of live keys that one batch leaves for the next."""

from pathlib import Path
from typing import Literal

from totes.lake.manifest import KeyFile
from totes.source.files import BatchFiles
from totes.source.keys import TableKeys

_MAX_CHANGE_FILES = 16
"""When there are so many change files, the next one replaces them."""

_MAX_CHANGED_SHARE = 0.1
"""With a larger share of changed keys a new base file is written."""


def fits_change_file(previous: tuple[KeyFile, ...], changes: int) -> bool:
    """Return whether so many changes are stored as one more file, without reading `previous`."""
    base, change_files = previous[:1], previous[1:]
    most = _MAX_CHANGED_SHARE * sum(file.rows for file in base)
    total = changes + sum(file.rows for file in change_files)
    return len(change_files) < _MAX_CHANGE_FILES and total <= most


def store_live_keys(
    files: BatchFiles, table: str, keys: TableKeys, previous: tuple[KeyFile, ...], changes: int
) -> tuple[KeyFile, ...]:
    """Store the live keys after a batch that changes so many; return their files.

    `previous` are the files before it.
    """
    if previous and not changes and not keys.has_read_all:
        return previous

    def put(kind: Literal["base", "change"], path: Path, rows: int) -> KeyFile:
        return KeyFile(kind=kind, **files.put_parquet(table, "keys", path, rows).model_dump())

    path = files.new_path("parquet")
    if not keys.has_read_all:
        if fits_change_file(previous, changes):
            return (*previous, put("change", path, keys.write_changes(path)))
        # The files may have the same keys.
        base = previous[:1]
        most = _MAX_CHANGED_SHARE * sum(file.rows for file in base)
        if changes <= most and (merged := keys.write_merged_changes(path)) <= most:
            return (*base, put("change", path, merged))
    return (put("base", path, keys.write_base(path)),)
