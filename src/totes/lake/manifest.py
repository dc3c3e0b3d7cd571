"""The manifests that publish batches, and the names of objects in the lake.

Frozen values, no I/O. Manifests are a public format (`docs/manifest.schema.json`): fields can be
added, the meaning of a field never changes, and a reader ignores unknown fields.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Literal, Protocol, Self
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

_RESTORE = "Restore it from a backup."

FORMAT = 1
"""The format version of manifests, except of batches with tables that were read from the log."""

LOG_FORMAT = 2
"""The format version of a batch with tables that were read from the log.

It is the newest that this program reads. Programs that know only FORMAT reject it: they would take
each line for the current state of its row.
"""

ERASURES_PREFIX = "erasures"
"""Prefix of the records of erased rows."""

RATES_PREFIX = "rates"
"""Prefix of the ECB's files of exchange rates, which a function on AWS stores for ingest."""

UNFINISHED_PREFIX = "unfinished"
"""Prefix of the records of files that are stored before their batch is published."""

RESERVED_PREFIXES = frozenset(
    {"batches", "generations", "heartbeats", "keys", "overlap", "unreadable"}
    | {ERASURES_PREFIX, RATES_PREFIX, UNFINISHED_PREFIX}
)
"""Top-level prefixes of the ingestion store that are not table folders."""

MAX_LINE_BYTES = 1 << 27
"""Maximum line length in ingestion files; the longest values of a longer row are unreadable."""

UNREADABLE_FIELD = "unreadable"
"""Field with the reason in the JSON object that replaces an unreadable value."""

RATES = "ecb_exchange_rate"
"""The table of exchange rates, a name that no source table can have."""

MAX_CARRY_FORWARD = timedelta(days=366)
"""How long published rates are carried forward: limits the effect of a wrong clock."""

Count = Annotated[int, Field(ge=0, lt=1 << 53)]
"""An integer that every JSON parser represents exactly."""

Batch = Annotated[int, Field(ge=1, lt=1 << 40)]

VALID_YEARS = range(1970, 9999)
"""Years in which adding a time span does not overflow a datetime."""


def _check_year(moment: datetime) -> datetime:
    if moment.year not in VALID_YEARS:
        raise ValueError(f"can't be in the year {moment.year}")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_check_year)]


class Record(BaseModel):
    """A value that is stored as JSON."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def to_json(self) -> bytes:
        """Return the value as it is stored."""
        return self.model_dump_json(indent=1).encode()


class _Named(Protocol):
    @property
    def name(self) -> str: ...


def find_named[N: _Named](values: Iterable[N], name: str) -> N | None:
    """Return the first value with this name; None if there is none."""
    return next((value for value in values if value.name == name), None)


class File(Record):
    """One immutable object of a store, and its expected content."""

    path: str
    rows: Count = Field(description="lines or records in the file")
    deletes: Count = Field(default=0, description="how many of the rows are deletions")
    unreadable: Count = Field(
        default=0,
        description="how many of the rows have an unreadable value; an object replaces it: "
        '{"unreadable": reason, "hex": first bytes of the value if they are known}',
    )
    bytes: Count
    unpacked_bytes: Count | None = Field(
        default=None, description="uncompressed size of a gzipped file"
    )
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if self.deletes > self.rows:
            raise ValueError(f"{self.path} can't have more deletes than rows")
        if self.unreadable > self.rows:
            raise ValueError(f"{self.path} can't have more unreadable rows than rows")
        return self


class KeyFile(File):
    """Parquet file of keys: all live keys of a table (`base`), or changes since then.

    Columns: the key columns in order (BIGINT if the source column is an integer, else VARCHAR),
    `_block` BIGINT, the block of the source table in which the row is, -1 if unknown, and in a
    `change` file `_live` BOOLEAN, false if the key was deleted.
    """

    kind: Literal["base", "change"]


class Column(Record):
    """A source column: `type` is its name in PostgreSQL, `kind` its representation in JSON."""

    name: str
    type: str
    kind: Literal["integer", "boolean", "text"]
    nullable: bool


class Identity(Record):
    """The server and database that a batch came from."""

    system_identifier: str
    database_oid: int
    timeline: int
    database: str

    def is_same(self, other: "Identity") -> bool:
        """Return whether it is the same database of the same server, also if it was renamed."""
        return self.model_copy(update={"database": other.database}) == other


class Quote(Record):
    """The last published rate of a currency: its units per euro, with the publisher's digits."""

    currency: str = Field(pattern="^[A-Z]{3}$")
    day: date
    rate: str = Field(pattern=r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?$")
    source: str
    missed: Count = Field(default=0, description="days published since `day` without the currency")


class RatesState(Record):
    """The exchange rates stored so far; the next batch continues from here."""

    through: date = Field(description="the last day with rates")
    actual: date = Field(description="the last published day; rates after it are carried forward")
    quotes: tuple[Quote, ...] = Field(description="one for each currency that still has rates")

    @model_validator(mode="after")
    def _check_days(self) -> Self:
        codes = {quote.currency for quote in self.quotes}
        if len(codes) < len(self.quotes):
            raise ValueError("rates can't have a currency twice")
        if self.actual.year not in VALID_YEARS:
            raise ValueError(f"rates can't be from the year {self.actual.year}")
        if not timedelta() <= self.through - self.actual <= MAX_CARRY_FORWARD:
            raise ValueError(f"rates of {self.actual} can't be carried forward to {self.through}")
        return self


LSN_PATTERN = "^[0-9A-F]{1,8}/[0-9A-F]{1,8}$"
"""A position in the write-ahead log, as PostgreSQL prints it."""


class LogState(Record):
    """How far the source's write-ahead log has been read.

    All changes that the batches lack come from transactions that end after `position`.
    """

    slot: str = Field(description="name of the replication slot")
    position: str = Field(pattern=LSN_PATTERN)
    ahead: tuple[Count, ...] = Field(
        default=(),
        description="transactions that this batch or an earlier one contains although `snapshot` "
        "does not see them: xid",
    )
    gap: str | None = Field(
        default=None,
        description="why versions between the previous batch and this one may be missing: the log "
        "could not be read, and the tables were scanned",
    )


class LogCoverage(Record):
    """Since when the write-ahead log has all changes of a table."""

    since: Count = Field(
        description="the log has all changes of transactions with this xid or a later one"
    )
    definition: str = Field(
        description="digest of the publication and of the catalogue's rows that define the table: "
        "if it differs now, rows may have changed without a trace in the log"
    )
    class_xmin: Count = Field(
        description="xmin of the table's row in pg_class, which a truncation changes"
    )


class Table(Record):
    """One source table in one batch: columns, key, changes, and the live keys after it."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = Field(description="primary key columns, empty without one")
    fingerprint: str = Field(
        description="digest of all catalogue entries that can change rows without writing them"
    )
    whole: bool = Field(description="the files contain all rows of the table, not only changes")
    files: tuple[File, ...] = Field(description="gzipped JSON Lines; empty if nothing changed")
    rows: Count = Field(description="rows in the source table as of this batch")
    keys: tuple[KeyFile, ...] = Field(default=(), description="the live keys, base first")
    relfilenodes: str = Field(
        default="",
        description="OID and relfilenode of the source table, and of each partition or child, when "
        "the blocks in `keys` were recorded: if they differ now, rows may have moved; empty if "
        "unknown",
    )
    overlap: File | None = Field(
        default=None,
        description="Parquet of key and _xid: rows that the next capture will read again",
    )
    unreadable: File | None = Field(
        default=None,
        description="Parquet of all unreadable values of the source as of this batch: key columns "
        "as in `keys`, then `column` and `reason`",
    )
    content_digest: str | None = Field(
        default=None, description="digest of the rows of a table without a key"
    )
    of_log: bool = Field(
        default=False,
        description="the files contain every version, from the write-ahead log: their lines have "
        "`_at`, the moment of the commit, and `_seq`, the order within a transaction",
    )
    log_coverage: LogCoverage | None = Field(
        default=None, description="None if the log does not have all changes of the table"
    )
    rates: RatesState | None = Field(
        default=None, description=f"only of {RATES}, the one table that is not from the source"
    )

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names) or not set(self.key) <= set(names):
            raise ValueError(
                f"table {self.name} has a column twice, or a key column that is missing"
            )
        return self

    def column(self, name: str) -> Column:
        """Return the column with this name; StopIteration if there is none."""
        return next(column for column in self.columns if column.name == name)


UNCHANGED: Mapping[str, object] = MappingProxyType(
    {"files": (), "whole": False, "overlap": None, "of_log": False}
)
"""Fields of a table's entry in a batch that has no changes of the table."""


class FormerTable(Record):
    """A table that the source no longer has with this primary key, and its last live keys.

    It is kept until a table of that name has that key again, to find rows deleted in between.
    """

    table: Table = Field(description="as of the last batch that had it, without files")
    since: Batch = Field(description="the first batch without it")
    reason: Literal["absent", "excluded", "key"] = Field(
        description="no such table, excluded by a setting, or it has a different primary key"
    )


class _BaseManifest(Record):
    format: int = FORMAT
    batch: Batch
    previous: str | None = Field(description="SHA-256 of the previous manifest's bytes")
    captured_at: Moment = Field(description="time of the source's clock; valid_from of its rows")
    program: str = Field(
        default_factory=lambda: __version__, description="version of terrific-totes that wrote it"
    )

    @classmethod
    def from_json(cls, data: bytes, path: str) -> Self:
        """Return the manifest in `data`; LakeError, which names `path`, if it is not valid."""
        try:
            version = _FormatVersion.model_validate_json(data).format
        except ValidationError as error:
            raise LakeError(
                f"{path} is not a manifest: {_first_detail(error)}. {_RESTORE}"
            ) from error
        if version > LOG_FORMAT:
            raise LakeError(
                f"{path} has format {version}, this program reads up to {LOG_FORMAT}: "
                "upgrade terrific-totes."
            )
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise LakeError(f"{path} is damaged: {_first_detail(error)}. {_RESTORE}") from error


class _FormatVersion(Record):
    format: int


class Manifest(_BaseManifest):
    """Publishes a batch in the ingestion store, at `manifest_path(batch)`."""

    snapshot: str = Field(
        pattern=r"^\d{1,20}:\d{1,20}:[\d,]*$", description="pg_current_snapshot(): xmin:xmax:xip,…"
    )
    identity: Identity
    tables: tuple[Table, ...]
    released: tuple[Batch, ...] = Field(
        default=(),
        description="earlier batches whose quarantined rows are released: transform retries them",
    )
    former: tuple[FormerTable, ...] = Field(
        default=(),
        description="tables and primary keys of earlier batches that the source no longer has",
    )
    left_out: dict[str, str] = Field(
        default_factory=dict, description="relations of the source that are not captured, and why"
    )
    log: LogState | None = Field(
        default=None, description="None if no batch so far was read from the log"
    )

    @model_validator(mode="after")
    def _check_tables(self) -> Self:
        names = [table.name for table in self.tables]
        if len(set(names)) < len(names):
            raise ValueError("a table occurs twice")
        if any(table.rates and table.name != RATES for table in self.tables):
            raise ValueError(f"only {RATES} has rates")
        if any(table.of_log for table in self.tables) and self.format < LOG_FORMAT:
            raise ValueError(f"tables of the log need format {LOG_FORMAT}")
        return self

    @property
    def source_tables(self) -> tuple[Table, ...]:
        """The tables of the source: all except the exchange rates."""
        return tuple(table for table in self.tables if table.rates is None)

    @property
    def rates(self) -> Table | None:
        """The table of exchange rates, if there is one."""
        return next((table for table in self.tables if table.rates), None)

    def table(self, name: str) -> Table | None:
        """Return the table with this name; None if the batch does not have it."""
        return find_named(self.tables, name)

    def last_table(self, name: str, key: tuple[str, ...]) -> Table | None:
        """Return the last state of a table with this primary key, else with the current key."""
        table = self.table(name)
        if table is not None and table.key == key:
            return table
        former_tables = [former.table for former in self.former if former.table.name == name]
        return next((former for former in former_tables if former.key == key), table)

    @property
    def rows(self) -> int:
        """The number of rows in all files: upserts and deletes."""
        return sum(file.rows for table in self.tables for file in table.files)


class StarFile(File):
    """Parquet file of one star table: the contract's columns, then `valid_from` and `_op`."""

    table: str


class ProcessedManifest(_BaseManifest):
    """Publishes a batch in the processed store, at `processed_manifest_path(generation, batch)`."""

    generation: Batch
    ingested: str = Field(description="SHA-256 of the ingestion manifest that it was made from")
    files: tuple[StarFile, ...]
    rejected: tuple[StarFile, ...] = Field(
        default=(), description="quarantined rows, which break the contract"
    )
    state: dict[str, tuple[File, ...]] = Field(
        default_factory=dict,
        description="source tables that models join: Parquet of current rows, base first; "
        "star tables whose models read star tables: all their files",
    )
    models: str = Field(
        description="digest of the models and the declaration that it was made with"
    )
    waiting: dict[str, Batch] = Field(
        default_factory=dict,
        description="models that skip batches, each with the first batch that it skips; they can "
        "run on a later batch",
    )
    gap: str | None = Field(
        default=None,
        description="`log.gap` of the ingestion manifest: why versions before this batch are "
        "missing",
    )

    @property
    def rows(self) -> int:
        """The number of rows in all files: upserts and deletes."""
        return sum(file.rows for file in self.files)


class Heartbeat(Record):
    """Records that the source was checked and had no changes since `batch`."""

    batch: Batch
    checked_at: Moment

    @classmethod
    def from_json(cls, data: bytes, path: str) -> Self:
        """Return the heartbeat in `data`; LakeError, which names `path`, if it is not valid."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise LakeError(f"{path} is damaged: {_first_detail(error)}. {_RESTORE}") from error


def manifest_schema() -> str:
    """Return the JSON Schema of both manifests, the content of `docs/manifest.schema.json`."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Manifest of a batch in the ingestion store or in the processed store",
    }
    schema |= TypeAdapter(Manifest | ProcessedManifest).json_schema()
    return json.dumps(schema, indent=2) + "\n"


def manifest_path(batch: int) -> str:
    """Return the key of a batch's manifest, zero-padded so that keys sort by batch."""
    return f"batches/{batch:012d}.json"


def generation_path(generation: int) -> str:
    """Return the key of the pointer that makes `generation` current; generation 1 has none."""
    return f"generations/{generation:06d}.json"


def processed_manifest_path(generation: int, batch: int) -> str:
    """Return the key of a batch's manifest in one generation of processed data."""
    return f"generation={generation}/{manifest_path(batch)}"


PARTITION = "totes_date"
"""The name in partition folders; the value is the UTC day of the capture. In readers such as Spark,
a folder's value replaces a column of this name, so no column of a star table may have it."""


def data_path(table: str, captured_at: datetime, name: str, prefix: str = "") -> str:
    """Return a key such as `sales_order/totes_date=2026-11-22/NAME`, below `prefix`."""
    day = captured_at.astimezone(UTC).date()
    return f"{prefix}{table_folder(table)}/{PARTITION}={day.isoformat()}/{name}"


def heartbeat_prefix(day: datetime) -> str:
    """Return the prefix of all heartbeats of the UTC day of `day`."""
    at = day.astimezone(UTC)
    return f"heartbeats/year={at.year:04d}/month={at.month:02d}/day={at.day:02d}/"


def heartbeat_path(heartbeat: Heartbeat) -> str:
    """Return the key of a heartbeat: its UTC time to the microsecond, then its batch."""
    at = heartbeat.checked_at.astimezone(UTC)
    return f"{heartbeat_prefix(at)}{at:%H%M%S%f}-{heartbeat.batch:012d}.json"


def log_positions_prefix(batch: int) -> str:
    """Return the prefix of the positions up to which the log has no changes after a batch."""
    return f"heartbeats/log/{batch:012d}/"


def log_position_path(batch: int, position: int) -> str:
    """Return the key that records such a position, in its name, so that keys sort by position."""
    return f"{log_positions_prefix(batch)}{position:016X}.json"


def slot_path(system_identifier: str, slot: str) -> str:
    """Return the key that records that the platform creates a replication slot in a server."""
    return f"heartbeats/slots/{system_identifier}/{slot}.json"


def table_folder(table: str) -> str:
    """Return a table's name as one safe path segment that is not a reserved prefix."""
    folder = quote(table, safe="")
    if folder in RESERVED_PREFIXES or folder.startswith("."):
        folder = f"%{ord(folder[0]):02X}{folder[1:]}"
    return folder


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _first_detail(error: ValidationError) -> str:
    detail = error.errors()[0]
    where = ".".join(str(part) for part in detail["loc"]) or "content"
    return f"{where}: {detail['msg']}"
