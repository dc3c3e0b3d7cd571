"""The JSON Lines of a source table in many batches, as DataFrames.

What the functions return has the source table's columns as text, exactly as PostgreSQL printed
the value, and BATCH. Which lines count is as in `totes.star.relation` and `totes.star.line_order`,
which do the same for one batch in DuckDB: tests compare them.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from urllib.parse import unquote

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as f
from pyspark.sql import types as t

from totes.errors import LakeError
from totes.lake.line import AT, DELETE, OPERATION, SEQUENCE, UPSERT
from totes.lake.manifest import MAX_LINE_BYTES, UNREADABLE_FIELD, File
from totes.lake.manifests import check_digest
from totes.star.contract import MAX_TEXT_BYTES
from totes.star.dialect import BATCH
from totes.star.lineage import CHANGED
from totes.star.long_lines import LONG_TEXT_SUFFIX
from totes.star.relation import ContentMismatch, check_counts, convert_mismatch

MAX_PACKED_BYTES = 1 << 30
"""Executors hold a whole packed file in memory to compute its SHA-256; Spark's limit is 2 GB."""

_ESCAPE = (
    r'\\(?:["\\/bfnrt]|u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4}'
    r"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_STRING = rf'"(?:[^"\\\x00-\x1f]++|{_ESCAPE})*+"'
_VALUE = rf"(?:{_STRING}|-?+(?:0|[1-9][0-9]*+)|true|false|null)"
_MEMBERS = rf"\{{{_STRING}:%s(?:,{_STRING}:%s)*+\}}"
_LINE = r"\A" + _MEMBERS.replace("%s", f"(?:{_VALUE}|{_MEMBERS.replace('%s', _VALUE)})") + r"\z"
"""A line as its writers print it, for Java. JSON permits more, which engines read differently.

Repetitions are possessive: others recurse once for each character of a long text.
"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PATH = "_path"
_BUCKET = "_bucket"
_FLAG = f"true as {CHANGED}"
_OF_BATCH = (BATCH, "captured_at", "after", "buckets")
"""What is known of the batch of a line."""

_CORRUPT_RECORD = "_corrupt_record".ljust(64, "_")
"""A column of this name is not read: PostgreSQL's names have at most 63 bytes."""

_MARK = "\0"
_LONGEST_CHARACTER_BYTES = 4


@dataclass(frozen=True)
class Location:
    """Where Spark finds a store: `url` is a folder, or a URL whose scheme Spark knows."""

    url: str

    @property
    def root(self) -> str:
        """The store's URL for Spark."""
        return self.url if "://" in self.url else f"file:{self.url}"

    def path(self, key: str) -> str:
        """Return the URL of an object or prefix, for Spark's writers."""
        return f"{self.root}/{key}"

    def pattern(self, key: str) -> str:
        """Return the same for Spark's readers, which expand wildcards."""
        return re.sub(r"([\[\]{}*?\\])", r"\\\1", self.path(key))

    def key(self, file_path: str) -> str:
        """Return the key of an object; `file_path` is what Spark calls `_metadata.file_path`."""
        path = _without_scheme(unquote(file_path))
        return path.removeprefix(f"{_without_scheme(self.root)}/")


def _without_scheme(url: str) -> str:
    """Return the path of a URL: file systems return their URLs with another scheme or slashes."""
    return re.sub(r"\A[a-z0-9]+:(//[^/]*)?", "", url)


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


def read_packed(session: SparkSession, location: Location, keys: Collection[str]) -> DataFrame:
    """Return path, length and SHA-256 of objects, or of those below prefixes."""
    reader = session.read.format("binaryFile").option("recursiveFileLookup", value=True)
    content = reader.load([location.pattern(key) for key in keys])
    sha256 = f.sha2(f.col("content"), 256)
    return content.select(f.col("_metadata.file_path").alias(_PATH), "length", sha256.alias("sha"))


def verify_packed(
    session: SparkSession, location: Location, files: Mapping[str, File]
) -> dict[str, str]:
    """Check sizes and digests of stored files; return what Spark calls each of them, by key.

    Raises LakeError for the first that is damaged or missing.
    """
    for file in files.values():
        if file.bytes > MAX_PACKED_BYTES:
            raise LakeError(
                f"{file.path} in {location.url} has {file.bytes} bytes, too many for the engine "
                f"spark, which reads files of up to {MAX_PACKED_BYTES}: use the engine duckdb."
            )
    if not files:
        return {}
    paths = {}
    for row in read_packed(session, location, list(files)).collect():
        key = location.key(row[_PATH])
        if key in files:
            check_digest(files[key], location.url, row.length, row.sha)
            paths[key] = row[_PATH]
    if missing := files.keys() - paths.keys():
        raise LakeError(f"Spark finds no object {min(missing)} in {location.url}.")
    return paths


def verify_lines(
    session: SparkSession, location: Location, batches: Iterable[TableBatch]
) -> dict[str, str]:
    """Check the content of ingestion files against their manifests; return paths as above.

    Raises LakeError for the first that differs.
    """
    of_table = {file.path: table for table in batches for file in table.files}
    files = {file.path: file for table in of_table.values() for file in table.files}
    paths = verify_packed(session, location, files)
    if not files:
        return paths
    needed = [
        (paths[key], _names(table, table.columns), _names(table, table.key))
        for key, table in of_table.items()
    ]
    schema = f"{_PATH} string, of_upsert array<string>, of_delete array<string>"
    value, is_delete = f.col("value"), f.col("value").startswith(DELETE)
    names = f.when(is_delete, f.col("of_delete")).otherwise(f.col("of_upsert"))
    counted = (
        _read_text(session, location, files)
        .join(small_table(session, needed, schema), _PATH)
        .groupBy(_PATH)
        .agg(
            f.count(value).alias("lines"),
            f.count_if(value.startswith(UPSERT)).alias("upserts"),
            f.count_if(is_delete).alias("deletes"),
            f.sum(f.octet_length(value) + f.lit(1)).alias("size_bytes"),
            f.max(f.octet_length(value)).alias("longest_bytes"),
            f.count_if(~f.is_valid_utf8(value) | ~value.rlike(_LINE)).alias("invalid"),
            # Of one line for each file, because it takes long.
            f.first(f.size(f.array_except(names, f.json_object_keys(value)))).alias("missing"),
        )
    )
    found = {location.key(row[_PATH]): row for row in counted.collect()}
    for key, file in files.items():
        with convert_mismatch(file, location.url):
            row = found.get(key)
            if row is None:
                raise ContentMismatch("it has no lines")
            check_counts(file, row.size_bytes, row.lines, row.upserts, row.deletes)
            if row.longest_bytes >= MAX_LINE_BYTES:
                raise ContentMismatch(f"it has a line of more than {MAX_LINE_BYTES} bytes")
            if row.invalid:
                raise ContentMismatch(f"{row.invalid} of its lines are no JSON object in UTF-8")
            if row.missing != 0:  # NULL if the line is not JSON
                raise ContentMismatch("its rows lack columns")
    return paths


def _names(table: TableBatch, columns: Sequence[str]) -> list[str]:
    return [*columns, *((AT, SEQUENCE) if table.of_log else ())]


def _read_text(session: SparkSession, location: Location, keys: Iterable[str]) -> DataFrame:
    reader = session.read.option("recursiveFileLookup", value=True).option("lineSep", "\n")
    text = reader.text([location.pattern(key) for key in keys])
    return text.select("value", f.col("_metadata.file_path").alias(_PATH))


@dataclass(frozen=True)
class TableLines:
    """The verified lines of a source table in some batches.

    `paths` are what Spark calls its files, by key. `buckets` are the numbers of parts into which
    the rows of a batch are divided, if they have to be.
    """

    session: SparkSession
    location: Location
    batches: tuple[TableBatch, ...]
    paths: Mapping[str, str]
    buckets: Mapping[int, int]

    def only(self, batches: Collection[int]) -> "TableLines":
        """Return the lines of these batches."""
        chosen = tuple(table for table in self.batches if table.batch in batches)
        return TableLines(self.session, self.location, chosen, self.paths, self.buckets)

    @property
    def has_log(self) -> bool:
        """Whether the table was read from the log in one of the batches."""
        return any(table.of_log for table in self.batches)

    @property
    def has_deletes(self) -> bool:
        """Whether there is a deletion in one of the batches."""
        return any(file.deletes for table in self.batches for file in table.files)

    def spread(self, rows: DataFrame, key: Sequence[str]) -> DataFrame:
        """Distribute rows by BATCH and `key`, so that each batch has as many files as buckets."""
        known = small_table(self.session, self.buckets.items(), f"{BATCH} bigint, buckets bigint")
        bucket = f.pmod(f.xxhash64(*(rows[_quote(name)] for name in key)), known["buckets"])
        spread = rows.join(known, BATCH).repartition(BATCH, bucket)
        return spread.drop(known["buckets"])

    def changed(self, columns: Sequence[str]) -> DataFrame:
        """Return the rows that each batch inserted or updated, as they are after it."""
        return self._upserts(columns, "is_newest", [])

    def versions(self, columns: Sequence[str]) -> DataFrame:
        """Return all versions that each batch has, with their moments `_at`."""
        return self._upserts(columns, "is_version", [AT])

    def removed(self, columns: Sequence[str]) -> DataFrame:
        """Return the last versions of the rows that each batch wrote and then deleted."""
        parts = [lines.where("is_removed") for lines in self._logged(columns)]
        return _union(parts, *_named(columns), f.expr(_FLAG), BATCH)

    def deleted(self, names: Mapping[str, str], *, each: bool) -> DataFrame:
        """Return deleted keys, under other `names`, with the moments `_at` of their deletion.

        each: every deletion with the time of its commit, and not only keys that are deleted after
            the batch, with its capture time.
        """
        kind, moment = ("is_version", AT) if each else ("is_newest", "captured_at")
        logged = [
            lines.where(f"not is_upsert and {kind}").withColumn(AT, f.col(moment))
            for lines in self._logged([*names])
        ]
        selected = [_column(name).alias(alias) for name, alias in names.items()]
        return _union([*self._scanned([*names], is_delete=True), *logged], *selected, AT, BATCH)

    def _upserts(self, columns: Sequence[str], kind: str, own: Sequence[str]) -> DataFrame:
        parts = self._scanned(columns, is_delete=False)
        parts += [lines.where(f"is_upsert and {kind}") for lines in self._logged(columns)]
        if not parts:  # the batches have only deletions
            deletes = self._scanned(columns, is_delete=True)
            parts = [lines.where(f.lit(False)) for lines in deletes]  # noqa: FBT003
        return _union(parts, *_named(columns), f.expr(_FLAG), *own, BATCH)

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
        of_log = [table for table in self.batches if table.of_log]
        if not of_log:
            return counts
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
        counted = (
            _union(self._logged([]))
            .groupBy(BATCH)
            .agg(*(f.expr(f"count_if({sql})").alias(name) for name, sql in conditions.items()))
        )
        for row in counted.collect():
            values = row.asDict()
            batch = values.pop(BATCH)
            if invalid := values.pop("invalid"):
                raise LakeError(
                    f"{invalid} lines of table {of_log[0].name} in batch {batch} of "
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
        is_chosen = f.col(OPERATION) == ("delete" if is_delete else "upsert")
        return [
            lines.where(is_chosen).withColumn(AT, f.col("captured_at"))
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
            self._ordered(lines, key, columns)
            for key, files in by_key.items()
            for lines in [_union(self._read(files, [*columns, *key], of_log=True))]
        ]

    def _ordered(self, lines: DataFrame, key: tuple[str, ...], columns: Sequence[str]) -> DataFrame:
        keys = [_column(name) for name in key]
        # One exchange serves the windows and the files that are written.
        lines = (
            lines.withColumn(_BUCKET, f.pmod(f.xxhash64(*keys), f.col("buckets")))
            .repartition(BATCH, _BUCKET)
            .withColumn("is_upsert", f.col(OPERATION) == "upsert")
        )
        of_key = Window.partitionBy(BATCH, _BUCKET, *keys)
        in_order = of_key.orderBy(AT, SEQUENCE)
        lines = (
            lines.withColumn("next_at", f.lead(AT).over(in_order))
            .withColumn("next_seq", f.lead(SEQUENCE).over(in_order))
            .withColumn("is_newest", f.col("next_seq").isNull() & f.col("next_at").isNull())
            .withColumn("is_version", ~f.equal_null(f.col("next_at"), f.col(AT)))
        )
        version_at = f.when(f.col("is_version") & f.col("is_upsert"), f.col(AT))
        is_deleted = f.bool_or(f.col("is_newest") & ~f.col("is_upsert")).over(of_key)
        is_last = f.equal_null(version_at, f.max(version_at).over(of_key)) & version_at.isNotNull()
        lines = lines.withColumn("is_removed", is_last & is_deleted)
        own = ["captured_at", "after", BATCH, AT, SEQUENCE, "is_upsert", "next_at", "next_seq"]
        kinds = ["is_version", "is_newest", "is_removed"]
        return lines.select(*map(_column, columns), *own, *kinds)

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
        own = [OPERATION, *((AT, SEQUENCE) if of_log else ())]
        values = [f.col(OPERATION)]
        if of_log:
            values += [f.expr(f"try_cast({AT} as timestamp) as {AT}")]
            values += [f.expr(f"try_cast({SEQUENCE} as bigint) as {SEQUENCE}")]
        parts = []
        for kind, text_of in ((t.StringType(), f.col), (t.VariantType(), _marked)):
            keys = [
                file.path
                for _, file in files
                if bool(file.unreadable) == isinstance(kind, t.VariantType)
            ]
            if keys:
                fields = [t.StructField(name, t.StringType()) for name in own]
                fields += [t.StructField(name, kind) for name in columns]
                texts = [_shortened(text_of(_quote(name))).alias(_inner(name)) for name in columns]
                lines = self._read_json(keys, t.StructType(fields))
                path = lines.metadataColumn("_metadata")["file_path"].alias(_PATH)
                parts.append(self._with_batch(lines.select(*values, *texts, path), files))
        return parts

    def _read_json(self, keys: Sequence[str], schema: t.StructType) -> DataFrame:
        options = {
            "mode": "FAILFAST",
            "columnNameOfCorruptRecord": _CORRUPT_RECORD,
            "allowSingleQuotes": "false",
            "allowNonNumericNumbers": "false",
            "lineSep": "\n",
            "maxStringLen": str((1 << 31) - 1),
            "recursiveFileLookup": "true",
        }
        paths = [self.location.pattern(key) for key in keys]
        return self.session.read.schema(schema).options(**options).json(paths)

    def _with_batch(self, lines: DataFrame, files: Sequence[tuple[TableBatch, File]]) -> DataFrame:
        known = [
            (
                self.paths[file.path],
                table.batch,
                microseconds(table.captured_at),
                microseconds(table.after),
                self.buckets.get(table.batch, 1),
            )
            for table, file in files
        ]
        schema = ", ".join([f"{_PATH} string", *(f"{name} bigint" for name in _OF_BATCH)])
        of_path = small_table(self.session, known, schema)
        for name in ("captured_at", "after"):
            of_path = of_path.withColumn(name, f.timestamp_micros(name))
        return lines.join(of_path, _PATH).drop(_PATH)


def _quote(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def _inner(name: str) -> str:
    """Return what a source column is called in this module, where no other name has a blank."""
    return f"column {name}"


def _column(name: str) -> Column:
    return f.col(_quote(_inner(name)))


def _named(names: Iterable[str]) -> list[Column]:
    """Return source columns under their own names."""
    return [_column(name).alias(name) for name in names]


def _union(parts: Iterable[DataFrame], *columns: Column | str) -> DataFrame:
    """Return these columns of all parts."""
    return reduce(DataFrame.unionByName, (part.select(*(columns or ["*"])) for part in parts))


def _marked(column: str) -> Column:
    """Return the text of a JSON value; an unreadable value is marked, as in `star.relation`."""
    field = f"variant_get({column}, '$.{UNREADABLE_FIELD}', 'string')"
    in_hex = f"coalesce(variant_get({column}, '$.hex', 'string'), '')"
    is_object = f"schema_of_variant({column}) like 'OBJECT<%'"
    marked = f.concat(f.lit(_MARK), f.expr(in_hex), f.lit(_MARK), f.expr(field))
    return f.when(f.expr(is_object), marked).otherwise(f.expr(f"cast({column} as string)"))


def _shortened(text: Column) -> Column:
    """Return a text; one that is too long is cut and gets its SHA-256, as in `star.long_lines`."""
    content = text.cast("binary")
    ends = range(MAX_TEXT_BYTES, MAX_TEXT_BYTES - _LONGEST_CHARACTER_BYTES, -1)
    cuts = (f.substring(content, 1, end).cast("string") for end in ends)
    beginning = f.coalesce(*map(f.try_validate_utf8, cuts))
    before, after = LONG_TEXT_SUFFIX.split("{}")
    cut = f.concat(beginning, f.lit(before), f.sha2(text, 256), f.lit(after))
    return f.when(f.octet_length(text) > f.lit(MAX_TEXT_BYTES), cut).otherwise(text)
