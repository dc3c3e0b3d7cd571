"""The JSON Lines of a source table in many batches, as DataFrames.

What the functions return has the source table's columns as text, exactly as PostgreSQL printed
the value, and BATCH. Which lines count is as in `totes.star.relation` and `totes.star.line_order`,
which do the same for one batch in DuckDB: tests compare them.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import NamedTuple, Self

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from pyspark.sql import types as t

from totes.errors import LakeError
from totes.lake.line import AT, IS_DELETE, IS_UPSERT, OPERATION, SEQUENCE
from totes.lake.manifest import UNREADABLE_FIELD, File
from totes.spark.files import PATH, Location
from totes.star.contract import MAX_TEXT_BYTES
from totes.star.dialect import BATCH
from totes.star.lineage import CHANGED
from totes.star.long_lines import LONG_TEXT_SUFFIX

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BUCKET = "_bucket"
_IS_CHANGED = f"true as {CHANGED}"
_OF_BATCH = (BATCH, "captured_at", "after", "buckets")
"""What is known of the batch of a line."""

_CORRUPT_RECORD = "_corrupt_record".ljust(64, "_")
"""A column of this name is not read: PostgreSQL's names have at most 63 bytes."""

_LONGEST_CHARACTER_BYTES = 4


@dataclass(frozen=True)
class TableBatch:
    """The lines of one source table in one batch; `after` as in PlannedBatch."""

    batch: int
    captured_at: datetime
    after: datetime | None
    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    of_log: bool
    files: tuple[File, ...]

    @property
    def size_bytes(self) -> int:
        """The size of its files."""
        return sum(file.bytes for file in self.files)


class LinesFile(NamedTuple):
    """A verified file of lines: what Spark calls it, and whether a text in it may be too long."""

    path: str
    is_long: bool


@dataclass(frozen=True)
class LineCounts:
    """How many rows of each kind the lines of a table in a batch have.

    versions, deletions: all, and `newest`, `deleted` those that are the state after the batch.
    removed: rows that were written and then deleted in the batch.
    """

    versions: int
    deletions: int
    newest: int
    deleted: int
    removed: int


def small_table(session: SparkSession, rows: Iterable[Sequence[object]], schema: str) -> DataFrame:
    """Return rows of the driver as a DataFrame for a broadcast join; moments are microseconds.

    The content travels in the plan: other ways need a job or a call for each row.
    """
    names = [part.split()[0] for part in schema.split(", ")]
    content = json.dumps([dict(zip(names, row, strict=True)) for row in rows])
    table = f.inline(f.from_json(f.lit(content), f"array<struct<{schema}>>"))
    return f.broadcast(session.range(1).select(table))


def microseconds(moment: datetime | None) -> int | None:
    """Return a moment as microseconds since 1970."""
    return None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True)
class TableLines:
    """The verified lines of a source table in some batches.

    `verified` are its files, by key. `buckets` are the numbers of parts into which the rows of a
    batch are divided, if they have to be.
    """

    session: SparkSession
    location: Location
    batches: tuple[TableBatch, ...]
    verified: Mapping[str, LinesFile]
    buckets: Mapping[int, int]

    def only(self, batches: Collection[int]) -> Self:
        """Return the lines of these batches."""
        chosen = tuple(table for table in self.batches if table.batch in batches)
        return replace(self, batches=chosen)

    @property
    def has_log(self) -> bool:
        """Whether the table was read from the log in one of the batches."""
        return any(table.of_log for table in self.batches)

    @property
    def has_deletes(self) -> bool:
        """Whether there is a deletion in one of the batches."""
        return any(file.deletes for table in self.batches for file in table.files)

    def count(self) -> dict[int, LineCounts]:
        """Return the number of rows of each batch.

        Raises LakeError if a line of the log has no moment of its batch, or no place in the order.
        """
        counts = {
            table.batch: LineCounts(upserts, deletes, upserts, deletes, 0)
            for table in self.batches
            if not table.of_log
            for deletes in [sum(file.deletes for file in table.files)]
            for upserts in [sum(file.rows for file in table.files) - deletes]
        }
        return counts | self._count_logged() if self.has_log else counts

    def changed(self, columns: Sequence[str]) -> DataFrame:
        """Return the rows that each batch inserted or updated, as they are after it."""
        return self._upserts(columns, "is_newest")

    def versions(self, columns: Sequence[str]) -> DataFrame:
        """Return all versions that each batch has, with their moments `_at`."""
        return self._upserts(columns, "is_version", AT)

    def removed(self, columns: Sequence[str]) -> DataFrame:
        """Return the last versions of the rows that each batch wrote and then deleted."""
        parts = [lines.where("is_removed") for lines in self._logged(columns)]
        return _union(parts, *_named(columns), _IS_CHANGED, BATCH)

    def deleted(self, aliases: Mapping[str, str], *, all_versions: bool) -> DataFrame:
        """Return deleted keys, whose columns get `aliases`, with the moments `_at`.

        all_versions: every deletion with the time of its commit, and not only keys that are deleted
            after the batch, with its capture time.
        """
        flag, moment = ("is_version", AT) if all_versions else ("is_newest", "captured_at")
        logged = [
            lines.where(f"not is_upsert and {flag}").withColumn(AT, f.col(moment))
            for lines in self._logged([*aliases])
        ]
        keys = [f"{_inner(name)} as {_quote(alias)}" for name, alias in aliases.items()]
        return _union([*self._scanned([*aliases], is_delete=True), *logged], *keys, AT, BATCH)

    def divide(self, rows: DataFrame, key: Sequence[str]) -> DataFrame:
        """Distribute rows by BATCH and `key`, so that each batch has as many files as buckets."""
        known = small_table(self.session, self.buckets.items(), f"{BATCH} bigint, buckets bigint")
        bucket = f.pmod(f.xxhash64(*(rows[_quote(name)] for name in key)), known["buckets"])
        return rows.join(known, BATCH).repartition(BATCH, bucket).drop(known["buckets"])

    def _upserts(self, columns: Sequence[str], flag: str, *extra_columns: str) -> DataFrame:
        parts = self._scanned(columns, is_delete=False)
        parts += [lines.where(f"is_upsert and {flag}") for lines in self._logged(columns)]
        if not parts:  # the batches have only deletions
            parts = [lines.where("false") for lines in self._scanned(columns, is_delete=True)]
        return _union(parts, *_named(columns), _IS_CHANGED, *extra_columns, BATCH)

    def _count_logged(self) -> dict[int, LineCounts]:
        is_valid = (
            f"{AT} <= captured_at and ({AT} > after or after is null) and {SEQUENCE} is not null"
            f" and (not equal_null(next_at, {AT}) or next_seq > {SEQUENCE})"
        )
        conditions = {
            "versions": "is_version and is_upsert",
            "deletions": "is_version and not is_upsert",
            "newest": "is_newest and is_upsert",
            "deleted": "is_newest and not is_upsert",
            "removed": "is_removed",
            "invalid": f"not coalesce({is_valid}, false)",
        }
        numbers = [f.expr(f"count_if({sql}) as {name}") for name, sql in conditions.items()]
        counts = {}
        for row in _union(self._logged([]), "*").groupBy(BATCH).agg(*numbers).collect():
            values = row.asDict()
            batch = values.pop(BATCH)
            if invalid := values.pop("invalid"):
                raise LakeError(
                    f"{invalid} lines of table {self.batches[0].name} in batch {batch} of "
                    f"{self.location.url} have a wrong {AT} or {SEQUENCE}: restore the table's "
                    "files from a backup."
                )
            counts[batch] = LineCounts(**values)
        return counts

    def _scanned(self, columns: Sequence[str], *, is_delete: bool) -> list[DataFrame]:
        """Return the upserts or deletes of tables that were scanned, with the capture time."""
        files = [
            (table, file)
            for table in self.batches
            for file in table.files
            if not table.of_log and (file.deletes if is_delete else file.rows > file.deletes)
        ]
        return [
            lines.where(IS_DELETE if is_delete else IS_UPSERT).withColumn(AT, f.col("captured_at"))
            for lines in self._read(files, columns)
        ]

    def _logged(self, columns: Sequence[str]) -> list[DataFrame]:
        """Return the lines of tables that were read from the log, with their places in the order.

        is_version: the last line of its key and moment. is_newest: the last line of its key.
        is_removed: the last version of a key that is deleted after the batch.
        """
        by_key: dict[tuple[str, ...], list[tuple[TableBatch, File]]] = {}
        for table in self.batches:
            if table.of_log:
                by_key.setdefault(table.key, []).extend((table, file) for file in table.files)
        return [
            _in_order(_union(self._read(files, [*columns, *key], of_log=True), "*"), key, columns)
            for key, files in by_key.items()
        ]

    def _read(
        self,
        files: Sequence[tuple[TableBatch, File]],
        columns: Sequence[str],
        *,
        of_log: bool = False,
    ) -> list[DataFrame]:
        """Return all lines of some files: the columns, `_op`, and what is known of the batch.

        The columns have the names of `_inner`, so that none has the name of another column here.
        """
        columns = [*dict.fromkeys(columns)]
        fields = {OPERATION: OPERATION}
        if of_log:
            fields |= {AT: f"try_cast({AT} as timestamp)"}
            fields |= {SEQUENCE: f"try_cast({SEQUENCE} as bigint)"}
        parts = []
        for has_unreadable in (False, True):
            chosen = [one for one in files if bool(one[1].unreadable) is has_unreadable]
            if not chosen:
                continue
            type_ = t.VariantType() if has_unreadable else t.StringType()
            types = dict.fromkeys(fields, t.StringType()) | dict.fromkeys(columns, type_)
            lines = self._read_json([file.path for _, file in chosen], types)
            is_long = any(self.verified[file.path].is_long for _, file in chosen)
            selected = [f.expr(f"{sql} as {name}") for name, sql in fields.items()]
            for name in columns:
                text = _marked(_quote(name)) if has_unreadable else _quote(name)
                text = _shortened(text) if is_long else text
                selected.append(f.expr(f"{text} as {_inner(name)}"))
            path = lines.metadataColumn("_metadata")["file_path"].alias(PATH)
            parts.append(self._with_batch(lines.select(*selected, path), chosen))
        return parts

    def _read_json(self, keys: Sequence[str], types: Mapping[str, t.DataType]) -> DataFrame:
        options = {
            "mode": "FAILFAST",
            "columnNameOfCorruptRecord": _CORRUPT_RECORD,
            "allowSingleQuotes": "false",
            "allowNonNumericNumbers": "false",
            "lineSep": "\n",
            "maxStringLen": str((1 << 31) - 1),
            "recursiveFileLookup": "true",
        }
        schema = t.StructType([t.StructField(name, type_) for name, type_ in types.items()])
        paths = [self.location.pattern(key) for key in keys]
        return self.session.read.schema(schema).options(**options).json(paths)

    def _with_batch(self, lines: DataFrame, files: Sequence[tuple[TableBatch, File]]) -> DataFrame:
        known = [
            (
                self.verified[file.path].path,
                table.batch,
                microseconds(table.captured_at),
                microseconds(table.after),
                self.buckets.get(table.batch, 1),
            )
            for table, file in files
        ]
        schema = ", ".join([f"{PATH} string", *(f"{name} bigint" for name in _OF_BATCH)])
        of_path = small_table(self.session, known, schema)
        for name in ("captured_at", "after"):
            of_path = of_path.withColumn(name, f.timestamp_micros(name))
        return lines.join(of_path, PATH).drop(PATH)


def _in_order(lines: DataFrame, key: Sequence[str], columns: Sequence[str]) -> DataFrame:
    """Return lines of the log as `_logged` does."""
    keys = ", ".join(map(_inner, key))
    of_key = f"partition by {BATCH}, {_BUCKET}, {keys}"
    in_order = f"{of_key} order by {AT}, {SEQUENCE}"
    bucket = f"pmod(xxhash64({keys}), buckets) as {_BUCKET}"
    # One exchange serves the windows and the files that are written.
    return (
        lines.selectExpr("*", f"{IS_UPSERT} as is_upsert", bucket)
        .repartition(BATCH, _BUCKET)
        .selectExpr(
            "*",
            f"lead({AT}) over ({in_order}) as next_at",
            f"lead({SEQUENCE}) over ({in_order}) as next_seq",
        )
        .selectExpr(
            "*",
            "next_at is null and next_seq is null as is_newest",
            f"not equal_null(next_at, {AT}) as is_version",
            f"case when is_upsert and not equal_null(next_at, {AT}) then {AT} end as version_at",
        )
        .selectExpr(
            *map(_inner, columns),
            *("captured_at", "after", BATCH, AT, SEQUENCE, "is_upsert", "next_at", "next_seq"),
            *("is_version", "is_newest"),
            f"version_at = max(version_at) over ({of_key})"
            f" and bool_or(is_newest and not is_upsert) over ({of_key}) as is_removed",
        )
    )


def _quote(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def _inner(name: str) -> str:
    """Return what a source column is called in this module, where no other name has a blank."""
    return _quote(f"column {name}")


def _named(names: Iterable[str]) -> list[str]:
    """Return SQL for source columns under their own names."""
    return [f"{_inner(name)} as {_quote(name)}" for name in names]


def _union(parts: Iterable[DataFrame], *columns: str) -> DataFrame:
    """Return these columns of all parts."""
    return reduce(DataFrame.unionByName, (part.selectExpr(*columns) for part in parts))


def _marked(column: str) -> str:
    """Return SQL for a JSON value as text; an unreadable one is marked as in `star.relation`."""
    field = f"variant_get({column}, '$.{UNREADABLE_FIELD}', 'string')"
    in_hex = f"coalesce(variant_get({column}, '$.hex', 'string'), '')"
    return (
        f"case when schema_of_variant({column}) like 'OBJECT<%'"
        f" then concat(char(0), {in_hex}, char(0), {field}) else cast({column} as string) end"
    )


def _shortened(text: str) -> str:
    """Return SQL for a text; one that is too long is cut and gets its SHA-256.

    As in `star.long_lines`.
    """
    ends = range(MAX_TEXT_BYTES, MAX_TEXT_BYTES - _LONGEST_CHARACTER_BYTES, -1)
    cuts = (f"cast(substring(cast({text} as binary), 1, {end}) as string)" for end in ends)
    beginning = f"coalesce({', '.join(f'try_validate_utf8({cut})' for cut in cuts)})"
    before, after = LONG_TEXT_SUFFIX.split("{}")
    return (
        f"case when octet_length({text}) > {MAX_TEXT_BYTES}"
        f" then concat({beginning}, '{before}', sha2({text}, 256), '{after}') else {text} end"
    )
