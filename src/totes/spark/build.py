"""The rows of a model in many batches: computed, stored as Parquet, listed, counted and digested.

Executors write into a folder of their attempt that nothing else uses. What is in it is then read
back: the store's listing, the content of the files and the number of source rows have to agree.
"""

import re
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from urllib.parse import unquote

from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from totes.errors import LakeError, ModelError
from totes.failpoint import reach
from totes.lake.line import AT, OPERATION
from totes.lake.manifest import File, StarFile, table_folder
from totes.lake.store import Store
from totes.spark.lines import (
    LineCounts,
    Location,
    TableLines,
    microseconds,
    read_packed,
    small_table,
    verify_packed,
)
from totes.stages.transform import ComputedRows
from totes.star import quarantine
from totes.star.contract import FIRST_YEAR, LAST_YEAR, StarTable
from totes.star.dialect import BATCH, to_spark
from totes.star.lineage import CALENDAR, ISO_CURRENCY, returns_each_row
from totes.star.models import Model
from totes.star.supplied import currency_names

BATCH_FOLDER = "totes_batch"
"""The key of the partition folders of an attempt."""

FILE_BYTES = 64 << 20
"""About how large files are, which tasks hold in memory; larger with more than MAX_FILES."""

MAX_FILES = 1000

_ROWS, _DELETED, _CHECKED = "totes_rows", "totes_deleted", "totes_checked"

_FIRST = "first:batch"
"""No column of a star table has a colon in its name."""

_KEY = re.compile(rf".*/{BATCH_FOLDER}=(\d+)/[^/]+\.parquet")

_UNREADABLE_FILE = re.compile(r"\[FAILED_READ_FILE.*? reading file (\S+?)\.?(\s|$)")
"""Spark's message about a file, which names it."""

_WRITING = {
    "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    # Without it, a local folder gets a file of checksums beside each file.
    "fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    "fs.file.impl.disable.cache": "true",
}


@dataclass(frozen=True)
class Attempt:
    """What all models of one run share: the session, where they write, and the batches' moments.

    `name` is unique. `captured_at` are the capture times of all pending batches.
    """

    session: SparkSession
    store: Store
    generation: int
    name: str
    captured_at: Mapping[int, datetime]

    @cached_property
    def location(self) -> Location:
        """Where Spark finds the processed store."""
        return Location(self.store.url)

    def moments(self, batches: Collection[int]) -> DataFrame:
        """Return BATCH and `_at`, its capture time."""
        rows = [(batch, microseconds(self.captured_at[batch])) for batch in batches]
        table = small_table(self.session, rows, f"{BATCH} bigint, {AT} bigint")
        return table.withColumn(AT, f.timestamp_micros(AT))

    def folder(self, star: StarTable, prefix: str = "") -> str:
        """Return the prefix of the files with this attempt's rows of a star table."""
        return f"generation={self.generation}/{prefix}{table_folder(star.name)}/{self.name}"

    def read_rows(self, star: StarTable, batches: Collection[int]) -> DataFrame:
        """Return the rows of a star table that this attempt has stored for some batches."""
        folder = self.folder(star)
        if next(self.store.list(folder), None) is None:
            empty = to_spark(star.empty_query)
            return self.session.sql(f"select *, '' as {OPERATION}, 0 as {BATCH} from ({empty})")
        rows = self.session.read.parquet(self.location.pattern(folder))
        numbers = [str(batch) for batch in batches]
        rows = rows.where(f.col(BATCH_FOLDER).isin(numbers))
        return rows.withColumn(BATCH, f.col(BATCH_FOLDER).cast("bigint")).drop(BATCH_FOLDER)

    def define(self, name: str, rows: DataFrame) -> None:
        """Define a relation that SQL reads."""
        rows.createOrReplaceTempView(f"`{name.replace('`', '``')}`")

    def define_supplied(self, names: Collection[str]) -> None:
        """Define the relations that are no source tables."""
        if CALENDAR in names:
            days = f"sequence(date '{FIRST_YEAR}-01-01', date '{LAST_YEAR}-12-31')"
            self.define(CALENDAR, self.session.sql(f"select explode({days}) as day"))
        if ISO_CURRENCY in names:
            rows = [*currency_names().items()]
            codes = small_table(self.session, rows, "code string, name string")
            self.define(ISO_CURRENCY, codes)


def attempt_name() -> str:
    """Return a new name for the folders of an attempt."""
    return f"spark-{secrets.token_hex(4)}"


def compute_model(attempt: Attempt, model: Model, lines: TableLines) -> dict[int, ComputedRows]:
    """Store the rows of a model that reads one source table; return its files of each batch."""
    star, batches = model.star, [table.batch for table in lines.batches]
    counts = lines.count()
    expected = (
        {batch: _expected_rows(model, counts[batch]) for batch in batches}
        if returns_each_row(model.sql)
        else None
    )
    checked = _check(attempt, star, *_model_rows(attempt, model, lines, spread=expected is None))
    accepted = _write(attempt, star, _accepted(attempt, star, checked))
    if expected is not None:  # usually nothing is rejected, and its lines need not be read again
        batches = [batch for batch in batches if _rows(accepted, batch) != expected[batch]]
    rejected: dict[int, tuple[StarFile, ...]] = {}
    if batches:
        some = lines.only(batches)
        checked = _check(attempt, star, *_model_rows(attempt, model, some, spread=expected is None))
        rejected = _write(attempt, star, _rejected(attempt, star, checked), "quarantine/")
    for batch, number in (expected or {}).items():
        if (made := _rows(accepted, batch) + _rows(rejected, batch)) != number:
            raise LakeError(
                f"Spark made {made} rows of {model.name} from the {number} rows of batch {batch} "
                f"in {lines.location.url}: run it again, and report it if it fails again."
            )
    return {
        table.batch: ComputedRows(accepted.get(table.batch, ()), rejected.get(table.batch, ()))
        for table in lines.batches
    }


def compute_dependent(
    attempt: Attempt,
    model: Model,
    inputs: Collection[StarTable],
    batches: Collection[int],
    earlier: Collection[File],
) -> dict[int, ComputedRows]:
    """Store the rows of a model that reads star tables; return its files of each batch.

    inputs: the tables that it reads, whose rows in these batches this attempt has stored.
    earlier: all files that the model's own table has before these batches.
    """
    session, columns = attempt.session, [column.name for column in model.star.columns]
    # Between runs of batches that Spark computes may be some that are left to DuckDB.
    own = replace(attempt, name=attempt_name())
    attempt.define_supplied(model.lineage.supplied)
    for star in inputs:
        attempt.define(star.name, attempt.read_rows(star, batches).where("_op = 'upsert'"))
    rows = session.sql(to_spark(model.sql, batched=model.lineage.stars)).select(*columns, BATCH)
    rows = rows.distinct().repartition(BATCH).join(attempt.moments(batches), BATCH)
    # A row counts in the first batch that has it.
    texts = [f.col(column).cast("string").alias(column) for column in columns]
    with _cached(_check(attempt, model.star, rows)) as checked:
        known = _accepted(attempt, model.star, checked).select(*texts, BATCH)
        if earlier:
            verify_packed(session, attempt.location, {file.path: file for file in earlier})
            paths = [attempt.location.pattern(file.path) for file in earlier]
            stored = session.read.option("recursiveFileLookup", value=True).parquet(*paths)
            known = known.unionByName(stored.select(*texts, f.lit(0).alias(BATCH)))
        first = known.groupBy(*columns).agg(f.min(BATCH).alias(_FIRST))
        pairs = [f.equal_null(f.col(f"r.{column}"), f.col(f"k.{column}")) for column in columns]
        new = (
            checked.alias("r")
            .join(first.alias("k"), pairs, "left")
            .where(f.col(_FIRST).isNull() | (f.col(_FIRST) >= f.col(f"r.{BATCH}")))
            .select("r.*")
        )
        accepted = _write(own, model.star, _accepted(attempt, model.star, new))
        rejected = _write(own, model.star, _rejected(attempt, model.star, new), "quarantine/")
    return {
        batch: ComputedRows(accepted.get(batch, ()), rejected.get(batch, ())) for batch in batches
    }


def _rows(files: Mapping[int, Collection[File]], batch: int) -> int:
    return sum(file.rows for file in files.get(batch, ()))


def _expected_rows(model: Model, counts: LineCounts) -> int:
    """Return how many rows a model has that returns each row of its table."""
    lineage = model.lineage
    rows = counts.versions if lineage.selects_at else counts.newest
    if lineage.key is not None:
        rows += counts.deletions if lineage.selects_at else counts.deleted
        rows += 0 if model.star.is_fact else counts.removed
    return rows


def _model_rows(
    attempt: Attempt, model: Model, lines: TableLines, *, spread: bool
) -> tuple[DataFrame, DataFrame | None]:
    """Return a model's rows and the deleted keys, as text with `_at` and BATCH.

    spread: distribute the rows, so that a batch has few files: the model may have mixed them.
    """
    [(table, columns)] = model.lineage.sources.items()
    key, each = model.lineage.key, model.lineage.selects_at
    attempt.define_supplied(model.lineage.supplied)
    names = [column.name for column in model.star.columns]
    sql = to_spark(model.sql, batched=[table])
    moments = attempt.moments([batch.batch for batch in lines.batches])

    def run(source: DataFrame) -> DataFrame:
        attempt.define(table, source)
        rows = attempt.session.sql(sql)
        _check_texts(model, rows)
        if each:
            return rows.select(*names, AT, BATCH)
        return rows.select(*names, BATCH).join(moments, BATCH).select(*names, AT, BATCH)

    rows = run(lines.versions(columns) if each else lines.changed(columns))
    if lines.has_log and key is not None and not model.star.is_fact:
        before = f.expr(f"{AT} - interval 1 microsecond")
        rows = rows.unionByName(run(lines.removed(columns)).withColumn(AT, before))
    if spread:
        rows = lines.spread(rows, model.star.key_names)
    if key is None or not lines.has_deletes:
        return rows, None
    aliases = dict(zip(key.columns, model.star.key_names, strict=True))
    return rows, lines.deleted(aliases, each=each)


def _check_texts(model: Model, rows: DataFrame) -> None:
    types = dict(rows.dtypes)
    for column in model.star.columns:
        if (kind := types.get(column.name)) not in {"string", "void"}:
            problem = f"returns {kind} in column" if kind else "has no column"
            raise ModelError(f"Model {model.name} {problem} {column.name}: return text.")


def _check(
    attempt: Attempt, star: StarTable, rows: DataFrame, deleted: DataFrame | None = None
) -> DataFrame:
    """Return what `quarantine.checked_rows` selects."""
    attempt.define(_ROWS, rows)
    if deleted is not None:
        attempt.define(_DELETED, deleted)
    deletes = None if deleted is None else f"select * from {_DELETED}"
    sql = quarantine.checked_rows(star, f"select * from {_ROWS}", deletes)
    checked = attempt.session.sql(to_spark(sql, batched=[_ROWS, _DELETED]))
    # Spark would evaluate the whole contract once more for each filter that it moves before it.
    return checked.where(f.spark_partition_id() >= f.lit(0))


def _accepted(attempt: Attempt, star: StarTable, checked: DataFrame) -> DataFrame:
    attempt.define(_CHECKED, checked)
    sql = quarantine.accepted_rows(star, f"select * from {_CHECKED}")
    return attempt.session.sql(to_spark(sql, batched=[_CHECKED]))


def _rejected(attempt: Attempt, star: StarTable, checked: DataFrame) -> DataFrame:
    attempt.define(_CHECKED, checked)
    sql = quarantine.rejected_rows(star, f"select * from {_CHECKED}")
    return attempt.session.sql(to_spark(sql, batched=[_CHECKED]))


@contextmanager
def _cached(rows: DataFrame) -> Iterator[DataFrame]:
    """Keep rows on the executors until the end of the block."""
    try:
        yield rows.persist()
    finally:
        rows.unpersist()


def _write(
    attempt: Attempt, star: StarTable, checked: DataFrame, prefix: str = ""
) -> dict[int, tuple[StarFile, ...]]:
    """Store checked rows of a star table; return the files by batch."""
    folder = attempt.folder(star, prefix)
    reach("spark.before-rows")
    writer = checked.withColumnRenamed(BATCH, BATCH_FOLDER).write.options(**_WRITING)
    writer.partitionBy(BATCH_FOLDER).parquet(attempt.location.path(folder))
    reach("spark.rows-written")
    files = _describe(attempt, star.name, folder, has_deletes=not prefix)
    for file in files:
        attempt.store.secure(file.path)
    reach("spark.rows-stored")
    by_batch: dict[int, tuple[StarFile, ...]] = {}
    for file in files:
        found = _KEY.fullmatch(file.path)
        batch = int(found[1]) if found else 0
        if batch not in attempt.captured_at:
            raise LakeError(f"{file.path} in {attempt.store.url} is of no pending batch.")
        by_batch[batch] = (*by_batch.get(batch, ()), file)
    return by_batch


def _describe(attempt: Attempt, table: str, folder: str, *, has_deletes: bool) -> list[StarFile]:
    """Read back what executors have written; LakeError if listing and content do not agree."""
    # A task that was killed late leaves files there, which Spark's readers skip.
    listed = [key for key in attempt.store.list(folder) if "/_temporary/" not in key]
    if not listed:
        return []
    session, location = attempt.session, attempt.location
    reader = session.read.option("recursiveFileLookup", value=True)
    is_delete = f"{OPERATION} = 'delete'" if has_deletes else "false"
    rows = reader.parquet(location.pattern(folder))
    counted = rows.groupBy(rows.metadataColumn("_metadata")["file_path"].alias("path")).agg(
        f.count(f.lit(1)).alias("rows"), f.expr(f"count_if({is_delete})").alias("deletes")
    )
    counts = {location.key(row[0]): row for row in counted.collect()}
    packed = {
        location.key(row[0]): row for row in read_packed(session, location, [folder]).collect()
    }
    if not set(listed) == counts.keys() == packed.keys():
        different = min(set(listed) ^ counts.keys() | set(listed) ^ packed.keys())
        raise LakeError(
            f"Spark and the store do not find the same files below {folder} in "
            f"{attempt.store.url}, such as {different}: check that executors use this store."
        )
    return [
        StarFile(
            table=table,
            path=key,
            rows=counts[key]["rows"],
            deletes=counts[key].deletes,
            bytes=packed[key].length,
            sha256=packed[key].sha,
        )
        for key in listed
    ]


@contextmanager
def convert_errors(failure: str) -> Iterator[None]:
    """Convert errors of Spark to a ModelError, or to a LakeError if a file can't be read."""
    try:
        yield
    except (PySparkException, Py4JError) as error:
        reasons = find_reasons(error)
        reason = reasons[-1].rstrip(".")
        if read := next(filter(None, map(_UNREADABLE_FILE.search, reasons)), None):
            raise LakeError(
                f"{failure}: {unquote(read[1])} is damaged: {reason}. Restore it from a backup."
            ) from error
        raise ModelError(f"{failure}: {reason}.") from error


def find_reasons(error: Exception) -> list[str]:
    """Return the first lines of the messages of an error and of its causes."""
    cause = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    reasons = [] if cause is not None else [str(error)]
    while cause is not None:
        reasons.append(str(cause.getMessage() or cause.toString()))
        cause = cause.getCause()
    return [reason.strip().partition("\n")[0] for reason in reasons]
