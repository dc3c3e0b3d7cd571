"""Batches: the manifests that publish them and the names of things in the lake.

Frozen values, no I/O. A manifest is a public format (`docs/manifest.schema.json`): fields are
added, never given another meaning, and unknown ones are ignored when read.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Literal, Self
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from totes import __version__
from totes.errors import LakeError

FORMAT = 1
"""Version of the manifests this program writes, and the newest it reads."""

RESERVED = frozenset({"batches", "generations", "heartbeats", "keys", "repeats"})
"""Top-level prefixes of the ingestion store that are not tables."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class File(_Value):
    """One immutable object of a store, and what must be found in it."""

    path: str
    rows: int = Field(ge=0, description="lines or records in the file")
    deletes: int = Field(default=0, ge=0, description="how many of the rows are deletions")
    bytes: int = Field(ge=0)
    sha256: str


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


class Table(_Value):
    """One source table in one batch: its shape, what the batch carries, what is live after it."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = Field(description="primary key columns, empty without one")
    fingerprint: str = Field(description="digest of everything that can alter rows unwritten")
    whole: bool = Field(description="the files hold every row of the table, not only changes")
    files: tuple[File, ...] = Field(description="gzipped JSON Lines; empty where nothing changed")
    rows: int = Field(ge=0, description="rows in the source table as of this batch")
    keys: tuple[KeyFile, ...] = Field(default=(), description="the live keys, base first")
    repeats: File | None = Field(
        default=None, description="Parquet of key and _xid: rows the next capture will see again"
    )
    content: str | None = Field(default=None, description="digest of a table without a key")

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


class _Published(_Value):
    format: int = FORMAT
    batch: int = Field(ge=1)
    previous: str | None = Field(description="SHA-256 of the previous manifest's bytes")
    captured_at: AwareDatetime = Field(description="the source's clock; valid_from of its rows")
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

    snapshot: str = Field(description="pg_current_snapshot(): xmin:xmax:xip,…")
    identity: Identity
    tables: tuple[Table, ...]
    released: tuple[int, ...] = Field(
        default=(), description="earlier batches whose refused rows are to be tried again"
    )

    def table(self, name: str) -> Table | None:
        return next((table for table in self.tables if table.name == name), None)

    @property
    def rows(self) -> int:
        return sum(file.rows for table in self.tables for file in table.files)


class StarFile(File):
    """Parquet of one star table: its contract's columns, then `valid_from` and `_op`."""

    table: str


class ProcessedManifest(_Published):
    """Publishes a batch in the processed store, at `processed_manifest_path(generation, batch)`."""

    generation: int = Field(ge=1)
    ingested: str = Field(description="SHA-256 of the ingestion manifest it was made from")
    files: tuple[StarFile, ...]
    refused: tuple[StarFile, ...] = Field(default=(), description="quarantined rows, see contract")
    state: dict[str, tuple[File, ...]] = Field(
        default_factory=dict,
        description="source tables that models join: Parquet of current rows, base first",
    )
    models: str = Field(description="digest of the models and the contract that made it")

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)


class Heartbeat(_Value):
    """Says that the source was looked at and had nothing new since `batch`."""

    batch: int
    checked_at: AwareDatetime


def manifest_schema() -> str:
    """The JSON Schema of both manifests, as `docs/manifest.schema.json` has it."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Manifest of a batch in the ingestion store or in the processed store",
    }
    schema |= TypeAdapter(Manifest | ProcessedManifest).json_schema()
    return json.dumps(schema, indent=2) + "\n"


def manifest_path(batch: int) -> str:
    return f"batches/{batch:012d}.json"


def generation_path(generation: int) -> str:
    """The pointer that makes `generation` the current one; generation 1 needs none."""
    return f"generations/{generation:06d}.json"


def processed_manifest_path(generation: int, batch: int) -> str:
    return f"generation={generation}/{manifest_path(batch)}"


def data_path(table: str, captured_at: datetime, name: str, prefix: str = "") -> str:
    """`sales_order/year=2026/month=11/day=22/NAME`, below `prefix` where given."""
    at = captured_at.astimezone(UTC)
    folder = f"{prefix}{table_folder(table)}"
    return f"{folder}/year={at.year:04d}/month={at.month:02d}/day={at.day:02d}/{name}"


def heartbeat_prefix(day: datetime) -> str:
    at = day.astimezone(UTC)
    return f"heartbeats/year={at.year:04d}/month={at.month:02d}/day={at.day:02d}/"


def heartbeat_path(beat: Heartbeat) -> str:
    at = beat.checked_at.astimezone(UTC)
    return f"{heartbeat_prefix(at)}{at:%H%M%S%f}-{beat.batch:012d}.json"


def table_folder(table: str) -> str:
    """A table's name as one safe path segment, never one of the reserved prefixes."""
    folder = quote(table, safe="")
    if folder in RESERVED or folder.startswith("."):
        folder = f"%{ord(folder[0]):02X}{folder[1:]}"
    return folder


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _first(error: ValidationError) -> str:
    detail = error.errors()[0]
    where = ".".join(str(part) for part in detail["loc"]) or "content"
    return f"{where}: {detail['msg']}"
