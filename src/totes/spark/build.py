"""The rows of a model in many batches: computed, checked against the contract, and stored.

As many rows must come out as the lines of the batches hold, where the model returns each of them.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as f

from totes.errors import LakeError, ModelError
from totes.lake.line import AT, IS_UPSERT
from totes.lake.manifest import File
from totes.spark.attempt import QUARANTINE, Attempt, FilesOfBatches
from totes.spark.files import verify_files
from totes.spark.lines import LineCounts, TableBatch, TableLines
from totes.stages.transform import ComputedRows
from totes.star import quarantine
from totes.star.contract import StarTable
from totes.star.dialect import BATCH, to_spark
from totes.star.lineage import returns_each_row
from totes.star.models import Model

FILE_BYTES = 64 << 20
"""About how large files are, which tasks hold in memory; larger with more than MAX_FILES."""

MAX_FILES = 1000

_ROWS, _DELETED, _CHECKED = "totes_rows", "totes_deleted", "totes_checked"

_FIRST = "first:batch"
"""No column of a star table has a colon in its name."""


@dataclass(frozen=True)
class Division:
    """How the rows of a table are divided into files.

    part_bytes: how many bytes of its ingestion files make about one file.
    buckets: the number of files of each batch.
    tasks: how many tasks write them.
    """

    part_bytes: int
    buckets: Mapping[int, int]
    tasks: int


def find_division(tables: Collection[TableBatch]) -> Division:
    """Return how the rows of a table in some batches are divided."""
    part_bytes = {
        table.batch: max(FILE_BYTES, table.size_bytes // MAX_FILES + 1) for table in tables
    }
    buckets = {table.batch: table.size_bytes // part_bytes[table.batch] + 1 for table in tables}
    return Division(max(part_bytes.values()), buckets, sum(buckets.values()) - len(buckets) + 1)


def compute_model(attempt: Attempt, model: Model, lines: TableLines) -> dict[int, ComputedRows]:
    """Store the rows of a model that reads one source table; return its files of each batch.

    Raises ModelError if a column is missing or is not text, and LakeError if rows were lost.
    """
    batches, counts = [table.batch for table in lines.batches], lines.count()
    is_counted = returns_each_row(model.sql)
    expected = {batch: _expected_rows(model, counts[batch]) for batch in batches if is_counted}
    checked = _check(attempt, model.star, *_model_rows(attempt, model, lines))
    accepted = attempt.write(model.star, _accepted(attempt, model.star, checked))
    # Usually nothing is rejected, and the lines need not be read again.
    incomplete = [batch for batch in batches if _count(accepted, batch) != expected.get(batch)]
    rejected: FilesOfBatches = {}
    if incomplete:
        rows = _model_rows(attempt, model, lines.only(incomplete))
        checked = _check(attempt, model.star, *rows)
        rejected = attempt.write(model.star, _rejected(attempt, model.star, checked), QUARANTINE)
    for batch, number in expected.items():
        if (made := _count(accepted, batch) + _count(rejected, batch)) != number:
            raise LakeError(
                f"Spark made {made} rows of {model.name} from the {number} rows of batch {batch} "
                f"in {lines.location.url}: run it again, and report it if it fails again."
            )
    return _computed(batches, accepted, rejected)


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
    star = model.star
    attempt.define_supplied(model.lineage.supplied)
    for table in inputs:
        attempt.define(table.name, attempt.read_rows(table, batches).where(IS_UPSERT))
    rows = attempt.session.sql(to_spark(model.sql, batched=model.lineage.stars))
    rows = rows.select(*_names(star), BATCH).distinct().repartition(BATCH)
    rows = rows.join(attempt.moments(batches), BATCH)
    with _cached(_check(attempt, star, rows)) as checked:
        new = _without_repeated(attempt, star, checked, earlier)
        # A run of batches has folders of its own: DuckDB may compute some between two of them.
        own = attempt.renamed()
        accepted = own.write(star, _accepted(attempt, star, new))
        rejected: FilesOfBatches = {}
        if not checked.where("_rejected_column is not null").isEmpty():
            rejected = own.write(star, _rejected(attempt, star, new), QUARANTINE)
    return _computed(batches, accepted, rejected)


def _computed(
    batches: Collection[int], accepted: FilesOfBatches, rejected: FilesOfBatches
) -> dict[int, ComputedRows]:
    return {
        batch: ComputedRows(accepted.get(batch, ()), rejected.get(batch, ())) for batch in batches
    }


def _count(files: Mapping[int, Collection[File]], batch: int) -> int:
    return sum(file.rows for file in files.get(batch, ()))


def _expected_rows(model: Model, counts: LineCounts) -> int:
    """Return how many rows a model has that returns each row of its table."""
    lineage = model.lineage
    rows = counts.versions if lineage.selects_at else counts.newest
    if lineage.key is not None:
        rows += counts.deletions if lineage.selects_at else counts.deleted
        rows += 0 if model.star.is_fact else counts.removed
    return rows


def _names(star: StarTable) -> list[str]:
    return [column.name for column in star.columns]


def _model_rows(
    attempt: Attempt, model: Model, lines: TableLines
) -> tuple[DataFrame, DataFrame | None]:
    """Return a model's rows and the deleted keys, as text with `_at` and BATCH."""
    [(table, columns)] = model.lineage.sources.items()
    key, all_versions = model.lineage.key, model.lineage.selects_at
    attempt.define_supplied(model.lineage.supplied)
    sql = to_spark(model.sql, batched=[table])
    moments = attempt.moments([batch.batch for batch in lines.batches])

    def run(source: DataFrame) -> DataFrame:
        attempt.define(table, source)
        rows = attempt.session.sql(sql)
        _check_texts(model, rows)
        rows = rows if all_versions else rows.join(moments, BATCH)
        return rows.select(*_names(model.star), AT, BATCH)

    rows = run(lines.versions(columns) if all_versions else lines.changed(columns))
    if lines.has_log and key is not None and not model.star.is_fact:
        before = f.expr(f"{AT} - interval 1 microsecond")
        rows = rows.unionByName(run(lines.removed(columns)).withColumn(AT, before))
    if not returns_each_row(model.sql):  # it may have mixed the rows of batches
        rows = lines.divide(rows, model.star.key_names)
    if key is None or not lines.has_deletes:
        return rows, None
    aliases = dict(zip(key.columns, model.star.key_names, strict=True))
    return rows, lines.deleted(aliases, all_versions=all_versions)


def _check_texts(model: Model, rows: DataFrame) -> None:
    types = dict(rows.dtypes)
    for column in model.star.columns:
        if (type_ := types.get(column.name)) not in {"string", "void"}:
            problem = f"returns {type_} in column" if type_ else "has no column"
            raise ModelError(f"Model {model.name} {problem} {column.name}: return text.")


def _without_repeated(
    attempt: Attempt, star: StarTable, checked: DataFrame, earlier: Collection[File]
) -> DataFrame:
    """Return the rows that neither an earlier file nor an earlier batch has."""
    texts = [f.col(name).cast("string").alias(name) for name in _names(star)]
    known = _accepted(attempt, star, checked).select(*texts, BATCH)
    if earlier:
        verify_files(attempt.session, attempt.location, {file.path: file for file in earlier})
        paths = [attempt.location.pattern(file.path) for file in earlier]
        reader = attempt.session.read.option("recursiveFileLookup", value=True)
        known = known.unionByName(reader.parquet(*paths).select(*texts, f.lit(0).alias(BATCH)))
    first = known.groupBy(*_names(star)).agg(f.min(BATCH).alias(_FIRST))
    same = [f.equal_null(f.col(f"r.{name}"), f.col(f"k.{name}")) for name in _names(star)]
    is_first = f.col(_FIRST).isNull() | (f.col(_FIRST) >= f.col(f"r.{BATCH}"))
    return checked.alias("r").join(first.alias("k"), same, "left").where(is_first).select("r.*")


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
