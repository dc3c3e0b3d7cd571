"""SQL that checks a model's rows against the contract and separates accepted and rejected rows.

A model's text rows and the deleted keys of its table are checked together. `accept_or_fail` reads
them in one pass and fails at the first rejected value, which is rare. Only then `accepted_rows` and
`rejected_rows` read them in one pass each.

Rows and deleted keys have a column `_at`: the moment from which the row is valid, or of the
deletion.
"""

from collections.abc import Iterable
from pathlib import Path

from totes.lake.line import AS_DELETE, AS_UPSERT, AT, IS_DELETE, OPERATION
from totes.sql_text import literal
from totes.star.contract import Column, StarTable, parquet

_VALID_FROM = f"{AT} as valid_from"


def accept_or_fail(star: StarTable, model: str, deletes: str | None) -> str:
    """Return SQL for the star's rows; it fails with `contract.REJECTED` at a rejected value."""
    values = ", ".join(column.value_or_error for column in star.columns)
    rows = f"select {values}, {_VALID_FROM}, {AS_UPSERT}"
    rows += f" from ({_with_values(star.columns, model)})"
    if deletes is None:
        return rows
    keys = ", ".join(column.value_or_error for column in star.key)
    deleted = f"select {keys}, {_VALID_FROM}, {AS_DELETE}"
    return f"{rows} union all by name {deleted} from ({_with_values(star.key, deletes)})"


def accepted_rows(star: StarTable, checked: str) -> str:
    """Return SQL for those of the `checked_rows` that meet the contract, with typed values."""
    values = ", ".join(f"{column.value} as {column.quoted}" for column in star.columns)
    selected = f"{values}, {_VALID_FROM}, {OPERATION}"
    return f"select {selected} from ({checked}) where _rejected_column is null"


def rejected_rows(star: StarTable, checked: str) -> str:
    """Return SQL for one record per rejected row, with the first column that is rejected."""
    values = " ".join(f"when {literal(c.name)} then {_excerpt(c)}" for c in star.columns)
    reasons = " ".join(f"when {literal(c.name)} then {c.rejection_reason}" for c in star.columns)
    row = ", ".join(f"{literal(c.name)}, {_excerpt(c)}" for c in star.columns)
    return (
        f"select {literal(star.name)} as star_table, {_key(star)} as key,"
        f" _rejected_column as column_name, case _rejected_column {values} end as value,"
        f" case _rejected_column {reasons} end as reason,"
        f" cast(json_object({row}, '{OPERATION}', {OPERATION}) as varchar) as row, {_VALID_FROM}"
        f" from ({checked}) where _rejected_column is not null"
    )


def filter_rejected(star: StarTable, rows: str, files: Iterable[Path]) -> str:
    """Return SQL for those of `rows` whose key and moment are in these quarantine files."""
    versions = " union all ".join(f"select key, valid_from from {parquet(file)}" for file in files)
    return f"select * from (\n{rows}\n) where ({_key(star)}, {AT}) in ({versions})"


def _key(star: StarTable) -> str:
    """Return SQL for the natural key as one text; a composite key is a JSON array."""
    parts = ", ".join(map(_excerpt, star.key))
    return (
        f"coalesce({parts}, '(null)')"
        if len(star.key) == 1
        else f"cast(to_json([{parts}]) as varchar)"
    )


_MAX_VALUE_BYTES = 2400
"""An entry of a PostgreSQL index has at most 2704 bytes."""


def _excerpt(column: Column) -> str:
    """Return SQL for a value as quarantine stores it; a long text is shortened in the middle."""
    text = f"({column.display_text})"
    return (
        f"case when strlen({text}) > {_MAX_VALUE_BYTES}"
        f" then left({text}, 450) || ' […] ' || right({text}, 100) else {text} end"
    )


def exclude_earlier_rows(star: StarTable, rows: str, files: Iterable[Path]) -> str:
    """Return SQL for the model's rows, each once, that are in none of the table's earlier files."""
    columns = ", ".join(column.quoted for column in star.columns)
    texts = ", ".join(f"cast({column.quoted} as varchar)" for column in star.columns)
    earlier = " union all ".join(f"select {texts} from {parquet(file)}" for file in files)
    distinct = f"select distinct {columns} from (\n{rows}\n)"
    return f"{distinct} except ({earlier})" if earlier else distinct


def _with_values(columns: Iterable[Column], rows: str, also: str = "") -> str:
    """Return SQL for the text of each column and its typed value, and for the moment."""
    selected = ", ".join(f"{column.quoted}, {column.cast}" for column in columns)
    return f"select {selected}, {AT}{also} from (\n{rows}\n)"


def checked_rows(star: StarTable, model: str, deletes: str | None) -> str:
    """Return SQL for texts and values, with `_op` and the first rejected column."""
    rows = _with_values(star.columns, model, also=f", {AS_UPSERT}")
    if deletes is not None:
        deleted = _with_values(star.key, deletes, also=f", {AS_DELETE}")
        rows += f" union all by name {deleted}"
    others = (column for column in star.columns if column not in star.key)
    rejected_column = " ".join(
        [
            *map(_rejection, star.key),
            f"when {IS_DELETE} then null",
            *map(_rejection, others),
        ]
    )
    return f"select *, case {rejected_column} end as _rejected_column from ({rows})"


def _rejection(column: Column) -> str:
    return f"when {column.is_accepted} is not true then {literal(column.name)}"
