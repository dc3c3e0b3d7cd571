"""The star's contract: its tables, columns, types and keys, once; and what proves a value.

Models hand over text. A type takes a text only in canonical form and proves it by rendering the
typed value back: what does not come out as it went in was rounded, cut or guessed, and its row is
refused. The checks are DuckDB SQL, so they run over sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

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


@dataclass(frozen=True)
class Column:
    """A column of a star table; `references` is the dimension whose key it holds."""

    name: str
    type: Type
    nullable: bool = False
    references: str | None = None
    absent: str = "is missing"
    """Why a NULL is refused, in the words of a person."""

    @property
    def quoted(self) -> str:
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
            f"case when {self.quoted} is null then {literal(self.absent)}"
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


@dataclass(frozen=True)
class Star:
    """A star table as the ERD has it, less a fact's SERIAL surrogate (`surrogate`)."""

    name: str
    columns: tuple[Column, ...]
    surrogate: str | None = None
    of_totesys: bool = True
    """Whether its rows are totesys's, and can be compared with it."""

    @property
    def key(self) -> Column:
        """The natural key."""
        return self.columns[0]

    @property
    def no_rows(self) -> str:
        """SQL: the empty table."""
        names = (f"cast(null as {c.type.name}) as {c.quoted}" for c in self.columns)
        return f"select {', '.join(names)} where false"

    @property
    def is_fact(self) -> bool:
        return self.surrogate is not None


def quote(name: str) -> str:
    """An SQL identifier, for DuckDB and PostgreSQL alike."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string, for DuckDB and PostgreSQL alike."""
    return "'" + text.replace("'", "''") + "'"


def _integer(name: str, *, nullable: bool = False) -> Column:
    return Column(name, INTEGER, nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> Column:
    return Column(name, VARCHAR, nullable=nullable)


def _key_of(dimension: str, name: str) -> Column:
    return Column(name, INTEGER, references=dimension)


def _day(name: str) -> Column:
    return Column(name, DATE, references="dim_date")


_WRITTEN = (
    _day("created_date"),
    Column("created_time", TIME),
    _day("last_updated_date"),
    Column("last_updated_time", TIME),
)

_STARS = (
    Star(
        "dim_date",
        (
            Column("date_id", DATE),
            _integer("year"),
            _integer("month"),
            _integer("day"),
            _integer("day_of_week"),
            _text("day_name"),
            _text("month_name"),
            _integer("quarter"),
        ),
    ),
    Star(
        "dim_staff",
        (
            _integer("staff_id"),
            _text("first_name"),
            _text("last_name"),
            _text("department_name"),
            _text("location", nullable=True),
            _text("email_address"),
        ),
    ),
    Star(
        "dim_location",
        (
            _integer("location_id"),
            _text("address_line_1"),
            _text("address_line_2", nullable=True),
            _text("district", nullable=True),
            _text("city"),
            _text("postal_code"),
            _text("country"),
            _text("phone"),
        ),
    ),
    Star(
        "dim_currency",
        (
            _integer("currency_id"),
            _text("currency_code"),
            Column("currency_name", VARCHAR, absent="is missing: ISO 4217 has no such code"),
        ),
    ),
    Star(
        "dim_design",
        (
            _integer("design_id"),
            _text("design_name"),
            _text("file_location"),
            _text("file_name"),
        ),
    ),
    Star(
        "dim_counterparty",
        (
            _integer("counterparty_id"),
            _text("counterparty_legal_name"),
            _text("counterparty_legal_address_line_1"),
            _text("counterparty_legal_address_line_2", nullable=True),
            _text("counterparty_legal_district", nullable=True),
            _text("counterparty_legal_city"),
            _text("counterparty_legal_postal_code"),
            _text("counterparty_legal_country"),
            _text("counterparty_legal_phone_number"),
        ),
    ),
    Star("dim_payment_type", (_integer("payment_type_id"), _text("payment_type_name"))),
    Star(
        "dim_transaction",
        (
            _integer("transaction_id"),
            _text("transaction_type"),
            _integer("sales_order_id", nullable=True),
            _integer("purchase_order_id", nullable=True),
        ),
    ),
    Star(
        "fact_sales_order",
        (
            _integer("sales_order_id"),
            *_WRITTEN,
            _key_of("dim_staff", "sales_staff_id"),
            _key_of("dim_counterparty", "counterparty_id"),
            _integer("units_sold"),
            Column("unit_price", MONEY),
            _key_of("dim_currency", "currency_id"),
            _key_of("dim_design", "design_id"),
            _day("agreed_payment_date"),
            _day("agreed_delivery_date"),
            _key_of("dim_location", "agreed_delivery_location_id"),
        ),
        surrogate="sales_record_id",
    ),
    Star(
        "fact_purchase_order",
        (
            _integer("purchase_order_id"),
            *_WRITTEN,
            _key_of("dim_staff", "staff_id"),
            _key_of("dim_counterparty", "counterparty_id"),
            _text("item_code"),
            _integer("item_quantity"),
            Column("item_unit_price", AMOUNT),
            _key_of("dim_currency", "currency_id"),
            _day("agreed_delivery_date"),
            _day("agreed_payment_date"),
            _key_of("dim_location", "agreed_delivery_location_id"),
        ),
        surrogate="purchase_record_id",
    ),
    Star(
        "fact_payment",
        (
            _integer("payment_id"),
            *_WRITTEN,
            _key_of("dim_transaction", "transaction_id"),
            _key_of("dim_counterparty", "counterparty_id"),
            Column("payment_amount", AMOUNT),
            _key_of("dim_currency", "currency_id"),
            _key_of("dim_payment_type", "payment_type_id"),
            Column("paid", BOOLEAN),
            _day("payment_date"),
        ),
        surrogate="payment_record_id",
    ),
    Star(
        "fact_exchange_rate",
        (
            _text("rate_id"),
            _day("rate_date"),
            _text("currency_code"),
            Column("rate", RATE),
            _text("source"),
            Column("carried_forward", BOOLEAN),
        ),
        surrogate="exchange_rate_record_id",
        of_totesys=False,
    ),
)

STARS: Mapping[str, Star] = MappingProxyType({star.name: star for star in _STARS})
"""Every star table by name: dimensions before the facts that point at them."""
