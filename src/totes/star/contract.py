"""The star's contract: its tables, columns, types and keys, once; and what proves a value.

Models hand over text. A type takes a text only in canonical form and proves it by rendering the
typed value back: what does not come out as it went in was rounded, cut or guessed, and its row is
refused. The checks are DuckDB SQL, so they run over sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

FIRST_YEAR, LAST_YEAR = 1900, 2200
"""Dates outside are typing errors, not business."""


LONGEST_TEXT_BYTES = 1 << 20
"""Longer texts are refused. It is the same on every machine: a replay must refuse the same rows."""


@dataclass(frozen=True)
class Type:
    """A type of the star, and the SQL that takes a text for one.

    `read` makes the value of `{text}`, NULL where it can't; `canonical` says whether `{text}` is a
    canonical form of `{value}`, and is not true where one of them is NULL. `form` says it in words.
    `name` is the type in Parquet, `postgres` the one in the warehouse.
    """

    name: str
    read: str
    canonical: str
    form: str
    postgres: str


def _rendered(name: str, form: str, *, within: str = "", postgres: str = "") -> Type:
    """A type with one canonical form: the text that its value is rendered as."""
    canonical = f"cast({{value}} as varchar) = {{text}}{within}"
    return Type(name, f"try_cast({{text}} as {name})", canonical, form, postgres or name.lower())


def _decimal(precision: int, scale: int, postgres: str) -> Type:
    """So many fraction digits; further ones may be zeros, and zeros may be left out."""
    canonical = (
        "rpad(cast({value} as varchar), cast(length({text}) as integer), '0') = {text}"
        " and {text} not like '%.'"
    )
    name = f"DECIMAL({precision},{scale})"
    form = f"a number with at most {precision - scale} digits before the point and "
    form += f"{_WORDS[scale]} after it"
    return Type(name, f"try_cast({{text}} as {name})", canonical, form, postgres)


_WORDS = {2: "two", 6: "six"}

INTEGER = _rendered("INTEGER", "a whole number of 32 bits")
BIGINT = _rendered("BIGINT", "a whole number of 64 bits")
BOOLEAN = _rendered("BOOLEAN", "true or false")
DATE = _rendered(
    "DATE",
    f"a date yyyy-mm-dd from {FIRST_YEAR} to {LAST_YEAR}",
    within=f" and {{value}} between date '{FIRST_YEAR}-01-01' and date '{LAST_YEAR}-12-31'",
)
TIME = _rendered(
    "TIME",
    "a time hh:mm:ss with at most six fraction digits",
    within=" and {value} < time '24:00:00'",
    postgres="time without time zone",
)
MARK = "chr(0)"
"""SQL: a character that no text of PostgreSQL has.

A value that could not be read becomes a text: mark, bytes in hex, mark, reason.
"""

VARCHAR = Type(
    "VARCHAR",
    "{text}",
    f"(strlen({{text}}) <= {LONGEST_TEXT_BYTES} and not contains({{text}}, {MARK}))",
    f"a text of at most {LONGEST_TEXT_BYTES} bytes",
    "character varying",
)
MONEY = _decimal(10, 2, "numeric(10,2)")
AMOUNT = _decimal(18, 2, "numeric")
_ANY_RATE = _decimal(18, 6, "numeric")
RATE = replace(
    _ANY_RATE,
    canonical=f"({_ANY_RATE.canonical} and {{value}} > 0)",
    form=f"{_ANY_RATE.form}, above zero",
)
"""What amounts are divided by."""

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
"""Types by the names that a declaration gives them."""


@dataclass(frozen=True)
class Column:
    """A column of a star table; `references` is the dimension whose key it holds."""

    name: str
    type: Type
    nullable: bool = False
    references: str | None = None
    missing: str = "is missing"
    """Why a NULL is refused."""
    comment: str = ""

    @property
    def quoted(self) -> str:
        """The name as an SQL identifier."""
        return quote(self.name)

    @property
    def value(self) -> str:
        """SQL: the name of the typed value beside the text, see `read`."""
        return quote(f"{self.name}:value")

    @property
    def read(self) -> str:
        """SQL: the typed value of the model's text, NULL where there is none."""
        return f"{self.type.read.format(text=self.quoted)} as {self.value}"

    @property
    def accepted(self) -> str:
        """SQL: true where the contract takes the text, else false or NULL."""
        canonical = self.type.canonical.format(text=self.quoted, value=self.value)
        return f"({self.quoted} is null or {canonical})" if self.nullable else f"({canonical})"

    @property
    def proven(self) -> str:
        """SQL: the typed value, or an error that ends the query where it is refused."""
        refusal = f"error({literal(REFUSED)})"
        return f"case when {self.accepted} then {self.value} else {refusal} end as {self.quoted}"

    @property
    def reason(self) -> str:
        """SQL: why a text that is not accepted is refused."""
        broken = literal(f"is not {self.type.form}")
        unreadable = f"'can''t be read in totesys: ' || split_part({self.quoted}, {MARK}, 3)"
        return (
            f"case when {self.quoted} is null then {literal(self.missing)}"
            f" when {self._unreadable} then {unreadable}"
            f" when strlen({self.quoted}) > {LONGEST_TEXT_BYTES}"
            f" then 'is longer than {LONGEST_TEXT_BYTES} bytes' else {broken} end"
        )

    @property
    def shown(self) -> str:
        """SQL: the text; of a value that could not be read, its bytes, or NULL where not known."""
        in_hex = f"'\\x' || nullif(split_part({self.quoted}, {MARK}, 2), '')"
        return f"case when {self._unreadable} then {in_hex} else {self.quoted} end"

    @property
    def _unreadable(self) -> str:
        return f"contains({self.quoted}, {MARK})"


REFUSED = "refused by the contract"
"""The message of the error that a proven value raises."""


class Named(NamedTuple):
    """A surrogate, view or function that belongs to a fact."""

    name: str
    comment: str


@dataclass(frozen=True)
class StarTable:
    """A star table as it is declared. One with a surrogate is a fact, the others are dimensions."""

    name: str
    columns: tuple[Column, ...]
    key_names: tuple[str, ...]
    comment: str = ""
    surrogate: Named | None = None
    current_view: Named | None = None
    all_view: Named | None = None
    """A view of all versions without their times, under another name."""
    as_of_function: Named | None = None
    indexes: tuple[tuple[str, str], ...] = ()
    """Further indexes: the name of each, and what follows `ON table` in CREATE INDEX."""
    in_source: bool = True
    """Whether its rows come from the source database and can be compared with it."""

    @property
    def key(self) -> tuple[Column, ...]:
        """The natural key."""
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in self.key_names)

    @property
    def no_rows(self) -> str:
        """SQL: the empty table."""
        names = (f"cast(null as {c.type.name}) as {c.quoted}" for c in self.columns)
        return f"select {', '.join(names)} where false"

    @property
    def is_fact(self) -> bool:
        """Whether the table keeps every version of a row, which a surrogate key numbers."""
        return self.surrogate is not None


def quote(name: str) -> str:
    """An SQL identifier, for DuckDB and PostgreSQL alike."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string, for DuckDB and PostgreSQL alike."""
    return "'" + text.replace("'", "''") + "'"
