"""The JSON Lines of a batch as relations that models read.

All columns are text, exactly as PostgreSQL printed the value; NULL is NULL. The file of a table
that was scanned has one line for each key. The file of a table that was read from the log may have
many: `line_order` finds which of them are used.
"""

import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from gzip import BadGzipFile
from pathlib import Path

from isal import igzip
from isal.isal_zlib import IsalError

from totes.errors import LakeError
from totes.lake.line import AT, DELETE, IS_DELETE, IS_UPSERT, OPERATION, SEQUENCE, UPSERT, is_delete
from totes.lake.manifest import MAX_LINE_BYTES, UNREADABLE_FIELD, File, Table
from totes.sql_text import literal, quote
from totes.star.contract import UNREADABLE_MARK
from totes.star.line_order import LineOrder, number_lines
from totes.star.lineage import CHANGED
from totes.star.long_lines import NotAnObject, reduce_line

CHUNK_BYTES = 1 << 18

PART_BYTES = 8 << 20
"""DuckDB reads up to 2048 lines of a file at a time; a small file limits their total size."""

LONG_LINE_BYTES = 1 << 20
"""In longer lines, columns that no model reads become null, and long texts are shortened."""

SHORT_LINE_BYTES = 16 << 10
"""The most bytes of a short line."""

MAX_COMPRESSION_RATIO = 100
"""The limit for a file whose manifest does not give its unpacked size."""

_UPSERT, _DELETE = f"\n{UPSERT}".encode(), f"\n{DELETE}".encode()
"""The start of a line, after the end of the one before. JSON contains no line ends."""


@dataclass(frozen=True)
class JsonLines:
    """Unpacked JSON Lines of one table; no line has more than `longest_bytes`.

    If they are for DuckDB, each of the files `paths` has about PART_BYTES.
    """

    paths: tuple[Path, ...]
    longest_bytes: int
    deletes: int
    only_short: bool = False
    """Whether all lines are known to be short."""
    unreadable: bool = False
    """Whether values may be objects that give the reason why they can't be read."""
    key: tuple[str, ...] = ()
    count: int = 0
    of_log: bool = False
    """Whether the table was read from the log."""
    order: LineOrder | None = None
    """The order of the lines, which a table that was read from the log needs."""

    def newest(self, columns: Sequence[str], *expressions: str) -> str:
        """Return SQL for `columns` and `expressions` of the newest line of each key."""
        selected = ", ".join([*map(quote, columns), *expressions])
        if self.order is None:
            return f"select {selected} from {self.read(columns)}"
        return self._filter(columns, selected, self.order.is_newest)

    def changed(self, columns: Sequence[str]) -> str:
        """Return SQL for the rows that the batch inserted or updated, as they are after it."""
        rows = self.newest(columns, f"true as {CHANGED}", OPERATION)
        return f"select * exclude ({OPERATION}) from ({rows}) where {IS_UPSERT}"

    def versions(self, columns: Sequence[str], captured_at: str) -> str:
        """Return SQL for all versions that the batch has, each with its moment `_at`.

        Without times of commits, the moment is `captured_at`, an SQL expression.
        """
        selected = ", ".join([*map(quote, columns), f"true as {CHANGED}"])
        if self.order is None:
            rows = (
                f"select {selected}, {captured_at} as {AT}, {OPERATION} from {self.read(columns)}"
            )
        else:
            rows = self._filter(columns, f"{selected}, {AT}, {OPERATION}", self.order.is_version)
        return f"select * exclude ({OPERATION}) from ({rows}) where {IS_UPSERT}"

    def removed(self, columns: Sequence[str]) -> str:
        """Return SQL for the last versions of the rows that the batch wrote and then deleted."""
        if self.order is None:
            return empty_relation(columns)
        selected = ", ".join([*map(quote, columns), f"true as {CHANGED}"])
        return self._filter(columns, selected, self.order.is_removed)

    def deleted(self, names: Mapping[str, str], captured_at: str, *, each: bool) -> str:
        """Return SQL for the deleted keys, each with the moment `_at` of its deletion.

        names: maps the columns of the key to the names to return.
        captured_at: an SQL expression, the moment of deletions unless `each`.
        each: return every deletion with the time of its commit, and not only the keys that are
            deleted after the batch.
        """
        if self.order is not None:
            return self.order.deleted(names, None if each else captured_at)
        columns = ", ".join(f"{quote(column)} as {quote(name)}" for column, name in names.items())
        rows = self.read([*names])
        return f"select {columns}, {captured_at} as {AT} from {rows} where {IS_DELETE}"

    def read(self, columns: Sequence[str]) -> str:
        """Return a relation with `columns` and the line's own fields, of all lines."""
        if not self.unreadable:
            return self._json(columns, "VARCHAR")
        values = (f"{_text_sql(quote(name))} as {quote(name)}" for name in columns)
        selected = ", ".join([*values, *self._fields])
        return f"(select {selected} from {self._json(columns, 'JSON')})"

    def _filter(self, columns: Sequence[str], selected: str, condition: str) -> str:
        return f"select {selected} from {number_lines(self.read(columns))} where {condition}"

    @property
    def _fields(self) -> dict[str, str]:
        """The line's own fields that are read, with their types."""
        of_log = {AT: "TIMESTAMPTZ", SEQUENCE: "BIGINT"} if self.of_log else {}
        return {OPERATION: "VARCHAR", **of_log}

    def _json(self, columns: Sequence[str], kind: str) -> str:
        paths = ", ".join(literal(str(path)) for path in self.paths)
        types = [f"{literal(name)}: '{kind}'" for name in columns]
        types += [f"{literal(name)}: '{kind}'" for name, kind in self._fields.items()]
        return (
            f"read_json([{paths}], format = 'newline_delimited', columns = {{{', '.join(types)}}},"
            f" maximum_object_size = {self.longest_bytes}, hive_partitioning = false)"
        )


def _text_sql(json: str) -> str:
    """Return SQL for the text of a JSON value; an unreadable value gets UNREADABLE_MARK.

    The contract rejects every text with that mark.
    """
    in_hex = f"coalesce({json}->>'hex', '')"
    marked = (
        f"{UNREADABLE_MARK} || {in_hex} || {UNREADABLE_MARK} || ({json}->>'{UNREADABLE_FIELD}')"
    )
    return f"case json_type({json}) when 'OBJECT' then {marked} else {json}->>'$' end"


def empty_relation(columns: Sequence[str]) -> str:
    """Return SQL for a table without changes: its columns and no rows."""
    nulls = [f"cast(null as varchar) as {quote(name)}" for name in columns]
    nulls += [f"false as {CHANGED}", f"cast(null as timestamptz) as {AT}"]
    return f"select {', '.join(nulls)} where false"


def unpack(
    table: Table, packed: Sequence[Path], url: str, *, read: Collection[str] | None
) -> JsonLines:
    """Unpack a table's gzipped JSON Lines in constant memory, and delete the packed files.

    `packed` are local copies of the table's files in the store `url`. Long lines are reduced to the
    columns in `read`; if it is None, lines stay as they are and each file is unpacked into one.
    Raises LakeError, which names the file, if its content differs from the manifest.
    """
    longest, only_short = 0, True
    paths: list[Path] = []
    for file, path in zip(table.files, packed, strict=True):
        with convert_mismatch(file.path, url):
            try:
                unpacked = _unpack_file(file, path, read)
            except (EOFError, BadGzipFile, IsalError) as error:  # type: ignore[misc]  # no types
                raise LakeError(
                    f"{file.path} in {url} is damaged: {error}. Restore it from a backup."
                ) from error
            _check_content(table, file, unpacked)
        longest = max(longest, unpacked.longest_bytes)
        only_short = only_short and unpacked.only_short
        path.unlink()
        paths += unpacked.paths
    return JsonLines(
        tuple(paths),
        longest,
        sum(file.deletes for file in table.files),
        only_short,
        any(file.unreadable for file in table.files),
        table.key,
        sum(file.rows for file in table.files),
        table.of_log,
    )


class ContentMismatch(Exception):
    """The content of a file differs from its manifest."""


@contextmanager
def convert_mismatch(
    path: str, url: str, advice: str = "Restore both from a backup."
) -> Iterator[None]:
    """Convert ContentMismatch to a LakeError about the file `path` of the store `url`."""
    try:
        yield
    except ContentMismatch as error:
        raise LakeError(f"{path} in {url} differs from its manifest: {error}. {advice}") from error


def check_counts(file: File, size_bytes: int, lines: int, upserts: int, deletes: int) -> None:
    """Raise ContentMismatch if the unpacked content of a file has other counts."""
    if file.unpacked_bytes not in {None, size_bytes}:
        raise ContentMismatch(f"it unpacks to {size_bytes} bytes instead of {file.unpacked_bytes}")
    expected = (file.rows, file.rows - file.deletes, file.deletes)
    if (lines, upserts, deletes) != expected:
        raise ContentMismatch(
            f"it has {lines} lines, {upserts} upserts and {deletes} deletes "
            f"instead of {expected[0]}, {expected[1]} and {expected[2]}"
        )


@dataclass
class _UnpackResult:
    """The unpacked files, with counts; no line is longer than `longest_bytes`."""

    size_bytes: int = 0
    longest_bytes: int = CHUNK_BYTES + 1
    only_short: bool = False
    lines: int = 0
    upserts: int = 0
    deletes: int = 0
    paths: list[Path] = field(default_factory=list)


def _unpack_file(file: File, packed: Path, read: Collection[str] | None) -> _UnpackResult:
    """Unpack a file in its folder, into parts of about PART_BYTES unless `read` is None."""
    result = _UnpackResult()
    with igzip.IGzipFile(packed, "rb") as content:  # type: ignore[no-untyped-call]
        chunks = _chunks(file, packed, content, result)
        pieces = chunks if read is None else _whole_lines(chunks, read, result)
        is_open = True
        while is_open:
            path = packed.with_suffix(f".{len(result.paths)}.jsonl")
            result.paths.append(path)
            is_open = _write(pieces, path, None if read is None else PART_BYTES)
    return result


def _write(pieces: Iterator[bytes], path: Path, full_bytes: int | None) -> bool:
    """Write pieces until the file has `full_bytes`; return false when there are no more pieces."""
    size_bytes = 0
    with path.open("wb") as lines:
        for piece in pieces:
            size_bytes += lines.write(piece)
            if full_bytes is not None and size_bytes >= full_bytes:
                return True
    return False


def _whole_lines(
    chunks: Iterator[bytes], read: Collection[str], result: _UnpackResult
) -> Iterator[bytes]:
    """Yield pieces that consist of whole lines; long lines are reduced."""
    partial_line = b""
    result.only_short = True
    for chunk in chunks:
        following = chunk
        while following:
            end = following.find(b"\n") + 1
            if len(partial_line) + (end or len(following)) > LONG_LINE_BYTES:
                try:
                    line, following = reduce_line(partial_line + following, chunks, read)
                except NotAnObject:
                    raise ContentMismatch("a line is not a JSON object") from None
                partial_line = b""
                result.longest_bytes = max(result.longest_bytes, len(line))
                result.only_short = False
                yield line
                continue
            piece, partial_line = _split(partial_line, following)
            following = b""
            if piece:
                result.longest_bytes = max(result.longest_bytes, piece.find(b"\n") + 1)
                result.only_short = result.only_short and has_only_short_lines(piece)
                yield piece


def has_only_short_lines(lines: bytes) -> bool:
    """Return whether a line ends in each half of SHORT_LINE_BYTES: then no line is longer.

    It may also be false if all lines are a little shorter than that.
    """
    half = SHORT_LINE_BYTES // 2
    return all(lines.find(b"\n", at, at + half) >= 0 for at in range(0, len(lines), half))


def _split(partial_line: bytes, chunk: bytes) -> tuple[bytes, bytes]:
    """Return the whole lines up to the end of a chunk, and the partial line after them."""
    end = chunk.rfind(b"\n") + 1
    return (partial_line + chunk[:end], chunk[end:]) if end else (b"", partial_line + chunk)


def _chunks(
    file: File, packed: Path, content: igzip.IGzipFile, result: _UnpackResult
) -> Iterator[bytes]:
    """Yield a file's content, at most as many bytes as the manifest gives.

    The limit protects the disk: a small compressed file can unpack to any size.
    """
    max_bytes = file.unpacked_bytes
    if max_bytes is None:  # optional in the format; this program always writes it
        max_bytes = MAX_COMPRESSION_RATIO * file.bytes + CHUNK_BYTES
    free = shutil.disk_usage(packed.parent).free
    if (file.unpacked_bytes or 0) > free:
        raise ContentMismatch(
            f"it needs {max_bytes} bytes of the temporary folder, which has {free} left"
        )
    length, end = 0, b"\n"
    while chunk := content.read(CHUNK_BYTES):
        result.size_bytes += len(chunk)
        if result.size_bytes > max_bytes:
            raise ContentMismatch(f"it unpacks to more than {max_bytes} bytes")
        result.lines += chunk.count(b"\n")
        joined = end + chunk
        result.upserts += joined.count(_UPSERT)
        result.deletes += joined.count(_DELETE)
        end = joined[1 - len(_UPSERT) :]  # the start of a line may be split between two chunks
        last = chunk.rfind(b"\n")
        length = length + len(chunk) if last < 0 else len(chunk) - last - 1
        if length > MAX_LINE_BYTES:
            raise ContentMismatch(f"it has a line of more than {MAX_LINE_BYTES} bytes")
        yield chunk
    if not end.endswith(b"\n"):
        raise ContentMismatch("its last line has no line feed")


def _check_content(table: Table, file: File, result: _UnpackResult) -> None:
    check_counts(file, result.size_bytes, result.lines, result.upserts, result.deletes)
    with result.paths[0].open("rb") as content:
        first = content.readline()
    try:
        line = json.loads(first)
    except (ValueError, RecursionError) as error:
        raise ContentMismatch("its first line is not JSON") from error
    names = [*table.key] if is_delete(line) else [column.name for column in table.columns]
    names += [AT, SEQUENCE] if table.of_log else []
    if missing := [name for name in names if name not in line]:
        raise ContentMismatch(f"its rows have no {', '.join(missing)}")
