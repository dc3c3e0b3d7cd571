"""The order of the lines of a table that was read from the log, and which of them are used.

Such a table may have many lines for one key. Lines of one key are ordered by `_at` and `_seq`. Of
lines with the same `_at`, which one transaction wrote, only the last is used: it is a version or a
deletion. The last of all lines of a key is the state after the batch.

The order is computed from the keys alone and stored as Parquet. The lines that are used are then
found by their number, in a mask with one bit for each line: neither keys nor wide values are in
memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from totes.lake.line import AT, IS_UPSERT, SEQUENCE
from totes.sql_text import quote
from totes.star.contract import parquet, timestamp

_LAST_OF_MOMENT = f"next_at is distinct from {AT}"
_LAST_OF_KEY = "next_at is null"

LINE = "_line"
"""The number of a line, from 0, as `number_lines` adds it. DuckDB reads files in a fixed order."""


def number_lines(relation: str) -> str:
    """Return a relation with the columns of `relation` and LINE."""
    return f"(select *, cast(row_number() over () - 1 as integer) as {LINE} from {relation})"


def line_order_sql(relation: str, key: Sequence[str]) -> str:
    """Return SQL for the order of the lines of `relation`, the content of a LineOrder's file.

    Columns: `k0`, `k1` … are the key, `is_upsert`, `_at`, `_seq` and `_line` are of the line, and
    `next_at` and `next_seq` of the next line of the key, NULL for the last one.
    """
    names = ", ".join(map(quote, key))
    columns = ", ".join(f"{quote(name)} as k{place}" for place, name in enumerate(key))
    return (
        f"select {columns}, {IS_UPSERT} as is_upsert, {AT}, {SEQUENCE}, {LINE},"
        f" lead({AT}) over line as next_at, lead({SEQUENCE}) over line as next_seq"
        f" from {number_lines(relation)}"
        f" window line as (partition by {names} order by {AT}, {SEQUENCE})"
    )


@dataclass(frozen=True)
class LineOrder:
    """The order of a table's lines: the Parquet file `path` with the rows of `line_order_sql`.

    `lines` is their number. The conditions are SQL for relations with LINE.
    """

    path: Path
    key: tuple[str, ...]
    lines: int

    def count_invalid(self, after: datetime | None, captured_at: datetime) -> str:
        """Return SQL for the number of lines with an invalid `_at`, or without a unique place.

        The moments of the batch are after `after`, if that is known, and up to `captured_at`.
        """
        earliest = f"{AT} > {timestamp(after)}" if after else "true"
        is_valid = (
            f"{AT} <= {timestamp(captured_at)} and {earliest} and {SEQUENCE} is not null"
            f" and (next_at is distinct from {AT} or next_seq > {SEQUENCE})"
        )
        return f"select count(*) from {self._lines} where ({is_valid}) is not true"

    @property
    def count_removed(self) -> str:
        """SQL: the number of keys that `is_removed` finds."""
        return f"select count(*) from ({self._removed})"

    @property
    def is_newest(self) -> str:
        """SQL: whether the line is the last of its key."""
        return self._is_among(f"from {self._lines} where {_LAST_OF_KEY}")

    @property
    def is_version(self) -> str:
        """SQL: whether the line is the last of its key and its moment."""
        return self._is_among(f"from {self._lines} where {_LAST_OF_MOMENT}")

    @property
    def is_removed(self) -> str:
        """SQL: whether the line is the last version of a key that is deleted after the batch."""
        return self._is_among(f"from ({self._removed})")

    def deleted(self, names: Mapping[str, str], moment: str | None) -> str:
        """Return SQL for the keys that are deleted after the batch, with `moment` as `_at`.

        Without `moment`, it returns every deletion, with its own moment. `names` maps the columns
        of the key to the names to return.
        """
        columns = [
            f"k{place} as {quote(names[name])}"
            for place, name in enumerate(self.key)
            if name in names
        ]
        columns.append(f"{moment or AT} as {AT}")
        condition = _LAST_OF_KEY if moment else _LAST_OF_MOMENT
        return f"select {', '.join(columns)} from {self._lines} where not is_upsert and {condition}"

    @property
    def _lines(self) -> str:
        return parquet(self.path)

    @property
    def _keys(self) -> str:
        return ", ".join(f"k{place}" for place in range(len(self.key)))

    @property
    def _removed(self) -> str:
        """SQL: the last version's line of each key that the batch writes and then deletes."""
        return (
            f"select arg_max({LINE}, {AT}) filter (is_upsert) as {LINE}"
            f" from {self._lines} where {_LAST_OF_MOMENT} group by {self._keys}"
            f" having not arg_max(is_upsert, {AT}) and count(*) filter (is_upsert) > 0"
        )

    def _is_among(self, lines: str) -> str:
        """Return SQL that is true for the given lines: `lines` follows a SELECT of LINE."""
        mask = f"select bitstring_agg({LINE}, 0, {max(self.lines - 1, 0)}) {lines}"
        return f"coalesce(get_bit(({mask}), {LINE}), 0) = 1"
