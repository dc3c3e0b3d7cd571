"""The contract of the star: tables, columns, types and keys, and the SQL that checks values.

Models return text. A type accepts a text only in its canonical form: the text is cast, the value is
cast back to text, and a result that differs from the original was rounded, truncated or guessed, so
its row is rejected. The checks are DuckDB SQL and run on whole sets of rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from totes.sql_text import literal, quote

FIRST_YEAR, LAST_YEAR = 1900, 2200
"""Dates outside these years are rejected as typing errors."""

MAX_TEXT_BYTES = 1 << 20
"""Longer texts are rejected. A constant, not a setting: a replay must reject the same rows."""


@dataclass(frozen=True)
class Type:
    """A column type, with the DuckDB SQL that casts text to it and checks the result.

    `name` is the type in Parquet, `postgres` the type in the warehouse, and `loaded` the type of
    the warehouse's values in DuckDB. `cast` is an expression for the value of `{text}`, NULL if the
    text has none. `canonical` is true if `{text}` is a canonical form of `{value}`, and false or
    NULL otherwise. `description` completes the message "is not …".
    """

    name: str
    cast: str
    canonical: str
    description: str
    postgres: str
    loaded: str


def _text_form_type(name: str, description: str, *, condition: str = "") -> Type:
    """Return a type whose only canonical form is DuckDB's text of the value."""
    canonical = f"cast({{value}} as varchar) = {{text}}{condition}"
    cast = f"try_cast({{text}} as {name})"
    return Type(name, cast, canonical, description, name.lower(), name)


def _decimal_type(precision: int, scale: int, postgres: str) -> Type:
    """Return a decimal type; trailing zeros of the fraction may be added or omitted."""
    canonical = (
        "rpad(cast({value} as varchar), cast(length({text}) as integer), '0') = {text}"
        " and {text} not like '%.'"
    )
    name = f"DECIMAL({precision},{scale})"
    description = (
        f"a number with at most {precision - scale} digits before the decimal point and "
        f"{scale} after it"
    )
    return Type(name, f"try_cast({{text}} as {name})", canonical, description, postgres, name)


INTEGER = _text_form_type("INTEGER", "a 32-bit integer")
BIGINT = _text_form_type("BIGINT", "a 64-bit integer")
BOOLEAN = _text_form_type("BOOLEAN", "true or false")
DATE = _text_form_type(
    "DATE",
    f"a date yyyy-mm-dd from {FIRST_YEAR} to {LAST_YEAR}",
    condition=f" and {{value}} between date '{FIRST_YEAR}-01-01' and date '{LAST_YEAR}-12-31'",
)
TIME = Type(
    "VARCHAR",
    "{text}",
    "regexp_full_match({text}, '([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{{0,5}}[1-9])?')",
    "a time hh:mm:ss with at most six fraction digits",
    "time without time zone",
    "TIME",
)
"""In Parquet it is canonical text: Spark, Iceberg in Spark, and Athena have no time of the day."""

UNREADABLE_MARK = "chr(0)"
"""SQL: the character NUL, which text in PostgreSQL can't contain.

A value that can't be read in the source is represented as mark, bytes in hex, mark, reason.
"""

VARCHAR = Type(
    "VARCHAR",
    "{text}",
    f"(strlen({{text}}) <= {MAX_TEXT_BYTES} and not contains({{text}}, {UNREADABLE_MARK}))",
    f"a text of at most {MAX_TEXT_BYTES} bytes",
    "character varying",
    "VARCHAR",
)
MONEY = _decimal_type(10, 2, "numeric(10,2)")
AMOUNT = _decimal_type(18, 2, "numeric")
_ANY_RATE = _decimal_type(18, 6, "numeric")
RATE = replace(
    _ANY_RATE,
    canonical=f"({_ANY_RATE.canonical} and {{value}} > 0)",
    description=f"{_ANY_RATE.description}, above zero",
)
"""An exchange rate: amounts are divided by it, so it is positive."""

TYPES: Mapping[str, Type] = MappingProxyType(
    {
        "integer": INTEGER,
        "bigint": BIGINT,
        "boolean": BOOLEAN,
        "date": DATE,
        "time": TIME,
        "text": VARCHAR,
        "numeric(10,2)": MONEY,
        "amount": AMOUNT,
        "rate": RATE,
    }
)
"""Types by their names in a declaration."""


VALUE_SUFFIX = ":value"
"""The end of the names of typed values, which no other column has."""


@dataclass(frozen=True)
class Column:
    """A column of a star table; `references` is the dimension that it refers to."""

    name: str
    type: Type
    nullable: bool = False
    references: str | None = None
    missing: str = "is missing"
    """The reason in quarantine if a value is NULL and `nullable` is false."""
    comment: str = ""

    @property
    def quoted(self) -> str:
        """SQL: the name as a quoted identifier."""
        return quote(self.name)

    @property
    def value(self) -> str:
        """SQL: the name that `cast` gives the typed value."""
        return quote(self.name + VALUE_SUFFIX)

    @property
    def cast(self) -> str:
        """SQL: the typed value of the model's text, NULL if the text has none."""
        return f"{self.type.cast.format(text=self.quoted)} as {self.value}"

    @property
    def is_accepted(self) -> str:
        """SQL: true if the contract accepts the text, otherwise false or NULL."""
        canonical = self.type.canonical.format(text=self.quoted, value=self.value)
        return f"({self.quoted} is null or {canonical})" if self.nullable else f"({canonical})"

    @property
    def value_or_error(self) -> str:
        """SQL: the typed value; if it is rejected, an error that ends the query."""
        error = f"error({literal(REJECTED)})"
        return f"case when {self.is_accepted} then {self.value} else {error} end as {self.quoted}"

    @property
    def rejection_reason(self) -> str:
        """SQL: the reason why a text that is not accepted is rejected."""
        malformed = literal(f"is not {self.type.description}")
        error = f"split_part({self.quoted}, {UNREADABLE_MARK}, 3)"
        unreadable = f"'can''t be read in the source: ' || {error}"
        return (
            f"case when {self.quoted} is null then {literal(self.missing)}"
            f" when {self._unreadable} then {unreadable}"
            f" when strlen({self.quoted}) > {MAX_TEXT_BYTES}"
            f" then 'is longer than {MAX_TEXT_BYTES} bytes' else {malformed} end"
        )

    @property
    def display_text(self) -> str:
        """SQL: the text; for a value that can't be read in the source, its bytes in hex or NULL."""
        in_hex = f"'\\x' || nullif(split_part({self.quoted}, {UNREADABLE_MARK}, 2), '')"
        return f"case when {self._unreadable} then {in_hex} else {self.quoted} end"

    @property
    def _unreadable(self) -> str:
        return f"contains({self.quoted}, {UNREADABLE_MARK})"


REJECTED = "rejected by the contract"
"""The message of the error that `Column.value_or_error` raises."""


class NamedObject(NamedTuple):
    """A surrogate column, view or function of a fact, with its comment."""

    name: str
    comment: str


@dataclass(frozen=True)
class StarTable:
    """A declared star table: a fact if it has a surrogate key, otherwise a dimension."""

    name: str
    columns: tuple[Column, ...]
    key_names: tuple[str, ...]
    comment: str = ""
    surrogate: NamedObject | None = None
    current_view: NamedObject | None = None
    all_view: NamedObject | None = None
    """A view of all versions under a second name, without `valid_from` and `valid_to`."""
    as_of_function: NamedObject | None = None
    indexes: tuple[tuple[str, str], ...] = ()
    """Additional indexes: name, and the part of CREATE INDEX after `ON table`."""
    in_source: bool = True
    """Whether its rows come from the source database, so that verify can compare them."""

    @property
    def key(self) -> tuple[Column, ...]:
        """The columns of the natural key."""
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in self.key_names)

    @property
    def empty_query(self) -> str:
        """SQL: a query with the columns of the table and no rows."""
        nulls = (f"cast(null as {c.type.name}) as {c.quoted}" for c in self.columns)
        return f"select {', '.join(nulls)} where false"

    @property
    def is_fact(self) -> bool:
        """Whether the table keeps every version of a row, each with a surrogate key."""
        return self.surrogate is not None


def timestamp(moment: datetime) -> str:
    """Return an SQL literal for a point in time."""
    return f"timestamptz {literal(moment.astimezone(UTC).isoformat())}"


def parquet(path: Path) -> str:
    """Return SQL for the columns of a local file, without columns from names of its folders."""
    return f"read_parquet({literal(path)}, hive_partitioning = false)"
