"""Which models and batches go to Spark, and how their rows come back to the driver's loop.

docs/scale.md (Engines) says which models Spark computes, and why their rows are those of DuckDB.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import count, takewhile
from typing import override

from totes.lake.manifest import File
from totes.lake.store import Store
from totes.progress import Progress
from totes.spark.attempt import Attempt
from totes.spark.build import compute_dependent, compute_model, find_division
from totes.spark.errors import convert_errors
from totes.spark.files import Location
from totes.spark.lines import TableBatch, TableLines
from totes.spark.session import check_readable, open_session
from totes.spark.verify import verify_lines
from totes.stages.transform import Cluster, ComputedBatches, ComputedRows, PlannedBatch
from totes.star.lineage import returns_each_row
from totes.star.models import Model, Models


@dataclass(frozen=True)
class SparkCluster(Cluster):
    """Spark at `master`, which computes batches whose ingestion files have `min_bytes`."""

    master: str
    min_bytes: int = 0

    @contextmanager
    @override
    def compute(
        self,
        stores: tuple[Store, Store],
        generation: int,
        models: Models,
        pending: Iterator[PlannedBatch],
        progress: Progress,
    ) -> Iterator[ComputedBatches]:
        """Compute the rows of pending batches; Spark is not started if none is large enough."""
        plan = _Plan(models, self.min_bytes)
        for batch in pending:
            plan.add(batch)
        if not plan.tables:
            yield _SparkBatches(plan, None, progress)
            return
        ingestion, processed = stores
        with open_session(self.master) as session:
            for store in stores:
                check_readable(session, Location(store.url).root)
            attempt = Attempt(session, processed, generation, plan.captured_at)
            batches = _SparkBatches(plan, attempt, progress)
            batches.compute(Location(ingestion.url), attempt)
            yield batches


def _reads_one_table(model: Model, models: Models) -> bool:
    """Return whether a model's rows of a batch depend on nothing but its lines of one table.

    Of a table that some model joins, a model gets all current rows: it has to filter them.
    """
    sources = model.lineage.sources.keys()
    if model.lineage.stars or len(sources) != 1:
        return False
    return not sources & models.joined_tables or returns_each_row(model.sql)


@dataclass
class _Plan:
    """What Spark computes; of the manifests, only the entries of its files are kept."""

    models: Models
    min_bytes: int
    captured_at: dict[int, datetime] = field(default_factory=dict)
    tables: dict[str, list[TableBatch]] = field(default_factory=dict)
    batches: dict[str, set[int]] = field(default_factory=dict)
    """The batches of each model that reads one table."""
    for_duckdb: dict[int, set[str]] = field(default_factory=dict)
    """By batch, the models whose rows DuckDB may compute, if there are any."""

    def add(self, planned: PlannedBatch) -> None:
        """Add a pending batch."""
        source, number = planned.source, planned.source.batch
        self.captured_at[number] = source.captured_at
        size_bytes = sum(file.bytes for table in source.tables for file in table.files)
        chosen = {
            model.name: [*model.lineage.sources]
            for model in planned.models
            if size_bytes >= self.min_bytes and _reads_one_table(model, self.models)
        }
        read = {table for tables in chosen.values() for table in tables}
        for table in source.tables:
            if table.name in read:
                names = tuple(column.name for column in table.columns)
                lines = TableBatch(
                    number,
                    source.captured_at,
                    planned.after,
                    table.name,
                    names,
                    table.key,
                    table.of_log,
                    table.files,
                )
                self.tables.setdefault(table.name, []).append(lines)
        for name in chosen:
            self.batches.setdefault(name, set()).add(number)
        others = {model.name for model in planned.models} | planned.others
        if source.released:
            others |= {model.name for model in self.models.all}
        if for_duckdb := others - chosen.keys():
            self.for_duckdb[number] = for_duckdb

    def is_of_spark(self, model: Model, batch: int) -> bool:
        """Return whether Spark makes all rows that a model reads in a batch."""
        for_duckdb = self.for_duckdb.get(batch, set()) & {*model.lineage.stars}
        return batch in self.captured_at and not (model.lineage.sources or for_duckdb)


@dataclass
class _SparkBatches(ComputedBatches):
    """The rows that Spark has computed; those of models that read star tables on demand."""

    plan: _Plan
    attempt: Attempt | None
    progress: Progress
    computed: dict[str, dict[int, ComputedRows]] = field(default_factory=dict)

    def compute(self, ingestion: Location, attempt: Attempt) -> None:
        """Verify the lines, and compute all models that read one table."""
        tables = [table for of_name in self.plan.tables.values() for table in of_name]
        self.progress.start("verify files on Spark", sum(map(_count_lines, tables)))
        with convert_errors("read the lines of the batches"):
            verified = verify_lines(attempt.session, ingestion, tables)
        default_tasks = int(attempt.session.conf.get("spark.sql.shuffle.partitions") or 1)
        for model in self.plan.models.all:
            if not (batches := self.plan.batches.get(model.name)):
                continue
            [name] = model.lineage.sources
            of_model = tuple(one for one in self.plan.tables[name] if one.batch in batches)
            rows = sum(map(_count_lines, of_model))
            self.progress.start(f"compute {model.name} on Spark", rows)
            division = find_division(of_model)
            tasks = max(division.tasks, default_tasks)
            attempt.session.conf.set("spark.sql.files.maxPartitionBytes", division.part_bytes)
            attempt.session.conf.set("spark.sql.shuffle.partitions", tasks)
            lines = TableLines(attempt.session, ingestion, of_model, verified, division.buckets)
            with convert_errors(f"compute model {model.name}"):
                self.computed[model.name] = compute_model(attempt, model, lines)
            self.progress.advance(rows)

    @override
    def rows(self, model: str, batch: int) -> ComputedRows | None:
        return self.computed.get(model, {}).get(batch)

    @override
    def dependent_rows(
        self, model: Model, batch: int, earlier: Collection[File]
    ) -> ComputedRows | None:
        computed = self.computed.setdefault(model.name, {})
        if self.attempt and batch not in computed and self.plan.is_of_spark(model, batch):
            batches = [*takewhile(partial(self.plan.is_of_spark, model), count(batch))]
            stars = {other.name: other.star for other in self.plan.models.all}
            inputs = [stars[name] for name in model.lineage.stars]
            self.progress.start(f"compute {model.name} on Spark")
            with convert_errors(f"compute model {model.name}"):
                computed |= compute_dependent(self.attempt, model, inputs, batches, earlier)
        return computed.get(batch)


def _count_lines(table: TableBatch) -> int:
    return sum(file.rows for file in table.files)
