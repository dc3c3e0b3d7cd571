"""The lines of a batch as relations that models read.

All columns are text, exactly as PostgreSQL spelled it; NULL is NULL.
"""

import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from gzip import BadGzipFile
from pathlib import Path

from isal import igzip
from isal.isal_zlib import IsalError

from totes.errors import LakeError
from totes.lake.manifest import LONGEST_LINE_BYTES, UNREADABLE, File, Table
from totes.star.contract import MARK, literal, quote
from totes.star.lineage import CHANGED
from totes.star.long_line import NotAnObject, cut_line

CHUNK_BYTES = 1 << 18

PART_BYTES = 8 << 20
"""DuckDB takes up to 2048 lines of a file at a time: a file of this size bounds their bytes."""

LONG_LINE_BYTES = 1 << 20
"""Of longer lines only the columns that models read are kept."""

MOST_INFLATED = 100
"""How often a file may have its packed size, where its manifest doesn't say how much it holds."""

UPSERT, DELETE = b'\n{"_op":"upsert"', b'\n{"_op":"delete"'
"""How every line begins, behind the end of the one before: inside of JSON are no line ends."""


@dataclass(frozen=True)
class Lines:
    """Unpacked JSON Lines of one table; no line has more than `longest_bytes`.

    Where the lines are to be read by DuckDB, `paths` are parts of about PART_BYTES.
    """

    paths: tuple[Path, ...]
    longest_bytes: int
    deletes: int
    unreadable: bool = False
    """Whether values may be objects with the reason why they could not be read."""

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
        if not self.unreadable:
            return self._json(columns, "VARCHAR")
        values = (f"{_value(quote(name))} as {quote(name)}" for name in columns)
        return f"(select {', '.join([*values, '_op'])} from {self._json(columns, 'JSON')})"

    def _json(self, columns: Sequence[str], kind: str) -> str:
        paths = ", ".join(literal(str(path)) for path in self.paths)
        types = [f"{literal(name)}: '{kind}'" for name in columns]
        types.append("_op: 'VARCHAR'")
        return (
            f"read_json([{paths}], format = 'newline_delimited', columns = {{{', '.join(types)}}},"
            f" maximum_object_size = {self.longest_bytes}, hive_partitioning = false)"
        )


def _value(json: str) -> str:
    """SQL: the text of a JSON value; of one that could not be read, bytes and reason after MARK.

    The contract refuses every text with MARK.
    """
    in_hex = f"coalesce({json}->>'hex', '')"
    marked = f"{MARK} || {in_hex} || {MARK} || ({json}->>'{UNREADABLE}')"
    return f"case json_type({json}) when 'OBJECT' then {marked} else {json}->>'$' end"


def parquet(path: Path) -> str:
    """SQL: a local file as it is, whatever the names of the folders it lies in."""
    return f"read_parquet({literal(str(path))}, hive_partitioning = false)"


def no_rows(columns: Sequence[str]) -> str:
    """SQL: what a table without changes looks like."""
    absent = (f"cast(null as varchar) as {quote(name)}" for name in columns)
    return f"select {', '.join([*absent, f'false as {CHANGED}'])} where false"


def unpack(
    table: Table, packed: Sequence[Path], url: str, *, read: Collection[str] | None
) -> Lines:
    """Unpack a table's gzipped JSON Lines, in constant memory; the packed files are removed.

    `packed` are local copies of the table's files in the store `url`. Of long lines only the
    columns in `read` are kept; with None everything is, and each file is unpacked into one.
    LakeError names the file that isn't what the manifest says.
    """
    longest = 0
    paths: list[Path] = []
    for file, path in zip(table.files, packed, strict=True):
        try:
            found = _unpack(file, path, read)
            _check(table, file, found)
        except (EOFError, BadGzipFile, IsalError) as error:  # type: ignore[misc]  # no types
            raise LakeError(f"{file.path} in {url} is damaged: {error}.") from error
        except _Untrue as error:
            raise LakeError(
                f"{file.path} in {url} is not what its manifest says: {error}. "
                "Restore both from a backup."
            ) from error
        longest = max(longest, found.longest_bytes)
        path.unlink()
        paths += found.paths
    return Lines(
        tuple(paths),
        longest,
        sum(file.deletes for file in table.files),
        any(file.unreadable for file in table.files),
    )


class _Untrue(Exception):
    """What a file has instead of what its manifest says."""


@dataclass
class _Found:
    """What was counted while unpacking; no line is longer than `longest_bytes`."""

    size_bytes: int = 0
    longest_bytes: int = CHUNK_BYTES + 1
    lines: int = 0
    upserts: int = 0
    deletes: int = 0
    paths: list[Path] = field(default_factory=list)


def _unpack(file: File, packed: Path, read: Collection[str] | None) -> _Found:
    """Unpack a file beside itself, into parts of about PART_BYTES where `read` is not None."""
    found = _Found()
    with igzip.IGzipFile(packed, "rb") as content:  # type: ignore[no-untyped-call]
        chunks = _chunks(file, packed, content, found)
        pieces = chunks if read is None else _whole_lines(chunks, read, found)
        is_open = True
        while is_open:
            path = packed.with_suffix(f".{len(found.paths)}.jsonl")
            found.paths.append(path)
            is_open = _write(pieces, path, None if read is None else PART_BYTES)
    return found


def _write(pieces: Iterator[bytes], path: Path, most_bytes: int | None) -> bool:
    """Write pieces into a file until it has `most_bytes`; false where there are no more."""
    size_bytes = 0
    with path.open("wb") as lines:
        for piece in pieces:
            size_bytes += lines.write(piece)
            if most_bytes is not None and size_bytes >= most_bytes:
                return True
    return False


def _whole_lines(chunks: Iterator[bytes], read: Collection[str], found: _Found) -> Iterator[bytes]:
    """The lines in `chunks`, in pieces that end where a line does; long lines are reduced."""
    begun = b""
    for chunk in chunks:
        following = chunk
        while following:
            piece, begun = _split(begun, following)
            following = b""
            if piece:
                found.longest_bytes = max(found.longest_bytes, piece.find(b"\n") + 1)
                yield piece
            if len(begun) > LONG_LINE_BYTES:
                try:
                    line, following = cut_line(begun, chunks, read)
                except NotAnObject:
                    raise _Untrue("a line of it is not a JSON object") from None
                begun = b""
                found.longest_bytes = max(found.longest_bytes, len(line))
                yield line


def _split(begun: bytes, chunk: bytes) -> tuple[bytes, bytes]:
    """The whole lines of a line's beginning and the next chunk, and the beginning of the next."""
    end = chunk.rfind(b"\n") + 1
    return (begun + chunk[:end], chunk[end:]) if end else (b"", begun + chunk)


def _chunks(file: File, packed: Path, content: igzip.IGzipFile, found: _Found) -> Iterator[bytes]:
    """A file's content: as much as the manifest announces, and no more.

    A small file can hold any amount.
    """
    most = file.unpacked_bytes
    if most is None:  # a manifest of another maker
        most = MOST_INFLATED * file.bytes + CHUNK_BYTES
    free = shutil.disk_usage(packed.parent).free
    if (file.unpacked_bytes or 0) > free:
        raise _Untrue(f"it needs {most} bytes of the temporary folder, which has {free} left")
    length, end = 0, b"\n"
    while chunk := content.read(CHUNK_BYTES):
        found.size_bytes += len(chunk)
        if found.size_bytes > most:
            raise _Untrue(f"it unpacks to more than {most} bytes")
        found.lines += chunk.count(b"\n")
        joined = end + chunk
        found.upserts += joined.count(UPSERT)
        found.deletes += joined.count(DELETE)
        end = joined[1 - len(UPSERT) :]  # a line's beginning may lie in two chunks
        last = chunk.rfind(b"\n")
        length = length + len(chunk) if last < 0 else len(chunk) - last - 1
        if length > LONGEST_LINE_BYTES:
            raise _Untrue(f"it has a line of more than {LONGEST_LINE_BYTES} bytes")
        yield chunk
    if not end.endswith(b"\n"):
        raise _Untrue("its last line has no end")


def _check(table: Table, file: File, found: _Found) -> None:
    if file.unpacked_bytes not in {None, found.size_bytes}:
        raise _Untrue(f"it unpacks to {found.size_bytes} bytes instead of {file.unpacked_bytes}")
    told = (file.rows - file.deletes, file.deletes)
    if found.lines != file.rows or (found.upserts, found.deletes) != told:
        raise _Untrue(
            f"it has {found.lines} lines, {found.upserts} upserts and {found.deletes} deletes, "
            f"instead of {file.rows}, {told[0]} and {told[1]}"
        )
    with found.paths[0].open("rb") as content:
        first = content.readline()
    try:
        line = json.loads(first)
    except (ValueError, RecursionError) as error:
        raise _Untrue("its first line is not JSON") from error
    names = table.key if line["_op"] == "delete" else [column.name for column in table.columns]
    if lacking := [name for name in names if name not in line]:
        raise _Untrue(f"its rows have no {', '.join(lacking)}")
