"""Processed store to warehouse: one transaction for each batch, so each arrives once.

The warehouse itself records the batches it has. A batch at or below that record is skipped, one
that is not the next is refused, and an advisory lock keeps two loaders apart.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import duckdb
from psycopg import Connection
from psycopg.rows import class_row

from totes.config.settings import Dsn
from totes.engine import fitting, open_engine, scratch_folder
from totes.errors import LakeError, ObjectMissing, WarehouseError
from totes.failpoint import reach
from totes.lake.log import current_generation, fetch_checked, read_processed_manifest
from totes.lake.manifest import ProcessedManifest, StarFile
from totes.lake.store import Store
from totes.progress import QUIET, Progress
from totes.star.definition import TOTESYS, Star
from totes.warehouse import dependents, merge
from totes.warehouse.connection import connect
from totes.warehouse.schema import check


@dataclass(frozen=True)
class Position:
    """How far the warehouse is: the newest batch it has."""

    generation: int
    batch: int
    ingested: str


_NOTHING = Position(generation=0, batch=0, ingested="")


def load(
    processed: Store, warehouse: Dsn, star: Star = TOTESYS, *, progress: Progress = QUIET
) -> Iterator[ProcessedManifest]:
    """Load every pending batch, giving each one's manifest once it is committed.

    Follows the processed store to a new generation: the warehouse is then rebuilt from it.
    """
    generation = current_generation(processed)
    with connect(warehouse) as connection:
        check(connection, star)
        position = _position(connection)
        _check_lineage(processed, generation, position)
        if position.batch and position.generation != generation:
            newest = rebuild(processed, warehouse, star, generation=generation, progress=progress)
            yield from islice(_manifests(processed, generation), newest)
            position = _position(connection)
        pending = _manifests(processed, generation, position.batch + 1)
        if (first := next(pending, None)) is None:
            return
        dependents.refuse(connection, star, rebuild=False)
        with _workshop() as (engine, scratch):
            for manifest in chain([first], pending):
                progress.start(f"load batch {manifest.batch}", manifest.rows, manifest.batch)
                fetched = _fetched(processed, engine, star, manifest, scratch)
                with fetched as local, connection.transaction():
                    reach("load.fetched")
                    loaded = _load(connection, engine, star, manifest, local, progress)
                    reach("load.before-commit")
                reach("load.committed")
                if loaded:
                    yield manifest


def rebuild(
    processed: Store,
    warehouse: Dsn,
    star: Star = TOTESYS,
    *,
    generation: int,
    progress: Progress = QUIET,
) -> int:
    """Empty the warehouse and load all batches of `generation`, in one transaction.

    Readers wait while it is exchanged. Returns the newest batch.
    """
    with (
        connect(warehouse) as connection,
        _workshop() as (engine, scratch),
        connection.transaction(),
    ):
        check(connection, star)
        dependents.refuse(connection, star, rebuild=True)
        _lock(connection)
        added = dependents.empty(connection, star)
        for manifest in _manifests(processed, generation):
            progress.start(f"load batch {manifest.batch}", manifest.rows, manifest.batch)
            with _fetched(processed, engine, star, manifest, scratch) as local:
                _load(connection, engine, star, manifest, local, progress)
        dependents.restore(connection, star, added)
        newest = _position(connection).batch
        reach("rebuild.before-commit")
    reach("rebuild.committed")
    return newest


def record_checked(warehouse: Dsn, checked_at: datetime) -> None:
    """Record that at `checked_at` the source held nothing newer than the warehouse."""
    with connect(warehouse) as connection, connection.transaction():
        connection.execute(
            "INSERT INTO totes.checks AS c (checked_at) VALUES (%s) ON CONFLICT (one)"
            " DO UPDATE SET checked_at = greatest(c.checked_at, excluded.checked_at)",
            [checked_at],
        )
        reach("checked.before-commit")
    reach("checked.committed")


def _load(  # noqa: PLR0913, PLR0917  as `merge.apply`
    connection: Connection[Any],
    engine: duckdb.DuckDBPyConnection,
    star: Star,
    manifest: ProcessedManifest,
    local: dict[str, Path],
    progress: Progress,
) -> bool:
    """Load one batch within the caller's transaction; false where another loader was quicker."""
    _lock(connection)
    position = _position(connection)
    if manifest.batch <= position.batch:
        return False
    was_rebuilt = position.batch and position.generation != manifest.generation
    if manifest.batch != position.batch + 1 or was_rebuilt:
        raise WarehouseError(
            f"Batch {manifest.batch} does not follow batch {position.batch}, the newest in the "
            "warehouse: something else has changed it meanwhile, run `totes load` again."
        )
    try:
        with fitting(f"Loading batch {manifest.batch}"):
            merge.apply(connection, engine, star, manifest, local, progress)
    except duckdb.Error as error:
        said = str(error).splitlines()[0]
        raise LakeError(f"A file of batch {manifest.batch} can't be read: {said}") from error
    connection.execute(
        "INSERT INTO totes.batches (batch, generation, ingested, captured_at, rows)"
        " VALUES (%s, %s, %s, %s, %s)",
        [
            manifest.batch,
            manifest.generation,
            manifest.ingested,
            manifest.captured_at,
            manifest.rows,
        ],
    )
    return True


def _lock(connection: Connection[Any]) -> None:
    """One loader at a time, until the end of the transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('totes.load', 0))")


def _position(connection: Connection[Any]) -> Position:
    with connection.cursor(row_factory=class_row(Position)) as cursor:
        newest = "SELECT generation, batch, ingested FROM totes.batches ORDER BY batch DESC LIMIT 1"
        return cursor.execute(newest).fetchone() or _NOTHING


def _check_lineage(processed: Store, generation: int, position: Position) -> None:
    """WarehouseError where the newest batch in the warehouse is not this lake's."""
    if position == _NOTHING:
        return
    # A new generation may not have come so far yet; the old one is still there, unless it was lost.
    for candidate in (generation, position.generation):
        for manifest in islice(_manifests(processed, candidate, position.batch), 1):
            if manifest.ingested == position.ingested:
                return
    raise WarehouseError(
        f"Batch {position.batch}, the newest in the warehouse, is not that of {processed.url}: "
        "check TOTES_PROCESSED_URL and TOTES_WAREHOUSE_DSN."
    )


def _manifests(processed: Store, generation: int, first: int = 1) -> Iterator[ProcessedManifest]:
    """The batches of a generation from `first` on, in order."""
    before: tuple[ProcessedManifest, str] | None = None
    for batch in count(first):
        try:
            found = read_processed_manifest(processed, generation, batch)
        except ObjectMissing:
            return
        if before is not None and (
            found[0].previous != before[1] or found[0].captured_at <= before[0].captured_at
        ):
            raise LakeError(
                f"Batch {batch} of generation {generation} in {processed.url} does not follow "
                f"batch {batch - 1} there: restore its manifest from a backup, or run totes replay."
            )
        before = found
        yield found[0]


@contextmanager
def _workshop() -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """DuckDB, and a folder for what is fetched."""
    with scratch_folder("totes-load-") as scratch, open_engine(scratch) as engine:
        yield engine, scratch


@contextmanager
def _fetched(
    store: Store,
    engine: duckdb.DuckDBPyConnection,
    star: Star,
    manifest: ProcessedManifest,
    scratch: Path,
) -> Iterator[dict[str, Path]]:
    """Checked local copies of a batch's files, by their paths in the store."""
    files: tuple[StarFile, ...] = (*manifest.files, *manifest.refused)
    local = {file.path: scratch / f"{number}.parquet" for number, file in enumerate(files)}
    try:
        for file in files:
            fetch_checked(store, file, local[file.path])
            refused = file in manifest.refused
            try:
                merge.check_file(engine, star, manifest, file, local[file.path], refused=refused)
            except merge.UntrueError as error:
                raise LakeError(
                    f"{file.path} in {store.url} is not what its manifest says: {error}. "
                    "Restore both from a backup, or run totes replay."
                ) from error
        yield local
    finally:
        for path in local.values():
            path.unlink(missing_ok=True)
