"""Building the star rows of one batch on local scratch: its lines, through the models, to Parquet.

Nothing is stored before all of it is made.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path

import duckdb

from totes.engine import fitting, limit_memory
from totes.errors import LakeError, ModelError
from totes.failpoint import reach
from totes.lake.log import fetch_checked
from totes.lake.manifest import File, Manifest, StarFile, Table, data_path, digest
from totes.lake.store import Store
from totes.star import quarantine, state
from totes.star.contract import REFUSED, literal, quote
from totes.star.models import Model, Models
from totes.star.relation import Lines, no_rows, parquet, unpack

LONG_BYTES = 8_000_000
COPIES = 12
"""How often DuckDB may hold a long line on its way from JSON to Parquet."""

PARQUET = "format parquet, preserve_order true, row_group_size_bytes '4MB'"
"""Row groups have few bytes, however wide their rows are.

DuckDB collects up to 2048 rows of any width in memory, unless it has to keep their order.
"""

State = Mapping[str, tuple[File, ...]]
"""Files of kept rows, by table, as a processed manifest names them: current rows of source tables
that models join, and all rows of star tables that are made of star tables.
"""


@dataclass(frozen=True)
class Site:
    """Where batches are built, and by what; local files of current rows stay in `scratch`."""

    ingestion: Store
    processed: Store
    generation: int
    models: Models
    engine: duckdb.DuckDBPyConnection
    scratch: Path


@dataclass(frozen=True)
class Built:
    """What the contract took of a model's rows, locally at `path`, and what it refused."""

    model: Model
    path: Path
    taken: StarFile | None
    refused: StarFile | None

    @property
    def rows(self) -> int:
        """How many rows were made, refused ones among them."""
        return sum(file.rows for file in (self.taken, self.refused) if file)


@contextmanager
def unpacking(
    site: Site, source: Manifest, tables: Collection[str], folder: Path
) -> Iterator[dict[str, Future[Lines]]]:
    """Fetch, check and unpack the files of `tables` in the background, the smallest first."""
    work = sorted(
        (table for table in source.tables if table.name in tables and table.files),
        key=lambda table: sum(file.bytes for file in table.files),
    )
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        yield {table.name: pool.submit(_unpack, site, table, folder) for table in work}
    finally:
        pool.shutdown(cancel_futures=True)


def _unpack(site: Site, table: Table, folder: Path) -> Lines:
    store = site.ingestion
    packed = [folder / digest(file.path.encode()) for file in table.files]
    for file, path in zip(table.files, packed, strict=True):
        fetch_checked(store, file, path)
    read = site.models.columns(table.name) | {*table.key, "_op"}
    return unpack(table, packed, store.url, read=read)


@dataclass(frozen=True)
class Build:
    """One batch in work: `lines` are its source rows, `name` is the end of its files' paths."""

    site: Site
    source: Manifest
    folder: Path
    name: str
    lines: Mapping[str, Future[Lines]]
    made: dict[str, Path] = field(default_factory=dict)
    """The files to store: their paths in the store, and where they are."""

    def store(self) -> None:
        """Put all files of `made` into the processed store."""
        for path, local in self.made.items():
            reach("transform.before-file")
            self.site.processed.put(path, local)
            reach("transform.file-stored")

    def keep(self, before: State | None) -> State:
        """The current rows of joined tables after this batch; `before` is None at the first."""
        kept: dict[str, tuple[File, ...]] = {}
        for table in self.source.tables:
            if table.name not in self.site.models.joined:
                continue
            if before is None or table.whole:
                files: tuple[File, ...] = ()
            elif table.name in before:
                files = before[table.name]
            else:
                raise ModelError(
                    f"A model joins table {table.name}, whose rows were not kept before batch "
                    f"{self.source.batch}: run totes replay."
                )
            kept[table.name] = self._keep(table, files) if table.name in self.lines else files
        return kept

    def _keep(self, table: Table, before: tuple[File, ...]) -> tuple[File, ...]:
        staying = state.settled(before, sum(file.rows for file in table.files))
        merged = before[staying:]
        read = self.site.models.columns(table.name) | {*table.key}
        present = [column.name for column in table.columns if column.name in read]
        columns = state.distinct(present, read)
        sql = state.change(self._open(table.name), columns, self.source.batch)
        path = self.folder / "state.parquet"
        with self._failing(f"Table {table.name} can't be kept"), self._having_columns(table.name):
            if merged:
                change = self.folder / "change.parquet"
                self._write(sql, change)
                sql = state.newest([*map(self._current, merged), change], columns, table.key)
            rows = self._write(sql if staying else state.live(sql), path)
        for old in merged:  # a long replay would fill the disk
            self._local(old).unlink()
        if not rows:
            return before[:staying]
        file = self._file(path, "state/", table.name, rows)
        self.made[file.path] = path.rename(self._local(file))
        return (*before[:staying], file)

    def run(
        self,
        model: Model,
        kept: State,
        *,
        only: Path | None = None,
        since: int | None = None,
        deletes_only: bool = False,
    ) -> Built:
        """Make a model's rows.

        `only` is a quarantine file: its rows are tried again, and those refused again stay there.
        `since` is the first of the batches that the model left out, when it makes up for them;
        `deletes_only` is for such a batch: the source lacks what the model needs of other rows.
        """
        moment = self.source.captured_at
        sql, deletes = model.sql, self._deletes(model)
        if model.lineage.stars and (earlier := kept.get(model.name)):
            sql = quarantine.without_known(model.star, sql, map(self._current, earlier))
        if only is not None:
            sql = quarantine.among(model.star, sql, only)
            deletes = deletes and quarantine.among(model.star, deletes, only)
        path = self.folder / f"{model.name}.parquet"
        with self._failing(f"Model {model.name} can't run"):
            self._define(model, kept, since or self.source.batch, nothing=deletes_only)
            try:
                rows = self._write(quarantine.proven(model.star, sql, deletes, moment), path)
                refused = None
            except duckdb.InvalidInputException as error:
                if REFUSED not in str(error):
                    raise
                rows = self._write(quarantine.accepted(model.star, sql, deletes, moment), path)
                refusals = quarantine.refused(model.star, sql, deletes, moment)
                refused = None if only else self._refused(model, refusals)
            taken = self._star_file(path, "", model, rows) if rows else None
        return Built(model, path, taken, refused)

    def _refused(self, model: Model, sql: str) -> StarFile:
        path = self.folder / f"{model.name}.refused.parquet"
        return self._star_file(path, "quarantine/", model, self._write(sql, path))

    def _star_file(self, path: Path, below: str, model: Model, rows: int) -> StarFile:
        deleted = f"select count(*) from {parquet(path)} where _op = 'delete'"
        deletes = 0 if below else self._number(deleted)
        file = self._file(path, below, model.name, rows, deletes)
        self.made[file.path] = path
        return StarFile(table=model.name, **dict(file))

    def _deletes(self, model: Model) -> str | None:
        """SQL: the natural keys whose source rows were deleted; None where there are none."""
        key = model.lineage.key
        if key is None or key.table not in self.lines:
            return None
        lines = self._open(key.table)
        names = dict(zip(key.columns, model.star.key_names, strict=True))
        return lines.deleted(names) if lines.deletes else None

    def _define(self, model: Model, kept: State, since: int, *, nothing: bool) -> None:
        """Give a model the relations of the source that it reads, or as many without rows."""
        if model.lineage.reads_iso_currency:
            from totes.star.iso import define_iso_currency  # noqa: PLC0415  slow to import

            define_iso_currency(self.site.engine)
        for name, columns in model.lineage.sources.items():
            table = self.source.table(name)
            if nothing:
                rows = no_rows(columns)
            elif name in kept and table is not None:
                files = [self._current(file) for file in kept[name]]
                rows = state.current(files, columns, table.key, since)
            elif name in self.lines:
                rows = self._open(name).changed(columns)
            else:
                rows = no_rows(columns)
            with self._having_columns(name):
                self._define_view(name, rows)

    @contextmanager
    def _having_columns(self, table: str) -> Iterator[None]:
        """ModelError where a table's kept rows lack a column, since no model read it before."""
        try:
            yield
        except duckdb.BinderException as error:
            raise ModelError(
                f"Models read a column of table {table} that was not kept before batch "
                f"{self.source.batch}: run totes replay."
            ) from error

    def define_stars(self, models: Iterable[Model], built: Collection[Built]) -> None:
        """Give models the rows made so far of the star tables they read."""
        tables = {model.name: model.star for model in self.site.models.all}
        for name in frozenset[str]().union(*(model.lineage.stars for model in models)):
            paths = [one.path for one in built if one.model.name == name and one.taken]
            rows = [f"from {parquet(path)} where _op = 'upsert'" for path in paths]
            self._define_view(name, " union all by name ".join([tables[name].no_rows, *rows]))

    def _define_view(self, name: str, sql: str) -> None:
        self.site.engine.execute(f"create or replace temp view {quote(name)} as {sql}")

    def _write(self, sql: str, path: Path) -> int:
        """Write a query's rows to a local Parquet file; how many there are."""
        return self._number(f"copy ({sql}) to {literal(str(path))} ({PARQUET})")

    def _number(self, sql: str) -> int:
        [(number,)] = self.site.engine.execute(sql).fetchall()
        return int(number)

    def _open(self, table: str) -> Lines:
        """The lines of a table, with room for the longest of them."""
        lines = self.lines[table].result()
        if lines.longest_bytes > LONG_BYTES:
            more_mb = COPIES * lines.longest_bytes // 1_000_000
            limit_memory(self.site.engine, more_mb=more_mb)
        return lines

    def _file(self, path: Path, below: str, table: str, rows: int, deletes: int = 0) -> File:
        prefix = f"generation={self.site.generation}/{below}"
        with path.open("rb") as content:
            sha256 = file_digest(content, "sha256").hexdigest()
        return File(
            path=data_path(table, self.source.captured_at, self.name, prefix),
            rows=rows,
            deletes=deletes,
            bytes=path.stat().st_size,
            sha256=sha256,
        )

    def _current(self, file: File) -> Path:
        path = self._local(file)
        if not path.exists():
            fetch_checked(self.site.processed, file, path)
        return path

    def _local(self, file: File) -> Path:
        """Where a file of current rows stays for the batches that follow."""
        return self.site.scratch / f"{file.sha256}.parquet"

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            with fitting(f"{what} on batch {self.source.batch}: it"):
                yield
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            for file in (file for table in self.source.tables for file in table.files):
                if digest(file.path.encode()) in reason:  # no model is to blame
                    said = reason.partition('.jsonl", ')[2]
                    raise LakeError(
                        f"{file.path} in {self.site.ingestion.url} is damaged: {said}"
                    ) from error
            raise ModelError(f"{what} on batch {self.source.batch}: {reason}") from error
