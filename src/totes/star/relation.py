"""The lines of a batch as relations that models read.

All columns are text, exactly as PostgreSQL spelled it; NULL is NULL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isal import igzip

from totes.star.contract import literal, quote
from totes.star.models import CHANGED

CHUNK_BYTES = 1 << 18


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

    def deleted(self, column: str, alias: str) -> str:
        """SQL: the keys that the batch deleted, `column` of the source under the name `alias`."""
        return (
            f"select {quote(column)} as {quote(alias)} from {self._read([column])}"
            " where _op = 'delete'"
        )

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


def unpack(packed: Sequence[Path], deletes: int) -> Lines:
    """Unpack gzipped JSON Lines, in constant memory; the packed files are removed."""
    longest = 0
    paths = []
    for path in packed:
        target = path.with_suffix(".jsonl")
        longest = max(longest, _unpack(path, target))
        path.unlink()
        paths.append(target)
    return Lines(tuple(paths), longest, deletes)


def _unpack(packed: Path, target: Path) -> int:
    """An upper bound of the length of a line, exact where lines are longer than a chunk."""
    longest = length = 0
    with (
        igzip.IGzipFile(packed, "rb") as content,  # type: ignore[no-untyped-call]
        target.open("wb") as lines,
    ):
        while chunk := content.read(CHUNK_BYTES):
            lines.write(chunk)
            end = chunk.find(b"\n")
            if end < 0:
                length += len(chunk)
            else:
                longest = max(longest, length + end)
                length = len(chunk) - chunk.rfind(b"\n") - 1
    return max(longest, length, CHUNK_BYTES) + 1
