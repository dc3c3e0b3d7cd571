"""Computes the star rows of one batch: from JSON Lines, through the models, to Parquet.

All files are written to a local scratch folder first, and stored when all are complete.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import file_digest
from pathlib import Path

import duckdb

from totes.duckdb_engine import convert_memory_errors, first_line, limit_memory
from totes.errors import LakeError, ModelError
from totes.failpoint import reach
from totes.lake.line import AT, IS_DELETE, IS_UPSERT, OPERATION, SEQUENCE
from totes.lake.manifest import File, Manifest, StarFile, Table, data_path, sha256_hex
from totes.lake.manifests import fetch_verified
from totes.lake.store import Store
from totes.sql_text import literal, quote
from totes.star import current_rows, quarantine
from totes.star.contract import REJECTED, parquet, timestamp
from totes.star.line_order import LineOrder, line_order_sql
from totes.star.models import Model, Models
from totes.star.relation import JsonLines, empty_relation, unpack
from totes.star.supplied import define_supplied

LONG_LINE_BYTES = 8_000_000
COPIES_IN_MEMORY = 12
"""How many copies of a long line DuckDB holds while it converts JSON to Parquet."""

PARQUET_OPTIONS = "format parquet, row_group_size_bytes '4MB'"
"""Limits the bytes of a row group, even if rows are wide."""

State = Mapping[str, tuple[File, ...]]
"""Files by table, as a processed manifest lists them: the current rows of source tables that models
join, and all rows of star tables whose models read star tables.
"""


@dataclass(frozen=True)
class BuildContext:
    """What all batches of one run share: stores, models, and the engine.

    `scratch` caches the files of current rows from one batch to the next.
    """

    ingestion: Store
    processed: Store
    generation: int
    models: Models
    engine: duckdb.DuckDBPyConnection
    scratch: Path


@dataclass(frozen=True)
class ModelOutput:
    """The files with the rows of one model in one batch: accepted rows, and rejected rows."""

    model: Model
    accepted: tuple[StarFile, ...]
    rejected: tuple[StarFile, ...]

    @property
    def rows(self) -> int:
        """The number of accepted and rejected rows."""
        return sum(file.rows for file in self.accepted + self.rejected)


@contextmanager
def unpack_tables(
    context: BuildContext, source: Manifest, tables: Collection[str], folder: Path
) -> Iterator[dict[str, Future[JsonLines]]]:
    """Fetch, verify and unpack the files of `tables` in a thread, the smallest table first."""
    pending = sorted(
        (table for table in source.tables if table.name in tables and table.files),
        key=lambda table: sum(file.bytes for file in table.files),
    )
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        yield {table.name: pool.submit(_unpack, context, table, folder) for table in pending}
    finally:
        pool.shutdown(cancel_futures=True)


def _unpack(context: BuildContext, table: Table, folder: Path) -> JsonLines:
    store = context.ingestion
    packed = [folder / sha256_hex(file.path.encode()) for file in table.files]
    for file, path in zip(table.files, packed, strict=True):
        fetch_verified(store, file, path)
    columns = context.models.columns(table.name) | {*table.key, OPERATION, AT, SEQUENCE}
    return unpack(table, packed, store.url, read=columns)


@dataclass(frozen=True)
class BatchBuild:
    """Builds one batch; `lines` are its source rows by table, `name` is the last part of paths.

    `after` is the capture time of the batch before, None if it is not known.
    """

    context: BuildContext
    source: Manifest
    folder: Path
    name: str
    lines: Mapping[str, Future[JsonLines]]
    after: datetime | None
    outputs: dict[str, Path] = field(default_factory=dict)
    """The local file for each path in the processed store."""
    orders: dict[str, LineOrder] = field(default_factory=dict)
    """The order of the lines of each table that was read from the log."""

    def store_outputs(self) -> None:
        """Put all files of `outputs` into the processed store."""
        for path, local_path in self.outputs.items():
            reach("transform.before-file")
            self.context.processed.put(path, local_path)
            reach("transform.file-stored")

    def update_state(self, before: State | None) -> State:
        """Return the current rows of joined tables after this batch.

        `before` is the state after the previous batch, None for the first one. Raises ModelError if
        it lacks a table that a model joins.
        """
        state: dict[str, tuple[File, ...]] = {}
        for table in self.source.tables:
            if table.name not in self.context.models.joined_tables:
                continue
            if before is None or table.whole:
                files: tuple[File, ...] = ()
            elif table.name in before:
                files = before[table.name]
            else:
                raise ModelError(
                    f"A model joins table {table.name}, whose current rows were not kept before "
                    f"batch {self.source.batch}: run totes replay."
                )
            has_changes = table.name in self.lines
            state[table.name] = self._update_table(table, files) if has_changes else files
        return state

    def _update_table(self, table: Table, before: tuple[File, ...]) -> tuple[File, ...]:
        unmerged = current_rows.count_unmerged(before, sum(file.rows for file in table.files))
        merged = before[unmerged:]
        needed = self.context.models.columns(table.name) | {*table.key}
        present = [column.name for column in table.columns if column.name in needed]
        columns = current_rows.distinct_names(present, needed)
        sql = current_rows.batch_rows(self._get_lines(table.name), columns, self.source.batch)
        path = self.folder / "state.parquet"
        failure = f"The current rows of table {table.name} can't be updated"
        with self._convert_errors(failure), self._convert_missing_column(table.name):
            if merged:
                change = self.folder / "change.parquet"
                self._write_parquet(sql, change)
                paths = [*map(self._fetch_cached, merged), change]
                sql = current_rows.newest_rows(paths, columns, table.key)
            rows = self._write_parquet(sql if unmerged else current_rows.live_rows(sql), path)
        for file in merged:  # a long replay would fill the disk
            self._cache_path(file).unlink()
        if not rows:
            return before[:unmerged]
        file = self._describe_file(path, "state/", table.name, rows)
        self.outputs[file.path] = path.rename(self._cache_path(file))
        return (*before[:unmerged], file)

    def run_model(
        self,
        model: Model,
        state: State,
        *,
        only_rejected: Collection[Path] = (),
        since: int | None = None,
        deletes_only: bool = False,
    ) -> ModelOutput:
        """Compute a model's rows and write them to a local file.

        only_rejected: quarantine files; only the versions in them are computed, and those that are
            rejected again stay in quarantine.
        since: the first batch to backfill, if the model could not run on the batches before.
        deletes_only: the source lacks a table or column, so that only deletions can be computed.

        Raises ModelError if the model can't run, and LakeError if a file is damaged.
        """
        path = self.folder / f"{model.name}.parquet"
        with self._convert_errors(f"Model {model.name} can't run"):
            sql = self._rows_sql(model, state, empty=deletes_only)
            deletes = self._deletes_sql(model)
            if only_rejected:
                sql = quarantine.filter_rejected(model.star, sql, only_rejected)
                deletes = deletes and quarantine.filter_rejected(model.star, deletes, only_rejected)
            first_batch = since or self.source.batch
            self._define_sources(model, state, first_batch, empty=deletes_only)
            any_order = self._reads_only_short_lines(model, state)
            try:
                rows = self._write_parquet(
                    quarantine.accept_or_fail(model.star, sql, deletes),
                    path,
                    any_order=any_order,
                )
                rejected: tuple[StarFile, ...] = ()
            except duckdb.InvalidInputException as error:
                if REJECTED not in str(error):
                    raise
                checked = quarantine.checked_rows(model.star, sql, deletes)
                rows = self._write_parquet(
                    quarantine.accepted_rows(model.star, checked), path, any_order=any_order
                )
                rejects_sql = quarantine.rejected_rows(model.star, checked)
                rejected = () if only_rejected else (self._write_rejects(model, rejects_sql),)
            accepted = (self._add_output(path, "", model, rows),) if rows else ()
        return ModelOutput(model, accepted, rejected)

    def _write_rejects(self, model: Model, sql: str) -> StarFile:
        path = self.folder / f"{model.name}.rejected.parquet"
        return self._add_output(path, "quarantine/", model, self._write_parquet(sql, path))

    def _add_output(self, path: Path, prefix: str, model: Model, rows: int) -> StarFile:
        count_deletes = f"select count(*) from {parquet(path)} where {IS_DELETE}"
        deletes = 0 if prefix else self._query_int(count_deletes)
        file = self._describe_file(path, prefix, model.name, rows, deletes)
        self.outputs[file.path] = path
        return StarFile(table=model.name, **dict(file))

    def _rows_sql(self, model: Model, state: State, *, empty: bool) -> str:
        """Return SQL for the model's rows, each with `_at`, the moment from which it is valid."""
        if model.lineage.selects_at:
            return model.sql
        sql = model.sql
        if model.lineage.stars:
            paths = map(self._fetch_cached, state.get(model.name, ()))
            sql = quarantine.exclude_earlier_rows(model.star, sql, paths)
        sql = f"select *, {timestamp(self.source.captured_at)} as {AT} from (\n{sql}\n)"
        key = model.lineage.key
        if not (model.star.is_fact or empty or key is None) and self._has_removed_rows(key.table):
            sql += f" union all by name {self._removed_rows_sql(model, key.table, state)}"
        return sql

    def _has_removed_rows(self, table: str) -> bool:
        """Return whether rows of a table were written and then deleted in this batch."""
        order = self._get_lines(table).order if table in self.lines else None
        return order is not None and self._query_int(order.count_removed) > 0

    def _removed_rows_sql(self, model: Model, table: str, state: State) -> str:
        """Return SQL for the rows of a dimension that were written and then deleted in this batch.

        `table` is the source table of its key. Facts may have referred to these rows in between.
        They are valid from the last moment before the capture time, which the deletion has.
        """
        relations = []
        for name, columns in model.lineage.sources.items():
            removed = (
                self._get_lines(name).removed(columns)
                if name in self.lines
                else empty_relation(columns)
            )
            rows = [removed]
            if name != table and name in state:
                rows.append(self._current_rows_sql(name, columns, state, self.source.batch))
            relations.append(f"{quote(name)} as ({' union all by name '.join(rows)})")
        moment = timestamp(self.source.captured_at - timedelta(microseconds=1))
        return (
            f"select *, {moment} as {AT}"
            f" from (with {', '.join(relations)} select * from (\n{model.sql}\n))"
        )

    def _deletes_sql(self, model: Model) -> str | None:
        """Return SQL for the natural keys of deleted source rows, each with the moment `_at`.

        None if there are none.
        """
        key = model.lineage.key
        if key is None or key.table not in self.lines:
            return None
        lines = self._get_lines(key.table)
        names = dict(zip(key.columns, model.star.key_names, strict=True))
        if not lines.deletes:
            return None
        captured_at = timestamp(self.source.captured_at)
        return lines.deleted(names, captured_at, each=model.lineage.selects_at)

    def _define_sources(self, model: Model, state: State, since: int, *, empty: bool) -> None:
        """Define the source tables that a model reads as views; without rows if `empty`."""
        define_supplied(self.context.engine, model.lineage.supplied)
        for name, columns in model.lineage.sources.items():
            if empty:
                rows = empty_relation(columns)
            elif model.lineage.selects_at and name in self.lines:
                captured_at = timestamp(self.source.captured_at)
                rows = self._get_lines(name).versions(columns, captured_at)
            elif name in state and not model.lineage.selects_at:
                rows = self._current_rows_sql(name, columns, state, since)
            elif name in self.lines:
                rows = self._get_lines(name).changed(columns)
            else:
                rows = empty_relation(columns)
            with self._convert_missing_column(name):
                self._define_view(name, rows)

    def _current_rows_sql(self, name: str, columns: Sequence[str], state: State, since: int) -> str:
        """Return SQL for the current rows of a joined table, flagged if they changed."""
        table = self.source.table(name)
        if table is None:
            return empty_relation(columns)
        files = [self._fetch_cached(file) for file in state[name]]
        return current_rows.current_rows(files, columns, table.key, since)

    @contextmanager
    def _convert_missing_column(self, table: str) -> Iterator[None]:
        """Raise ModelError if a table's current rows lack a column that no model read before."""
        try:
            yield
        except duckdb.BinderException as error:
            raise ModelError(
                f"A model reads a column of table {table} that was not kept before batch "
                f"{self.source.batch}: run totes replay."
            ) from error

    def define_star_tables(self, names: Iterable[str], outputs: Collection[ModelOutput]) -> None:
        """Define these star tables as views of this batch's accepted rows."""
        tables = {model.name: model.star for model in self.context.models.all}
        for name in names:
            files = [f for output in outputs if output.model.name == name for f in output.accepted]
            paths = [self.outputs.get(file.path) or self._fetch_cached(file) for file in files]
            rows = [f"from {parquet(path)} where {IS_UPSERT}" for path in paths]
            self._define_view(name, " union all by name ".join([tables[name].empty_query, *rows]))

    def _define_view(self, name: str, sql: str) -> None:
        self.context.engine.execute(f"create or replace temp view {quote(name)} as {sql}")

    def _reads_only_short_lines(self, model: Model, state: State) -> bool:
        """Return whether a model reads no star tables, kept rows or long lines."""
        return not model.lineage.stars and all(
            table in self.lines and table not in state and self._get_lines(table).only_short
            for table in model.lineage.sources
        )

    def _write_parquet(self, sql: str, path: Path, *, any_order: bool = False) -> int:
        """Write a query's rows to a local Parquet file; return their number.

        With `any_order`, DuckDB uses all processors, but each thread collects 2048 rows in memory,
        however wide they are.
        """
        options = f"{PARQUET_OPTIONS}, preserve_order {not any_order}"
        return self._query_int(f"copy ({sql}) to {literal(str(path))} ({options})")

    def _query_int(self, sql: str) -> int:
        [(number,)] = self.context.engine.execute(sql).fetchall()
        return int(number)

    def _get_lines(self, table: str) -> JsonLines:
        """Wait for the lines of a table; raise the memory limit for its longest line."""
        lines = self.lines[table].result()
        if lines.longest_bytes > LONG_LINE_BYTES:
            extra_mb = COPIES_IN_MEMORY * lines.longest_bytes // 1_000_000
            limit_memory(self.context.engine, extra_mb=extra_mb)
        if not lines.of_log:
            return lines
        if table not in self.orders:
            self.orders[table] = self._find_order(table, lines)
        return replace(lines, order=self.orders[table])

    def _find_order(self, name: str, lines: JsonLines) -> LineOrder:
        """Store the order of the lines of a table that was read from the log.

        Raises LakeError if a line's `_at` is not in this batch, or its place is not unique.
        """
        path = self.folder / f"{sha256_hex(name.encode())}.order.parquet"
        order = LineOrder(path, lines.key, lines.count)
        with self._convert_errors(f"The lines of table {name} can't be read"):
            self._write_parquet(line_order_sql(lines.read(lines.key), lines.key), order.path)
            captured_at = self.source.captured_at
            if invalid := self._query_int(order.count_invalid(self.after, captured_at)):
                raise LakeError(
                    f"{invalid} lines of table {name} in batch {self.source.batch} of "
                    f"{self.context.ingestion.url} have a wrong {AT} or {SEQUENCE}: restore the "
                    "table's files from a backup."
                )
        return order

    def _describe_file(
        self, path: Path, prefix: str, table: str, rows: int, deletes: int = 0
    ) -> File:
        store_prefix = f"generation={self.context.generation}/{prefix}"
        with path.open("rb") as content:
            sha256 = file_digest(content, "sha256").hexdigest()
        return File(
            path=data_path(table, self.source.captured_at, self.name, store_prefix),
            rows=rows,
            deletes=deletes,
            bytes=path.stat().st_size,
            sha256=sha256,
        )

    def _fetch_cached(self, file: File) -> Path:
        path = self._cache_path(file)
        if not path.exists():
            fetch_verified(self.context.processed, file, path)
        return path

    def _cache_path(self, file: File) -> Path:
        return self.context.scratch / f"{file.sha256}.parquet"

    @contextmanager
    def _convert_errors(self, failure: str) -> Iterator[None]:
        try:
            with convert_memory_errors(f"{failure} on batch {self.source.batch}: it"):
                yield
        except duckdb.Error as error:
            reason = first_line(error)
            for file in (file for table in self.source.tables for file in table.files):
                if sha256_hex(file.path.encode()) in reason:  # not the model's error
                    detail = reason.partition('.jsonl", ')[2].rstrip(".")
                    raise LakeError(
                        f"{file.path} in {self.context.ingestion.url} is damaged: {detail}. "
                        "Restore it from a backup."
                    ) from error
            raise ModelError(f"{failure} on batch {self.source.batch}: {reason}") from error
