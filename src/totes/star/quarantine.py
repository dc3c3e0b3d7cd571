"""Which of a model's rows the contract takes: SQL that writes them, and what it sets aside.

A model's text rows and the deleted keys of its driving table are checked together. `proven` writes
them in one pass and fails at the first refused value, which is rare; then `accepted` and `refused`
share the rows out in two passes.
"""

from datetime import UTC, datetime
from pathlib import Path

from totes.star.contract import Column, Star, literal, quote


def proven(star: Star, model: str, deletes: str | None, valid_from: datetime) -> str:
    """SQL: the star's rows, or the error `contract.REFUSED`."""
    values = ", ".join(f"{column.proven} as {column.quoted}" for column in star.columns)
    rows = f"select {values}, {_when(valid_from)}, 'upsert' as _op from (\n{model}\n)"
    if deletes is None:
        return rows
    key, *others = star.columns
    absent = "".join(f", null as {column.quoted}" for column in others)
    gone = f"select {key.proven} as {key.quoted}{absent}, {_when(valid_from)}, 'delete' as _op"
    return f"{rows} union all by name {gone} from ({deletes})"


def accepted(star: Star, model: str, deletes: str | None, valid_from: datetime) -> str:
    """SQL: the star's rows, less those that break the contract."""
    values = ", ".join(f"{column.value} as {column.quoted}" for column in star.columns)
    return (
        f"select {values}, {_when(valid_from)}, _op"
        f" from ({_checked(star, model, deletes)}) where _broken is null"
    )


def refused(star: Star, model: str, deletes: str | None, valid_from: datetime) -> str:
    """SQL: a record for each row that breaks the contract, with the first column that does."""

    def of_broken(expression: str) -> str:
        return f"case _broken {expression} end"

    values = " ".join(f"when {literal(c.name)} then {c.quoted}" for c in star.columns)
    reasons = " ".join(f"when {literal(c.name)} then {c.reason}" for c in star.columns)
    row = ", ".join(f"{literal(c.name)}, {c.quoted}" for c in star.columns)
    return (
        f"select {literal(star.name)} as star_table, {star.key.quoted} as key,"
        f" _broken as column_name, {of_broken(values)} as value, {of_broken(reasons)} as reason,"
        f" cast(json_object({row}, '_op', _op) as varchar) as row, {_when(valid_from)}"
        f" from ({_checked(star, model, deletes)}) where _broken is not null"
    )


def among(star: Star, rows: str, file: Path) -> str:
    """SQL: those of a model's rows whose key is in a quarantine file."""
    keys = f"select key from read_parquet({literal(str(file))})"
    return f"select * from (\n{rows}\n) where {star.key.quoted} in ({keys})"


def _checked(star: Star, model: str, deletes: str | None) -> str:
    """SQL: the text rows with `_op`, and in `_broken` the first column that is refused."""
    names = ", ".join(column.quoted for column in star.columns)
    rows = f"select {names}, 'upsert' as _op from (\n{model}\n)"
    if deletes is not None:
        rows += f" union all by name select {star.key.quoted}, 'delete' as _op from ({deletes})"
    key, *others = star.columns
    broken = " ".join(
        (_refusal(key), "when _op = 'delete' then null", *(_refusal(column) for column in others))
    )
    return f"select *, case {broken} end as _broken from ({rows})"


def _refusal(column: Column) -> str:
    return f"when not {column.accepted} then {literal(column.name)}"


def _when(valid_from: datetime) -> str:
    return f"timestamptz {literal(valid_from.astimezone(UTC).isoformat())} as {quote('valid_from')}"
