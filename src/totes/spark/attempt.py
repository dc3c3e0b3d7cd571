"""The files of one attempt to compute models on Spark: stored as Parquet, listed and read back.

Executors write into folders of their attempt that nothing else uses. What is in them is then read
back: the store's listing and the content of the files have to agree.
"""

import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Self

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from totes.errors import LakeError
from totes.failpoint import reach
from totes.lake.line import AT, IS_DELETE, OPERATION
from totes.lake.manifest import StarFile, table_folder
from totes.lake.store import Store
from totes.spark.files import PATH, Location, read_digests
from totes.spark.lines import microseconds, small_table
from totes.star.contract import FIRST_YEAR, LAST_YEAR, StarTable
from totes.star.dialect import BATCH, to_spark
from totes.star.lineage import CALENDAR, ISO_CURRENCY
from totes.star.supplied import currency_names

BATCH_FOLDER = "totes_batch"
"""The key of the partition folders of an attempt."""

QUARANTINE = "quarantine/"
"""The prefix of the folders with rejected rows."""

FilesOfBatches = Mapping[int, tuple[StarFile, ...]]
"""Files by the batch of their rows."""

_KEY = re.compile(rf".*/{BATCH_FOLDER}=(\d+)/[^/]+\.parquet")

_WRITING = {
    "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    # Without it, a local folder gets a file of checksums beside each file.
    "fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    "fs.file.impl.disable.cache": "true",
}


def new_attempt_name() -> str:
    """Return a new name for the folders of an attempt."""
    return f"spark-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Attempt:
    """What all models of one run share: the session, where they write, and the batches' moments.

    `captured_at` are the capture times of all pending batches. `name` is unique.
    """

    session: SparkSession
    store: Store
    generation: int
    captured_at: Mapping[int, datetime]
    name: str = field(default_factory=new_attempt_name)

    def renamed(self) -> Self:
        """Return an attempt like this one that writes into folders of its own."""
        return replace(self, name=new_attempt_name())

    @cached_property
    def location(self) -> Location:
        """Where Spark finds the processed store."""
        return Location(self.store.url)

    def moments(self, batches: Collection[int]) -> DataFrame:
        """Return BATCH and `_at`, its capture time."""
        rows = [(batch, microseconds(self.captured_at[batch])) for batch in batches]
        table = small_table(self.session, rows, f"{BATCH} bigint, {AT} bigint")
        return table.withColumn(AT, f.timestamp_micros(AT))

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

    def read_rows(self, star: StarTable, batches: Collection[int]) -> DataFrame:
        """Return the rows of a star table that this attempt has stored for some batches."""
        folder = self._folder(star)
        if next(self.store.list(folder), None) is None:
            empty = to_spark(star.empty_query)
            return self.session.sql(f"select *, '' as {OPERATION}, 0 as {BATCH} from ({empty})")
        rows = self.session.read.parquet(self.location.pattern(folder))
        numbers = [str(batch) for batch in batches]
        rows = rows.where(f.col(BATCH_FOLDER).isin(numbers))
        return rows.withColumn(BATCH, f.col(BATCH_FOLDER).cast("bigint")).drop(BATCH_FOLDER)

    def write(self, star: StarTable, rows: DataFrame, prefix: str = "") -> FilesOfBatches:
        """Store accepted rows of a star table, or with prefix QUARANTINE rejected ones.

        Raises LakeError if the store does not have what the executors have written.
        """
        folder = self._folder(star, prefix)
        reach("spark.before-rows")
        writer = rows.withColumnRenamed(BATCH, BATCH_FOLDER).write.options(**_WRITING)
        writer.partitionBy(BATCH_FOLDER).parquet(self.location.path(folder))
        reach("spark.rows-written")
        files = self._describe(star, folder, has_deletes=not prefix)
        for file in files:
            self.store.secure(file.path)
        reach("spark.rows-stored")
        by_batch: dict[int, tuple[StarFile, ...]] = {}
        for file in files:
            found = _KEY.fullmatch(file.path)
            batch = int(found[1]) if found else 0
            if batch not in self.captured_at:
                raise LakeError(f"{file.path} in {self.store.url} is of no pending batch.")
            by_batch[batch] = (*by_batch.get(batch, ()), file)
        return by_batch

    def _folder(self, star: StarTable, prefix: str = "") -> str:
        return f"generation={self.generation}/{prefix}{table_folder(star.name)}/{self.name}"

    def _describe(self, star: StarTable, folder: str, *, has_deletes: bool) -> list[StarFile]:
        """Read back what executors have written; LakeError if listing and content do not agree."""
        # A task that was killed late leaves files there, which Spark's readers skip.
        listed = [key for key in self.store.list(folder) if "/_temporary/" not in key]
        if not listed:
            return []
        is_delete = IS_DELETE if has_deletes else "false"
        reader = self.session.read.option("recursiveFileLookup", value=True)
        rows = reader.parquet(self.location.pattern(folder))
        counted = rows.groupBy(rows.metadataColumn("_metadata")["file_path"].alias(PATH)).agg(
            f.count(f.lit(1)).alias("rows"), f.expr(f"count_if({is_delete})").alias("deletes")
        )
        digests = read_digests(self.session, self.location, [folder])
        found = counted.unionByName(digests, allowMissingColumns=True).collect()
        counts, contents = (
            {self.location.key(row[PATH]): row for row in found if (row.sha is None) is is_count}
            for is_count in (True, False)
        )
        if not set(listed) == counts.keys() == contents.keys():
            different = min(set(listed) ^ counts.keys() | set(listed) ^ contents.keys())
            raise LakeError(
                f"Spark and the store do not find the same files below {folder} in "
                f"{self.store.url}, such as {different}: check that executors use this store."
            )
        return [
            StarFile(
                table=star.name,
                path=key,
                rows=counts[key]["rows"],
                deletes=counts[key].deletes,
                bytes=contents[key].length,
                sha256=contents[key].sha,
            )
            for key in listed
        ]
