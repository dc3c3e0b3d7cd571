"""Publish: brings the Iceberg tables up to the newest batch of the processed store.

Every table records its position, the batch up to which it was published, in the commit that changes
it. So a publication can be killed, repeated, or run twice at the same time: what a table has is
skipped. Batches are published in steps, of one or of several batches, and a step table by table,
dimensions first. All tables are complete before the next step begins; a position also has the first
batch of its step, so that a process that finds a table at the end of a step knows which batches the
others may lack.
"""

import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, islice
from pathlib import Path

import duckdb
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from totes.duckdb_engine import open_engine, scratch_folder
from totes.errors import IcebergError, ObjectMissing
from totes.failpoint import reach
from totes.lake.manifest import ProcessedManifest, StarFile, processed_manifest_path
from totes.lake.manifests import (
    find_current_generation,
    find_newest_number,
    read_processed_manifest,
    read_processed_manifests,
)
from totes.lake.store import Store
from totes.lakehouse.catalogue import Lakehouse
from totes.lakehouse.files import Replacement, TableFiles
from totes.lakehouse.merge import FetchedBatch, TableMerge
from totes.lakehouse.tables import (
    QUARANTINE_FOLDER,
    Position,
    commit,
    open_table,
    read_position,
)
from totes.progress import NO_PROGRESS, Progress
from totes.stages.publish import Publication
from totes.star.batch_files import fetched_files
from totes.star.contract import StarTable
from totes.star.folder import Star

SINGLE_BATCHES = 100
"""So many pending batches are published one by one, each with a snapshot; more together."""

CHUNK_BYTES, CHUNK_FILES = 256 << 20, 500
"""The files of several batches that are fetched and merged together."""


def find_published(lakehouse: Lakehouse, star: Star) -> Position | None:
    """Return the position of the Iceberg table that is ahead; None without any."""
    positions = []
    with lakehouse.open() as catalogue:
        for name in star.tables:
            with suppress(NoSuchTableError):
                table = catalogue.load_table((lakehouse.namespace, name))
                positions.append(read_position(table.metadata))
    published = filter(None, positions)
    return max(published, key=lambda found: (found.generation, found.batch), default=None)


@dataclass(frozen=True)
class _Step:
    """The batches `first` to `last` of a generation, which are published together."""

    generation: int
    first: int
    last: int

    @property
    def is_single(self) -> bool:
        """Whether it has one batch only."""
        return self.first == self.last


@dataclass
class Publisher:
    """Publishes batches of one star, and remembers up to where."""

    lakehouse: Lakehouse
    star: Star
    _done: tuple[int, int] | None = None
    """Generation and batch up to which all tables are known to be published."""

    def publish(self, processed: Store, progress: Progress = NO_PROGRESS) -> Iterator[Publication]:
        """Publish all pending batches and yield what was published.

        Raises IcebergError if the tables are those of another lake or declaration, and IcebergBusy
        if another process changed a table at the same time: the next call continues.
        """
        generation = find_current_generation(processed)
        done = self._done[1] if self._done and self._done[0] == generation else 0
        newest = find_newest_number(
            processed, lambda batch: processed_manifest_path(generation, batch), at_least=done
        )
        if newest == done:
            return
        with (
            self.lakehouse.open() as catalogue,
            scratch_folder("publish") as scratch,
            open_engine(scratch) as engine,
        ):
            run = _Run(self.lakehouse, self.star, processed, catalogue, engine, scratch, progress)
            # Without its own memory, it completes the last step: a table may lack it.
            last_step = None if done else run.find_last_step(generation)
            published = last_step.last if last_step else done
            steps = _plan_steps(generation, published, newest)
            for step in chain([last_step] if last_step else [], steps):
                rows = run.publish(step)
                self._done = generation, step.last
                reach("iceberg.batch-published")
                if rows or step.last > published:
                    yield Publication(step.last, rows, run.captured_at)


def _plan_steps(generation: int, done: int, newest: int) -> Iterator[_Step]:
    """Yield what to publish after batch `done`; 0 if no table has a batch."""
    first = done + 1
    if not done or newest - first >= SINGLE_BATCHES:
        yield _Step(generation, first, newest)
    else:
        for batch in range(first, newest + 1):
            yield _Step(generation, batch, batch)


@dataclass
class _Run:
    """One call of `Publisher.publish`."""

    lakehouse: Lakehouse
    star: Star
    processed: Store
    catalogue: Catalog
    engine: duckdb.DuckDBPyConnection
    scratch: Path
    progress: Progress
    _behind: set[str] = field(default_factory=set)
    """The tables that have no batch of the current generation."""
    _tables: dict[str, Table] = field(default_factory=dict)
    """The tables that a step has opened."""
    captured_at: datetime = field(init=False)
    """The capture time of the last batch that was published."""

    def find_last_step(self, generation: int) -> _Step | None:
        """Create or extend all tables; return the step that may be incomplete, None without one.

        The step of any position began when all tables had the batches before it. So tables may lack
        batches from the highest of these beginnings on.
        """
        namespace = self.lakehouse.namespace
        if not self.catalogue.namespace_exists(namespace):  # on AWS only Terraform may create it
            self.catalogue.create_namespace_if_not_exists(namespace)
        self._check_no_former_tables()
        first = last = 0
        for star in self.star.tables.values():
            position = read_position(self._open(star).metadata)
            if position is not None:
                self._check_same_origin(generation, position)
            if position is not None and position.generation == generation:
                first, last = max(first, position.first), max(last, position.batch)
            else:
                self._behind.add(star.name)
        return _Step(generation, first, last) if last else None

    def _check_no_former_tables(self) -> None:
        """Raise IcebergError if there are tables that the declaration does not have any more."""
        for identifier in self.catalogue.list_tables(self.lakehouse.namespace):
            if identifier[-1] in self.star.tables:
                continue
            with suppress(NoSuchTableError):  # in Glue, it may be a table of another format
                if read_position(self.catalogue.load_table(identifier).metadata):
                    raise IcebergError(
                        f"The Iceberg table {identifier[-1]} is not declared any more: add it to "
                        "the declaration again, or drop it in the catalogue."
                    )

    def _check_same_origin(self, generation: int, position: Position) -> None:
        """Raise IcebergError if a table was published from another lake."""
        for candidate in (generation, position.generation):
            with suppress(ObjectMissing):  # a new generation may have fewer batches
                manifest, _ = read_processed_manifest(self.processed, candidate, position.batch)
                if manifest.ingested == position.ingested:
                    return
        raise IcebergError(
            f"Batch {position.batch}, the newest in the Iceberg tables, is not batch "
            f"{position.batch} in {self.processed.url}: check TOTES_PROCESSED_URL, "
            "TOTES_ICEBERG_CATALOG and TOTES_ICEBERG_URL."
        )

    def publish(self, step: _Step) -> int:
        """Publish a step in all tables and return the number of rows that were read."""
        self._tables.clear()
        last, _ = read_processed_manifest(self.processed, step.generation, step.last)
        self.captured_at = last.captured_at
        self.progress.start(f"publish batch {step.last}", last.rows, step.last)
        published = [self._publish_table(star, step) for star in self.star.tables.values()]
        if all(rows is None for rows in published):
            self._record([*self.star.tables.values()][-1], last)
        return sum(filter(None, published))

    def _publish_table(self, star: StarTable, step: _Step) -> int | None:
        """Publish a step in one table; return the rows read, or None if it is not concerned."""
        # A step of several batches is recorded in all tables: later processes need not read it.
        is_certain = star.name in self._behind or not step.is_single
        if not is_certain and next(self._read_relevant(star, step, step.first), None) is None:
            return None
        table = self._open(star)
        before = read_position(table.metadata)
        # The position to continue from; without one, the table is replaced.
        base = before if before and before.generation == step.generation else None
        if base and base.batch >= step.last:
            return 0  # before an interruption, or by another process
        first = max(step.first, base.batch + 1) if base else 1
        files = TableFiles(table, star.key_names[0], is_replaced=base is None)
        merge = TableMerge(self.engine, star, files, self._dimensions(star))
        if base and base.quarantine:
            merge.read_quarantine(self._fetch_quarantine(table, base.quarantine))
        is_concerned, rows = is_certain or base is None or merge.has_waiting, 0
        for batch_rows in self._merge_batches(merge, star, self._read_relevant(star, step, first)):
            is_concerned, rows = is_concerned or batch_rows > 0, rows + batch_rows
        if not is_concerned:
            return None
        last, _ = read_processed_manifest(self.processed, step.generation, step.last)
        quarantine = self._store_quarantine(merge, table, base)
        after = Position(step.generation, step.first, step.last, last.ingested, quarantine)
        commit(table, before, after, last.captured_at, files.replacement)
        self._behind.discard(star.name)
        return rows

    def _dimensions(self, star: StarTable) -> dict[str, TableFiles]:
        names = dict.fromkeys(column.references for column in star.columns)
        tables = {name: self.star.tables[name] for name in names if name}
        return {
            name: TableFiles(self._open(dimension), dimension.key_names[0])
            for name, dimension in tables.items()
        }

    def _read_relevant(
        self, star: StarTable, step: _Step, first: int
    ) -> Iterator[ProcessedManifest]:
        """Yield the manifests that have files of a table, or of a dimension that it refers to."""
        relevant = {star.name, *(column.references for column in star.columns)}
        manifests = read_processed_manifests(self.processed, step.generation, first)
        for manifest in islice(manifests, step.last - first + 1):
            if relevant & {file.table for file in (*manifest.files, *manifest.rejected)}:
                yield manifest

    def _merge_batches(
        self, merge: TableMerge, star: StarTable, manifests: Iterable[ProcessedManifest]
    ) -> Iterator[int]:
        """Merge batches, some at a time; yield how many rows of the table were merged."""
        for chunk in _chunks(star, manifests):
            with ExitStack() as stack:
                batches = [stack.enter_context(self._fetched(star, one)) for one in chunk]
                reach("iceberg.fetched")
                merge.merge(batches)
            count = sum(file.rows for manifest in chunk for file in _files(star, manifest))
            self.progress.advance(count)
            yield count

    @contextmanager
    def _fetched(self, star: StarTable, manifest: ProcessedManifest) -> Iterator[FetchedBatch]:
        """Fetch the files of a table in a batch, until the end of the block."""
        files = _files(star, manifest)
        with fetched_files(
            self.processed, self.engine, self.star, manifest, files, self.scratch
        ) as paths:
            yield FetchedBatch(
                manifest.batch,
                manifest.captured_at,
                [paths[file.path] for file in files if file in manifest.files],
                [paths[file.path] for file in files if file in manifest.rejected],
            )

    def _store_quarantine(
        self, merge: TableMerge, table: Table, before: Position | None
    ) -> str | None:
        """Store the quarantined versions if they have changed; return the URL of their file."""
        file = self.scratch / "quarantine.parquet"
        match merge.write_quarantine(file):
            case None:
                return before.quarantine if before else None
            case False:
                return None
        name = table.name()[-1]
        # Not below the table's location: programs delete what they do not know there.
        url = (
            f"{self.lakehouse.location}/{QUARANTINE_FOLDER}/{name}/{secrets.token_hex(16)}.parquet"
        )
        reach("iceberg.before-quarantine")
        with file.open("rb") as content, table.io.new_output(url).create() as stored:
            shutil.copyfileobj(content, stored)
        reach("iceberg.quarantine-stored")
        return url

    def _fetch_quarantine(self, table: Table, url: str) -> Path:
        path = self.scratch / "quarantine.parquet"
        with table.io.new_input(url).open() as content, path.open("wb") as copy:
            shutil.copyfileobj(content, copy)
        return path

    def _record(self, star: StarTable, last: ProcessedManifest) -> None:
        """Record a batch that concerns no table, so that it is not read again."""
        table = self._open(star)
        before = read_position(table.metadata)
        if before is None or before.batch >= last.batch:
            return
        after = replace(before, first=last.batch, batch=last.batch, ingested=last.ingested)
        commit(table, before, after, last.captured_at, Replacement())

    def _open(self, star: StarTable) -> Table:
        if star.name not in self._tables:
            self._tables[star.name] = open_table(
                self.catalogue, self.lakehouse.namespace, self.lakehouse.location, star
            )
        return self._tables[star.name]


def _files(star: StarTable, manifest: ProcessedManifest) -> list[StarFile]:
    """Return the files of a table in a batch, also those of rejected rows."""
    return [file for file in (*manifest.files, *manifest.rejected) if file.table == star.name]


def _chunks(
    star: StarTable, manifests: Iterable[ProcessedManifest]
) -> Iterator[list[ProcessedManifest]]:
    """Yield batches that are merged together: their files fit on the disk."""
    chunk: list[ProcessedManifest] = []
    size_bytes = count = 0
    for manifest in manifests:
        files = _files(star, manifest)
        more_bytes = sum(file.bytes for file in files)
        if chunk and (size_bytes + more_bytes > CHUNK_BYTES or count + len(files) > CHUNK_FILES):
            yield chunk
            chunk, size_bytes, count = [], 0, 0
        chunk.append(manifest)
        size_bytes, count = size_bytes + more_bytes, count + len(files)
    if chunk:
        yield chunk
