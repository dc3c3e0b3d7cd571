"""Transform: batches of the ingestion store become batches of the star, in Parquet.

For every ingestion batch after the newest processed one: fetch and check its files, run the models
that read a table that changed, prove their rows against the contract, store the Parquet, and last
of all the manifest, which publishes the batch or, where another transform was first, nothing.
"""

import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from itertools import count, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from totes.batch import (
    File,
    Manifest,
    ProcessedManifest,
    StarFile,
    Table,
    data_path,
    digest,
    manifest_path,
    processed_manifest_path,
)
from totes.engine import open_engine
from totes.errors import LakeError, ModelError
from totes.failpoint import reach
from totes.lake.log import (
    current_generation,
    fetch_checked,
    newest,
    read_manifest,
    read_processed_manifest,
)
from totes.lake.store import Store
from totes.progress import QUIET, Progress
from totes.star import quarantine, state
from totes.star.contract import REFUSED, literal, quote
from totes.star.models import ISO_CURRENCY, Model, Models, shipped_models
from totes.star.relation import Lines, no_rows, unpack

MEMORY_MB = 160
"""DuckDB's JSON reader holds 32 MB for each thread, and about as much in between."""

State = Mapping[str, tuple[File, ...]]
"""Files of the current rows of joined source tables, as a processed manifest names them."""

Result = tuple[StarFile | None, StarFile | None]
"""What the contract took of a model's rows, and what it refused."""


def transform(
    ingestion: Store, processed: Store, *, progress: Progress = QUIET
) -> Iterator[ProcessedManifest]:
    """Make what is pending in the current generation; a manifest for each batch published.

    Raises LakeError naming a file that is missing or damaged, and ModelError naming the model and
    the batch it can't run on. Neither publishes anything, and the next call goes on there.
    """
    generation = current_generation(processed)
    yield from write_generation(
        ingestion, processed, generation, shipped_models(), progress=progress
    )


def write_generation(  # noqa: PLR0913  what a replay chooses
    ingestion: Store,
    processed: Store,
    generation: int,
    models: Models,
    *,
    upto: int | None = None,
    progress: Progress = QUIET,
) -> Iterator[ProcessedManifest]:
    """Make the batches that `generation` lacks, none beyond `upto`, with these models."""

    def path(batch: int) -> str:
        return processed_manifest_path(generation, batch)

    def pending(batch: int) -> bool:
        return (upto is None or batch <= upto) and ingestion.exists(manifest_path(batch))

    done = newest(processed, path)
    if not pending(done + 1):
        return
    last = read_processed_manifest(processed, generation, done) if done else None
    with TemporaryDirectory(prefix="totes-") as scratch, closing(_engine(scratch)) as engine:
        place = _Place(ingestion, processed, generation, models, engine, Path(scratch), progress)
        for batch in takewhile(pending, count(done + 1)):
            made = _make(place, batch, last)
            content = made.to_json()
            reach("transform: files stored")
            if processed.create(path(batch), content):
                last = made, digest(content)
                yield made
            else:  # another transform was first: go on from its batch
                last = read_processed_manifest(processed, generation, batch)


def _engine(scratch: str) -> duckdb.DuckDBPyConnection:
    engine = open_engine(Path(scratch))
    engine.execute(f"set memory_limit = '{MEMORY_MB}MB'")
    return engine


@dataclass(frozen=True)
class _Place:
    """Where batches are made, and of what."""

    ingestion: Store
    processed: Store
    generation: int
    models: Models
    engine: duckdb.DuckDBPyConnection
    scratch: Path
    progress: Progress


def _make(
    place: _Place, number: int, last: tuple[ProcessedManifest, str] | None
) -> ProcessedManifest:
    """All of a batch but its publication; `last` is the processed batch before, and its digest."""
    source, ingested = read_manifest(place.ingestion, number)
    if last is not None and source.previous != last[0].ingested:
        raise LakeError(
            f"Batch {number} in {place.ingestion.url} does not follow the batch {number - 1} that "
            f"{place.processed.url} was made from: see that the two stores belong together."
        )
    place.progress.start(f"transform batch {number}", total=source.rows)
    changed = {table.name for table in source.tables if table.files}
    models = place.models.reading(changed)
    for model in models:
        model.check(source)
    attempt = f"{number:012d}-{secrets.token_hex(4)}"
    with TemporaryDirectory(dir=place.scratch) as folder:
        batch = _Batch(place, source, Path(folder), f"{attempt}-0.parquet")
        lines = batch.unpack(place.models.tables)
        kept = batch.keep(lines, last[0].state if last else None)
        batch.define(lines, kept)
        results = [batch.run(model, lines) for model in models]
    for part, earlier in enumerate(source.released, start=1):
        results += _retry(place, earlier, f"{attempt}-{part}.parquet")
    return ProcessedManifest(
        batch=number,
        previous=last[1] if last else None,
        captured_at=source.captured_at,
        generation=place.generation,
        ingested=ingested,
        files=tuple(taken for taken, _ in results if taken),
        refused=tuple(refused for _, refused in results if refused),
        state=dict(kept),
        models=place.models.digest,
    )


def _retry(place: _Place, number: int, name: str) -> Iterator[Result]:
    """The rows that batch `number` refused, as of that batch, through the models of today."""
    source, _ = read_manifest(place.ingestion, number)
    made, _ = read_processed_manifest(place.processed, place.generation, number)
    models = {model.name: model for model in place.models.all}
    with TemporaryDirectory(dir=place.scratch) as folder:
        batch = _Batch(place, source, Path(folder), name)
        lines = batch.unpack(
            {table for file in made.refused for table in models[file.table].lineage.reads}
        )
        batch.define(lines, made.state)
        for file in made.refused:
            model = models[file.table]
            model.check(source)
            yield batch.run(model, lines, only=batch.fetch(place.processed, file))


@dataclass(frozen=True)
class _Batch:
    """A batch of source rows in work; `name` is the last part of the paths of its files."""

    place: _Place
    source: Manifest
    folder: Path
    name: str

    def unpack(self, tables: Collection[str]) -> dict[str, Lines]:
        """The lines of those of `tables` that have files in this batch."""
        return {
            table.name: unpack(
                [self.fetch(self.place.ingestion, file) for file in table.files],
                deletes=sum(file.deletes for file in table.files),
            )
            for table in self.source.tables
            if table.name in tables and table.files
        }

    def keep(self, lines: Mapping[str, Lines], before: State | None) -> State:
        """The current rows of joined tables after this batch; `before` is None at the first."""
        kept: dict[str, tuple[File, ...]] = {}
        for table in self.source.tables:
            if table.name not in self.place.models.joined:
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
            kept[table.name] = (
                self._kept(table, lines[table.name], files) if table.name in lines else files
            )
        return kept

    def _kept(self, table: Table, lines: Lines, before: tuple[File, ...]) -> tuple[File, ...]:
        staying = state.settled(before, sum(file.rows for file in table.files))
        merged = before[staying:]
        sql = state.change(lines, [column.name for column in table.columns], self.source.batch)
        path = self.folder / "state.parquet"
        with self._failing(f"Table {table.name} can't be kept"):
            if merged:
                change = self.folder / "change.parquet"
                self._write(sql, change)
                sql = state.newest([*map(self._current, merged), change], table.key)
            rows = self._write(sql if staying else state.live(sql), path)
        if not rows:
            return before[:staying]
        file = self._store(path, table.name, rows, below="state/")
        path.rename(self._local(file))
        return (*before[:staying], file)

    def define(self, lines: Mapping[str, Lines], kept: State) -> None:
        """Give the models the relations they read."""
        models = self.place.models
        for table in self.source.tables:
            if table.name not in models.tables:
                continue
            columns = models.columns(table)
            if table.name in kept:
                files = [self._current(file) for file in kept[table.name]]
                rows = state.current(files, columns, table.key, self.source.batch)
            elif table.name in lines:
                rows = lines[table.name].changed(columns)
            else:
                rows = no_rows(columns)
            self.place.engine.execute(f"create or replace temp view {quote(table.name)} as {rows}")

    def run(self, model: Model, lines: Mapping[str, Lines], only: Path | None = None) -> Result:
        """Store what a model makes: what the contract takes, and what it refuses.

        `only` is a quarantine file: the rows it names are made, and no others.
        """
        sql, deletes = model.sql, _deletes(model, lines)
        if only is not None:
            sql = quarantine.among(model.star, sql, only)
            deletes = deletes and quarantine.among(model.star, deletes, only)
        rows = (model.star, sql, deletes, self.source.captured_at)
        with self._failing(f"Model {model.name} can't run"):
            if ISO_CURRENCY in model.lineage.reads:
                from totes.star.iso import define_iso_currency  # noqa: PLC0415  slow to import

                define_iso_currency(self.place.engine)
            try:
                return self._star_file(model, quarantine.proven(*rows)), None
            except duckdb.InvalidInputException as error:
                if REFUSED not in str(error):
                    raise
            return (
                self._star_file(model, quarantine.accepted(*rows)),
                self._star_file(model, quarantine.refused(*rows), below="quarantine/"),
            )

    def _star_file(self, model: Model, sql: str, below: str = "") -> StarFile | None:
        path = self.folder / f"{model.name}.parquet"
        if not (rows := self._write(sql, path)):
            return None
        self.place.progress.advance(rows)
        deletes = 0 if below else self._count_deletes(path)
        file = self._store(path, model.name, rows, deletes, below=below)
        return StarFile(table=model.name, **dict(file))

    def _write(self, sql: str, path: Path) -> int:
        """Write a query's rows to a local Parquet file; how many there are."""
        return self._number(f"copy ({sql}) to {literal(str(path))} (format parquet)")

    def _count_deletes(self, path: Path) -> int:
        return self._number(f"select count(*) from {literal(str(path))} where _op = 'delete'")

    def _number(self, sql: str) -> int:
        [(number,)] = self.place.engine.execute(sql).fetchall()
        return int(number)

    def _store(
        self, path: Path, table: str, rows: int, deletes: int = 0, *, below: str = ""
    ) -> File:
        prefix = f"generation={self.place.generation}/{below}"
        with path.open("rb") as content:
            sha256 = file_digest(content, "sha256").hexdigest()
        file = File(
            path=data_path(table, self.source.captured_at, self.name, prefix),
            rows=rows,
            deletes=deletes,
            bytes=path.stat().st_size,
            sha256=sha256,
        )
        self.place.processed.put(file.path, path)
        return file

    def fetch(self, store: Store, file: File) -> Path:
        path = self.folder / digest(file.path.encode())
        fetch_checked(store, file, path)
        return path

    def _current(self, file: File) -> Path:
        """A file of current rows, which stays for the batches that follow."""
        path = self._local(file)
        if not path.exists():
            fetch_checked(self.place.processed, file, path)
        return path

    def _local(self, file: File) -> Path:
        return self.place.scratch / f"{file.sha256}.parquet"

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"{what} on batch {self.source.batch}: {reason}") from error


def _deletes(model: Model, lines: Mapping[str, Lines]) -> str | None:
    """SQL: the natural keys whose source rows were deleted; None where there are none."""
    if model.lineage.key is None:
        return None
    table, column = model.lineage.key
    if table not in lines or not lines[table].deletes:
        return None
    return lines[table].deleted(column, model.star.key.name)
