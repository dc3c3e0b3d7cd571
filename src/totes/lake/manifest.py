"""Batches: the manifests that publish them and the names of things in the lake.

Frozen values, no I/O. A manifest is a public format (`docs/manifest.schema.json`): fields are
added, never given another meaning, and unknown ones are ignored when read.
"""

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, Self
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from totes import __version__
from totes.errors import LakeError

FORMAT = 1
"""Version of the manifests this program writes, and the newest it reads."""

ERASURES = "erasures"
"""Prefix of the notes of what an operator has erased."""

RESERVED = frozenset(
    {"batches", "generations", "heartbeats", "keys", "repeats", "unreadable", ERASURES}
)
"""Top-level prefixes of the ingestion store that are not tables."""

LONGEST_LINE_BYTES = 1 << 27
"""The longest line of an ingestion file. Of a longer row the longest values are unreadable."""

UNREADABLE = "unreadable"
"""Key of the reason in the JSON object that replaces a value that could not be read."""


RATES = "ecb_exchange_rate"
"""The table of exchange rates, which is not the source's: no source table may have its name."""

LONGEST_CARRY = timedelta(days=366)
"""How far beyond the last day published rates are carried: a clock that jumped fills no lake."""

Count = Annotated[int, Field(ge=0, lt=1 << 53)]
"""As many as every reader of JSON can count exactly."""

Batch = Annotated[int, Field(ge=1, lt=1 << 40)]

_YEARS = range(1970, 9999)
"""What a clock may say without any sum of moments running out of the calendar."""


def _possible(moment: datetime) -> datetime:
    if moment.year not in _YEARS:
        raise ValueError(f"can't be in the year {moment.year}")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_possible)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class File(_Value):
    """One immutable object of a store, and what must be found in it."""

    path: str
    rows: Count = Field(description="lines or records in the file")
    deletes: Count = Field(default=0, description="how many of the rows are deletions")
    unreadable: Count = Field(
        default=0,
        description="how many of the rows have a value that could not be read; an object replaces "
        'it: {"unreadable": reason, "hex": first bytes of the value where they are known}',
    )
    bytes: Count
    unpacked_bytes: Count | None = Field(
        default=None, description="size once unpacked, of a file that is gzipped"
    )
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _deletes_are_rows(self) -> Self:
        if self.deletes > self.rows:
            raise ValueError(f"{self.path} can't have more deletes than rows")
        if self.unreadable > self.rows:
            raise ValueError(f"{self.path} can't have more unreadable rows than rows")
        return self


class KeyFile(File):
    """Parquet of keys: a table's whole live set (`base`), or what one batch did to it.

    Columns: the key columns in order (BIGINT where the source has an integer, else VARCHAR),
    and in a `change` file `_live` BOOLEAN, false where the key was deleted.
    """

    kind: Literal["base", "change"]


class Column(_Value):
    """A source column: `type` is PostgreSQL's own spelling, `kind` how JSON holds it."""

    name: str
    type: str
    kind: Literal["integer", "boolean", "text"]
    nullable: bool


class Identity(_Value):
    """Which server and database a batch came from."""

    system_identifier: str
    database_oid: int
    timeline: int
    database: str


class Quote(_Value):
    """The last known rate of a currency, in units of it for one euro, in the publisher's digits."""

    currency: str = Field(pattern="^[A-Z]{3}$")
    day: date
    rate: str = Field(pattern=r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?$")
    source: str
    missed: Count = Field(default=0, description="days published since then without the currency")


class RatesRead(_Value):
    """How far the exchange rates are: what the next batch goes on from."""

    through: date = Field(description="the last day with rates")
    actual: date = Field(description="the last day published; those after it are carried forward")
    quotes: tuple[Quote, ...] = Field(description="of each currency that has not ended")

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        codes = {quote.currency for quote in self.quotes}
        if len(codes) < len(self.quotes) or self.actual.year not in _YEARS:
            raise ValueError("rates can't have a currency twice, or be of another age")
        if not timedelta() <= self.through - self.actual <= LONGEST_CARRY:
            raise ValueError(f"rates of {self.actual} can't be known through {self.through}")
        return self


class Table(_Value):
    """One source table in one batch: its shape, what the batch carries, what is live after it."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = Field(description="primary key columns, empty without one")
    fingerprint: str = Field(description="digest of everything that can alter rows unwritten")
    whole: bool = Field(description="the files hold every row of the table, not only changes")
    files: tuple[File, ...] = Field(description="gzipped JSON Lines; empty where nothing changed")
    rows: Count = Field(description="rows in the source table as of this batch")
    keys: tuple[KeyFile, ...] = Field(default=(), description="the live keys, base first")
    repeats: File | None = Field(
        default=None, description="Parquet of key and _xid: rows the next capture will see again"
    )
    unreadable: File | None = Field(
        default=None,
        description="Parquet of all values that can't be read in the source as of this batch: key "
        "columns as in `keys`, then `column` and `reason`",
    )
    content: str | None = Field(default=None, description="digest of a table without a key")
    rates: RatesRead | None = Field(
        default=None, description=f"of {RATES}, the one table that is not the source's"
    )

    @model_validator(mode="after")
    def _columns_are_distinct_and_hold_the_key(self) -> Self:
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names) or not set(self.key) <= set(names):
            raise ValueError(f"table {self.name} has a column twice or a key of other columns")
        return self

    def column(self, name: str) -> Column:
        """The column of this name; StopIteration if there is none."""
        return next(column for column in self.columns if column.name == name)


class Former(_Value):
    """A primary key that the source has no more, and what was live when it was last seen.

    Held until a table of that name has that key again: what was deleted meanwhile is told then.
    """

    table: Table = Field(description="as it was last, without files")
    since: Batch = Field(description="the first batch without it")
    reason: Literal["absent", "excluded", "key"] = Field(
        description="no such table, left out by a setting, or it has another primary key"
    )


class _Published(_Value):
    format: int = FORMAT
    batch: Batch
    previous: str | None = Field(description="SHA-256 of the previous manifest's bytes")
    captured_at: Moment = Field(description="the source's clock; valid_from of its rows")
    program: str = Field(
        default_factory=lambda: __version__, description="version of terrific-totes that wrote it"
    )

    def to_json(self) -> bytes:
        return self.model_dump_json(indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, path: str) -> Self:
        """The manifest in `data`; LakeError names `path` where it can't be understood."""
        try:
            version = _Version.model_validate_json(data).format
        except ValidationError as error:
            raise LakeError(f"{path} is not a manifest: {_first(error)}.") from error
        if version > FORMAT:
            raise LakeError(
                f"{path} has format {version}, this program reads up to {FORMAT}: "
                "upgrade terrific-totes."
            )
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise LakeError(f"{path} is damaged: {_first(error)}.") from error


class _Version(_Value):
    format: int


class Manifest(_Published):
    """Publishes a batch in the ingestion store, at `manifest_path(batch)`."""

    snapshot: str = Field(
        pattern=r"^\d{1,20}:\d{1,20}:[\d,]*$", description="pg_current_snapshot(): xmin:xmax:xip,…"
    )
    identity: Identity
    tables: tuple[Table, ...]
    released: tuple[Batch, ...] = Field(
        default=(), description="earlier batches whose refused rows are to be tried again"
    )
    former: tuple[Former, ...] = Field(
        default=(), description="tables and primary keys that earlier batches had"
    )
    left_out: dict[str, str] = Field(
        default_factory=dict, description="relations of the source that are not captured, and why"
    )

    @model_validator(mode="after")
    def _tables_are_distinct(self) -> Self:
        names = [table.name for table in self.tables]
        if len(set(names)) < len(names):
            raise ValueError("a table is there twice")
        if any(table.rates and table.name != RATES for table in self.tables):
            raise ValueError(f"only {RATES} has rates")
        return self

    @property
    def captured(self) -> tuple[Table, ...]:
        """The source's own tables: all but the exchange rates."""
        return tuple(table for table in self.tables if table.rates is None)

    @property
    def rates(self) -> Table | None:
        """The table of exchange rates."""
        return next((table for table in self.tables if table.rates), None)

    def table(self, name: str) -> Table | None:
        """What the batch holds of this source table; None if the table was not captured."""
        return next((table for table in self.tables if table.name == name), None)

    def known(self, name: str, key: tuple[str, ...]) -> Table | None:
        """What is known of a table that now has this key: by that key if it ever had it."""
        table = self.table(name)
        if table is not None and table.key == key:
            return table
        names = [former.table for former in self.former if former.table.name == name]
        return next((known for known in names if known.key == key), table)

    @property
    def rows(self) -> int:
        """Rows in all files: upserts and deletes."""
        return sum(file.rows for table in self.tables for file in table.files)


class StarFile(File):
    """Parquet of one star table: its contract's columns, then `valid_from` and `_op`."""

    table: str


class ProcessedManifest(_Published):
    """Publishes a batch in the processed store, at `processed_manifest_path(generation, batch)`."""

    generation: Batch
    ingested: str = Field(description="SHA-256 of the ingestion manifest it was made from")
    files: tuple[StarFile, ...]
    refused: tuple[StarFile, ...] = Field(default=(), description="quarantined rows, see contract")
    state: dict[str, tuple[File, ...]] = Field(
        default_factory=dict,
        description="source tables that models join: Parquet of current rows, base first; "
        "star tables made of star tables: their files so far",
    )
    models: str = Field(description="digest of the models and the contract that made it")
    waiting: dict[str, Batch] = Field(
        default_factory=dict,
        description="models that could not run since that batch, but can on a later one",
    )

    @property
    def rows(self) -> int:
        """Rows in all files: upserts and deletes."""
        return sum(file.rows for file in self.files)


class Heartbeat(_Value):
    """Says that the source was looked at and had nothing new since `batch`."""

    batch: Batch
    checked_at: Moment

    @classmethod
    def from_json(cls, data: bytes, path: str) -> Self:
        """The heartbeat in `data`; LakeError names `path` where it is none."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise LakeError(f"{path} is damaged: {_first(error)}.") from error


def manifest_schema() -> str:
    """The JSON Schema of both manifests, as `docs/manifest.schema.json` has it."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Manifest of a batch in the ingestion store or in the processed store",
    }
    schema |= TypeAdapter(Manifest | ProcessedManifest).json_schema()
    return json.dumps(schema, indent=2) + "\n"


def manifest_path(batch: int) -> str:
    """Key of a batch's manifest, zero-padded so that keys sort by batch."""
    return f"batches/{batch:012d}.json"


def generation_path(generation: int) -> str:
    """The pointer that makes `generation` the current one; generation 1 needs none."""
    return f"generations/{generation:06d}.json"


def processed_manifest_path(generation: int, batch: int) -> str:
    """Key of a batch's manifest in one generation of processed data."""
    return f"generation={generation}/{manifest_path(batch)}"


def data_path(table: str, captured_at: datetime, name: str, prefix: str = "") -> str:
    """`sales_order/year=2026/month=11/day=22/NAME`, below `prefix` where given."""
    at = captured_at.astimezone(UTC)
    folder = f"{prefix}{table_folder(table)}"
    return f"{folder}/year={at.year:04d}/month={at.month:02d}/day={at.day:02d}/{name}"


def heartbeat_prefix(day: datetime) -> str:
    """Prefix of all heartbeats of the UTC day that `day` falls on."""
    at = day.astimezone(UTC)
    return f"heartbeats/year={at.year:04d}/month={at.month:02d}/day={at.day:02d}/"


def heartbeat_path(beat: Heartbeat) -> str:
    """Key of a heartbeat: its time in UTC to the microsecond, then its batch."""
    at = beat.checked_at.astimezone(UTC)
    return f"{heartbeat_prefix(at)}{at:%H%M%S%f}-{beat.batch:012d}.json"


def table_folder(table: str) -> str:
    """A table's name as one safe path segment, never one of the reserved prefixes."""
    folder = quote(table, safe="")
    if folder in RESERVED or folder.startswith("."):
        folder = f"%{ord(folder[0]):02X}{folder[1:]}"
    return folder


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _first(error: ValidationError) -> str:
    detail = error.errors()[0]
    where = ".".join(str(part) for part in detail["loc"]) or "content"
    return f"{where}: {detail['msg']}"
