"""The Iceberg table of a star table: created, extended, and its position among the batches."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, cast, override

from pydantic import Field
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table, TableProperties
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import ValidatableTableRequirement
from pyiceberg.transforms import TruncateTransform
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    IntegerType,
    LongType,
    NestedField,
    PrimitiveType,
    StringType,
    TimestamptzType,
)

from totes.errors import IcebergError
from totes.failpoint import reach
from totes.lakehouse.files import Replacement
from totes.star.batch_files import column_types
from totes.star.contract import StarTable

PARTITION_WIDTH = 1_000_000
"""How many keys a partition has, if the key is an integer."""

QUARANTINE_FOLDER = "totes-quarantine"
"""The folder of the files of quarantined versions, a name that no table can have."""

VALID_FROM, VALID_TO = "valid_from", "valid_to"

_PROPERTIES: Mapping[str, str] = MappingProxyType(
    {
        TableProperties.FORMAT_VERSION: "2",
        # A commit may follow another process's if the files that it replaces still exist:
        # Precondition keeps publications apart, and a compaction changes no row.
        TableProperties.WRITE_DELETE_ISOLATION_LEVEL: "snapshot",
        TableProperties.METADATA_DELETE_AFTER_COMMIT_ENABLED: "true",
    }
)

_KEY, _GENERATION, _FIRST, _BATCH, _INGESTED, _QUARANTINE = (
    f"totes.{name}" for name in ("key", "generation", "first", "batch", "ingested", "quarantine")
)

CAPTURED_AT, COMPACTION = "totes.captured-at", "totes.compaction"
"""What else the summary of a snapshot records."""

_TYPES: Mapping[str, PrimitiveType] = MappingProxyType(
    {
        "INTEGER": IntegerType(),
        "BIGINT": LongType(),
        "BOOLEAN": BooleanType(),
        "DATE": DateType(),
        "VARCHAR": StringType(),
        "TIMESTAMPTZ": TimestamptzType(),
    }
)


@dataclass(frozen=True)
class Position:
    """Up to which batch a table has been published.

    `first` is the first batch of the step that ended with `batch`: when the step began, all tables
    had the batches before it. `ingested` is the digest of the batch in the ingestion store.
    `quarantine` is the URL of the file with the quarantined versions as of this batch; None if
    there are none.
    """

    generation: int
    first: int
    batch: int
    ingested: str
    quarantine: str | None = None

    @property
    def properties(self) -> dict[str, str]:
        """The table's properties that record the position."""
        return {
            _GENERATION: str(self.generation),
            _FIRST: str(self.first),
            _BATCH: str(self.batch),
            _INGESTED: self.ingested,
            _QUARANTINE: self.quarantine or "",
        }

    @property
    def summary(self) -> dict[str, str]:
        """What the summary of the snapshot records, so that users find the snapshot of a batch."""
        return {_GENERATION: str(self.generation), _BATCH: str(self.batch)}


def read_position(metadata: TableMetadata) -> Position | None:
    """Return the position of a table; None if nothing was published.

    Raises IcebergError if the properties of the table that have it were changed.
    """
    found = metadata.properties
    if _BATCH not in found:
        return None
    try:
        return Position(
            int(found[_GENERATION]),
            int(found[_FIRST]),
            int(found[_BATCH]),
            found[_INGESTED],
            found[_QUARANTINE] or None,
        )
    except (KeyError, ValueError) as error:
        raise IcebergError(
            f"The properties totes.* of the Iceberg table in {metadata.location} were changed: "
            "drop the table, `totes publish` creates it again."
        ) from error


class Precondition(ValidatableTableRequirement):
    """A commit is valid only if no other publication has moved the table's position.

    The same batch is not published twice even if a commit is repeated on a newer snapshot, or its
    answer was lost. The catalogues that are used here check it in this process, before they replace
    the table's metadata atomically.
    """

    type: Literal["assert-totes-position"] = Field(default="assert-totes-position")
    expected: Position | None

    @override
    def validate(self, base_metadata: TableMetadata | None) -> None:  # type: ignore[override]
        if base_metadata is None or read_position(base_metadata) != self.expected:
            raise CommitFailedException("another process has published a batch")


def iceberg_type(name: str) -> PrimitiveType:
    """Return the type in Iceberg of a type in Parquet, such as DECIMAL(10,2)."""
    if match := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", name):
        return DecimalType(int(match[1]), int(match[2]))
    return _TYPES[name]


def engine_types(star: StarTable) -> dict[str, str]:
    """Return the columns of a star table in Iceberg, and their types in DuckDB."""
    return column_types(star) | (
        dict.fromkeys((VALID_FROM, VALID_TO), "TIMESTAMPTZ") if star.is_fact else {}
    )


def _comments(star: StarTable) -> dict[str, str]:
    return {column.name: column.comment for column in star.columns} | {
        VALID_FROM: "From when on the version was valid.",
        VALID_TO: "Until when the version was valid; NULL in the current version.",
    }


def schema_of(star: StarTable) -> Schema:
    """Return the schema of a new table. All columns are optional, so that any can be added."""
    comments = _comments(star)
    return Schema(
        *(
            NestedField(number, name, iceberg_type(kind), required=False, doc=comments[name])
            for number, (name, kind) in enumerate(engine_types(star).items(), start=1)
        )
    )


def has_ranges(star: StarTable) -> bool:
    """Return whether a table is partitioned by ranges of its (first) key column."""
    return isinstance(iceberg_type(star.key[0].type.name), IntegerType | LongType)


def _partition_spec(star: StarTable, schema: Schema) -> PartitionSpec:
    if not has_ranges(star):
        return PartitionSpec()
    name = star.key_names[0]
    field = PartitionField(
        source_id=schema.find_field(name).field_id,
        field_id=PARTITION_FIELD_ID_START,
        transform=TruncateTransform(PARTITION_WIDTH),
        name=f"{name}_range",
    )
    return PartitionSpec(field)


def partition_width(table: Table) -> int:
    """Return how many keys a partition of a table has; the table must have ranges."""
    transform = cast("TruncateTransform[int]", table.spec().fields[0].transform)
    return transform.width


def open_table(catalogue: Catalog, namespace: str, location: str, star: StarTable) -> Table:
    """Return the Iceberg table of a star table, which is created or extended if necessary.

    Raises IcebergError if columns of the table have other types.
    """
    identifier = (namespace, star.name)
    try:
        table = catalogue.load_table(identifier)
    except NoSuchTableError:
        schema = schema_of(star)
        reach("iceberg.before-table")
        table = catalogue.create_table_if_not_exists(
            identifier,
            schema,
            location=f"{location}/{star.name}",
            partition_spec=_partition_spec(star, schema),
            properties={**_PROPERTIES, _KEY: ",".join(star.key_names), "comment": star.comment},
        )
        reach("iceberg.table-created")
    _extend(table, star)
    return table


def _extend(table: Table, star: StarTable) -> None:
    """Add the columns that are new in the declaration; IcebergError for every other change."""
    if problem := next(_find_problems(table, star), None):
        raise IcebergError(
            f"The Iceberg table {star.name} does not match the declaration: {problem}. Only "
            "columns and tables can be added: revert the change, or drop the table, and `totes "
            "publish` creates it again."
        )
    types, comments = engine_types(star), _comments(star)
    existing = {field.name: field for field in table.schema().fields}
    if all(name in existing and existing[name].doc == comments[name] for name in types):
        return
    reach("iceberg.before-columns")
    with table.update_schema() as update:
        for name, kind in types.items():
            if name not in existing:
                update.add_column(name, iceberg_type(kind), doc=comments[name])
            elif existing[name].doc != comments[name]:
                update.update_column(name, doc=comments[name])
    reach("iceberg.columns-added")


def _find_problems(table: Table, star: StarTable) -> Iterator[str]:
    types = engine_types(star)
    key = table.properties.get(_KEY)
    if key != ",".join(star.key_names):
        yield f"its key is {key or 'unknown'} instead of {','.join(star.key_names)}"
    ranges = [(field.source_id, type(field.transform)) for field in table.spec().fields]
    column = table.schema().find_field(star.key_names[0])
    if ranges != ([(column.field_id, TruncateTransform)] if has_ranges(star) else []):
        yield "its partitions are others than `totes publish` creates"
    for field in table.schema().fields:
        if field.name not in types:
            yield f"column {field.name} is not declared any more"
        elif field.field_type != iceberg_type(types[field.name]):
            yield (
                f"column {field.name} has the type {field.field_type} instead of "
                f"{iceberg_type(types[field.name])}"
            )


def commit(
    table: Table,
    before: Position | None,
    after: Position,
    captured_at: datetime,
    replacement: Replacement,
) -> None:
    """Publish a batch: the position and, if files differ, one snapshot with them, atomically."""
    summary = after.summary | {CAPTURED_AT: captured_at.astimezone(UTC).isoformat()}
    reach("iceberg.before-commit")
    with table.transaction() as transaction:
        precondition: Any = Precondition(expected=before)
        transaction._stage((), (precondition,))  # noqa: SLF001  there is no public method
        transaction.set_properties(after.properties)
        if replacement.is_needed:
            replacement.stage(transaction.update_snapshot(summary))
    reach("iceberg.committed")


def commit_compaction(table: Table, replacement: Replacement) -> None:
    """Replace files by others with the same rows; the snapshot records no batch of its own."""
    reach("iceberg.before-compaction")
    with table.transaction() as transaction:
        replacement.stage(transaction.update_snapshot({COMPACTION: "true"}))
    reach("iceberg.compacted")
