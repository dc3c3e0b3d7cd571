"""Which of a model's rows the contract takes: SQL that writes them, and what it sets aside.

A model's text rows and the deleted keys of its driving table are checked together. `proven` writes
them in one pass and fails at the first refused value, which is rare; then `accepted` and `refused`
share the rows out in two passes.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from totes.star.contract import Column, StarTable, literal
from totes.star.relation import parquet


def proven(star: StarTable, model: str, deletes: str | None, valid_from: datetime) -> str:
    """SQL: the star's rows, or the error `contract.REFUSED`."""
    values = ", ".join(column.proven for column in star.columns)
    since = _since(valid_from)
    rows = f"select {values}, {since}, 'upsert' as _op from ({_read(star.columns, model)})"
    if deletes is None:
        return rows
    keys = ", ".join(column.proven for column in star.key)
    deleted = (
        f"select {keys}, {_since(valid_from)}, 'delete' as _op from ({_read(star.key, deletes)})"
    )
    return f"{rows} union all by name {deleted}"


def accepted(star: StarTable, model: str, deletes: str | None, valid_from: datetime) -> str:
    """SQL: the star's rows, less those that break the contract."""
    values = ", ".join(f"{column.value} as {column.quoted}" for column in star.columns)
    checked = _checked(star, model, deletes)
    return f"select {values}, {_since(valid_from)}, _op from ({checked}) where _broken is null"


def refused(star: StarTable, model: str, deletes: str | None, valid_from: datetime) -> str:
    """SQL: a record for each row that breaks the contract, with the first column that does."""
    values = " ".join(f"when {literal(c.name)} then {_excerpt(c)}" for c in star.columns)
    reasons = " ".join(f"when {literal(c.name)} then {c.reason}" for c in star.columns)
    row = ", ".join(f"{literal(c.name)}, {_excerpt(c)}" for c in star.columns)
    return (
        f"select {literal(star.name)} as star_table, {_key(star)} as key,"
        f" _broken as column_name, case _broken {values} end as value,"
        f" case _broken {reasons} end as reason,"
        f" cast(json_object({row}, '_op', _op) as varchar) as row, {_since(valid_from)}"
        f" from ({_checked(star, model, deletes)}) where _broken is not null"
    )


def among(star: StarTable, rows: str, file: Path) -> str:
    """SQL: those of a model's rows whose key a quarantine file holds."""
    keys = f"select key from {parquet(file)}"
    return f"select * from (\n{rows}\n) where {_key(star)} in ({keys})"


def _key(star: StarTable) -> str:
    """SQL: the natural key as one text, a JSON array of several columns."""
    parts = ", ".join(map(_excerpt, star.key))
    return (
        f"coalesce({parts}, '(null)')"
        if len(star.key) == 1
        else f"cast(to_json([{parts}]) as varchar)"
    )


_LONGEST_VALUE_BYTES = 2400
"""An index of PostgreSQL takes no more than 2704."""


def _excerpt(column: Column) -> str:
    """SQL: a value as the quarantine shows it: of a long text, the beginning and the end."""
    text = f"({column.shown})"
    return (
        f"case when strlen({text}) > {_LONGEST_VALUE_BYTES}"
        f" then left({text}, 450) || ' […] ' || right({text}, 100) else {text} end"
    )


def without_known(star: StarTable, rows: str, files: Iterable[Path]) -> str:
    """SQL: those of a model's rows that are in none of the star table's earlier Parquet files."""
    columns = ", ".join(column.quoted for column in star.columns)
    texts = ", ".join(f"cast({column.quoted} as varchar)" for column in star.columns)
    known = " union all ".join(f"select {texts} from {parquet(file)}" for file in files)
    return f"select {columns} from (\n{rows}\n) except ({known})"


def _read(columns: Iterable[Column], rows: str, also: str = "") -> str:
    """SQL: texts and, beside each, its typed value."""
    selected = ", ".join(f"{column.quoted}, {column.read}" for column in columns)
    return f"select {selected}{also} from (\n{rows}\n)"


def _checked(star: StarTable, model: str, deletes: str | None) -> str:
    """SQL: texts and values with `_op`, and in `_broken` the first column that is refused."""
    rows = _read(star.columns, model, also=", 'upsert' as _op")
    if deletes is not None:
        rows += f" union all by name {_read(star.key, deletes, also=", 'delete' as _op")}"
    others = (column for column in star.columns if column not in star.key)
    broken = " ".join(
        [
            *map(_refusal, star.key),
            "when _op = 'delete' then null",
            *map(_refusal, others),
        ]
    )
    return f"select *, case {broken} end as _broken from ({rows})"


def _refusal(column: Column) -> str:
    return f"when {column.accepted} is not true then {literal(column.name)}"


def _since(valid_from: datetime) -> str:
    return f"timestamptz {literal(valid_from.astimezone(UTC).isoformat())} as valid_from"
