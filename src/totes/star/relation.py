"""The lines of a batch as relations that models read.

All columns are text, exactly as PostgreSQL spelled it; NULL is NULL.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from gzip import BadGzipFile
from pathlib import Path

from isal import igzip
from isal.isal_zlib import IsalError

from totes.batch import File, Table
from totes.errors import LakeError
from totes.star.contract import literal, quote
from totes.star.lineage import CHANGED

CHUNK_BYTES = 1 << 18

LONGEST_LINE_BYTES = 1 << 30
"""PostgreSQL makes no longer text, and a row arrives as one."""

MOST_INFLATED = 100
"""How often a file may have its packed size, where its manifest doesn't say how much it holds."""

UPSERT, DELETE = b'\n{"_op":"upsert"', b'\n{"_op":"delete"'
"""How every line begins, behind the end of the one before: inside of JSON are no line ends."""


@dataclass(frozen=True)
class Lines:
    """Unpacked JSON Lines of one table; no line has more than `longest_bytes`."""

    paths: tuple[Path, ...]
    longest_bytes: int
    deletes: int

    def rows(self, columns: Sequence[str], *further: str) -> str:
        """SQL: `columns`, and the expressions `further`, of all lines."""
        selected = ", ".join([*map(quote, columns), *further])
        return f"select {selected} from {self._read(columns)}"

    def changed(self, columns: Sequence[str]) -> str:
        """SQL: the rows that the batch inserted or updated."""
        return f"{self.rows(columns, f'true as {CHANGED}')} where _op = 'upsert'"

    def deleted(self, names: Mapping[str, str]) -> str:
        """SQL: the deleted keys, each of their columns under the name that `names` gives it."""
        columns = ", ".join(f"{quote(column)} as {quote(name)}" for column, name in names.items())
        return f"select {columns} from {self._read([*names])} where _op = 'delete'"

    def _read(self, columns: Sequence[str]) -> str:
        paths = ", ".join(literal(str(path)) for path in self.paths)
        types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in (*columns, "_op"))
        return (
            f"read_json([{paths}], format = 'newline_delimited', columns = {{{types}}},"
            f" maximum_object_size = {self.longest_bytes}, hive_partitioning = false)"
        )


def parquet(path: Path) -> str:
    """SQL: a local file as it is, whatever the names of the folders it lies in."""
    return f"read_parquet({literal(str(path))}, hive_partitioning = false)"


def no_rows(columns: Sequence[str]) -> str:
    """SQL: what a table without changes looks like."""
    absent = (f"cast(null as varchar) as {quote(name)}" for name in columns)
    return f"select {', '.join([*absent, f'false as {CHANGED}'])} where false"


def unpack(table: Table, packed: Sequence[Path], url: str) -> Lines:
    """Unpack a table's gzipped JSON Lines, in constant memory; the packed files are removed.

    `packed` are local copies of the table's files in the store `url`. LakeError names the one that
    isn't what the manifest says.
    """
    longest = 0
    paths = []
    for file, path in zip(table.files, packed, strict=True):
        target = path.with_suffix(".jsonl")
        try:
            found = _unpack(file, path, target)
            _check(table, file, found, target)
        except (EOFError, BadGzipFile, IsalError) as error:  # type: ignore[misc]  # no types
            raise LakeError(f"{file.path} in {url} is damaged: {error}.") from error
        except _Untrue as error:
            raise LakeError(
                f"{file.path} in {url} is not what its manifest says: {error}. "
                "Restore both from a backup."
            ) from error
        longest = max(longest, found.longest_bytes)
        path.unlink()
        paths.append(target)
    return Lines(tuple(paths), longest, sum(file.deletes for file in table.files))


class _Untrue(Exception):
    """What a file has instead of what its manifest says."""


@dataclass
class _Found:
    """What was counted while unpacking; no line is longer than `longest_bytes`."""

    size_bytes: int = 0
    longest_bytes: int = 0
    lines: int = 0
    upserts: int = 0
    deletes: int = 0


def _unpack(file: File, packed: Path, target: Path) -> _Found:
    """Unpack as much as the manifest announces, and no more: a small file can hold any amount."""
    most = file.unpacked_bytes
    if most is None:  # a manifest of another maker
        most = MOST_INFLATED * file.bytes + CHUNK_BYTES
    free = shutil.disk_usage(target.parent).free
    if (file.unpacked_bytes or 0) > free:
        raise _Untrue(f"it needs {most} bytes of the temporary folder, which has {free} left")
    found, length, end = _Found(), 0, b"\n"
    with (
        igzip.IGzipFile(packed, "rb") as content,  # type: ignore[no-untyped-call]
        target.open("wb") as lines,
    ):
        while chunk := content.read(CHUNK_BYTES):
            found.size_bytes += len(chunk)
            if found.size_bytes > most:
                raise _Untrue(f"it unpacks to more than {most} bytes")
            lines.write(chunk)
            found.lines += chunk.count(b"\n")
            joined = end + chunk
            found.upserts += joined.count(UPSERT)
            found.deletes += joined.count(DELETE)
            end = joined[1 - len(UPSERT) :]  # a line's beginning may lie in two chunks
            first = chunk.find(b"\n")
            if first < 0:
                length += len(chunk)
            else:
                found.longest_bytes = max(found.longest_bytes, length + first)
                length = len(chunk) - chunk.rfind(b"\n") - 1
            if length > LONGEST_LINE_BYTES:
                raise _Untrue(f"it has a line of more than {LONGEST_LINE_BYTES} bytes")
    if not end.endswith(b"\n"):
        raise _Untrue("its last line has no end")
    found.longest_bytes = max(found.longest_bytes, CHUNK_BYTES) + 1
    return found


def _check(table: Table, file: File, found: _Found, lines: Path) -> None:
    if file.unpacked_bytes not in {None, found.size_bytes}:
        raise _Untrue(f"it unpacks to {found.size_bytes} bytes instead of {file.unpacked_bytes}")
    told = (file.rows - file.deletes, file.deletes)
    if found.lines != file.rows or (found.upserts, found.deletes) != told:
        raise _Untrue(
            f"it has {found.lines} lines, {found.upserts} upserts and {found.deletes} deletes, "
            f"instead of {file.rows}, {told[0]} and {told[1]}"
        )
    with lines.open("rb") as content:
        first = content.readline()
    try:
        line = json.loads(first)
    except (ValueError, RecursionError) as error:
        raise _Untrue("its first line is not JSON") from error
    names = table.key if line["_op"] == "delete" else [column.name for column in table.columns]
    if lacking := [name for name in names if name not in line]:
        raise _Untrue(f"its rows have no {', '.join(lacking)}")
