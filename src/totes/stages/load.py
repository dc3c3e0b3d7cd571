"""Load: copies batches from the processed store into the warehouse, one transaction per batch.

The warehouse records the batches that it has. A recorded batch is skipped, a batch that is not the
next one is an error, and an advisory lock prevents two concurrent loads.
"""

# ruff: noqa: PLC0415  most runs find no batch to load: imports would only cost time

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import Connection
from psycopg.rows import class_row

from totes.config.dsn import Dsn
from totes.duckdb_engine import convert_memory_errors, first_line, open_engine, scratch_folder
from totes.errors import LakeError, WarehouseError
from totes.failpoint import reach
from totes.lake.manifest import ProcessedManifest
from totes.lake.manifests import find_current_generation, read_processed_manifests
from totes.lake.store import Store
from totes.progress import NO_PROGRESS, Progress
from totes.star.folder import TOTESYS, Star
from totes.warehouse import dependents
from totes.warehouse.connection import connect
from totes.warehouse.schema import check_schema
from totes.warehouse.statement import statement

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Position:
    """The newest batch in the warehouse: generation, number, digest of its ingestion manifest."""

    generation: int
    batch: int
    ingested: str


KEPT_CHANGES = 500_000
"""How many rows of totes.changes are kept."""

_EMPTY = Position(generation=0, batch=0, ingested="")


def load(
    processed: Store, warehouse: Dsn, star: Star = TOTESYS, *, progress: Progress = NO_PROGRESS
) -> Iterator[ProcessedManifest]:
    """Load all pending batches; yield each manifest once it is committed.

    If the processed store has a new generation, the warehouse is rebuilt from it first. Raises
    LakeError if a file is missing or damaged, and WarehouseError if the warehouse has batches of
    another lake or can't be loaded.
    """
    generation = find_current_generation(processed)
    with connect(warehouse) as connection:
        check_schema(connection, star)
        position = _read_position(connection)
        _check_same_origin(processed, generation, position)
        if position.batch and position.generation != generation:
            newest = rebuild(processed, warehouse, star, generation=generation, progress=progress)
            yield from islice(read_processed_manifests(processed, generation), newest)
            position = _read_position(connection)
        pending = read_processed_manifests(processed, generation, position.batch + 1)
        if (first := next(pending, None)) is None:
            return
        dependents.check_no_blocking_objects(connection, star, rebuild=False)
        with _open_scratch_engine() as (engine, scratch):
            for manifest in chain([first], pending):
                progress.start(f"load batch {manifest.batch}", manifest.rows, manifest.batch)
                with (
                    _fetch_files(processed, engine, star, manifest, scratch) as paths,
                    connection.transaction(),
                ):
                    reach("load.fetched")
                    is_new = _load_batch(connection, engine, star, manifest, paths, progress)
                    reach("load.before-commit")
                reach("load.committed")
                if is_new:
                    yield manifest


def rebuild(
    processed: Store,
    warehouse: Dsn,
    star: Star = TOTESYS,
    *,
    generation: int,
    progress: Progress = NO_PROGRESS,
) -> int:
    """Empty the warehouse, load all batches of `generation`, and return the newest batch.

    This is one transaction. Readers wait until it is committed. Raises LakeError if a file is
    missing or damaged, and WarehouseError if the warehouse can't be written.
    """
    with (
        connect(warehouse) as connection,
        _open_scratch_engine() as (engine, scratch),
        connection.transaction(),
    ):
        check_schema(connection, star)
        dependents.check_no_blocking_objects(connection, star, rebuild=True)
        _lock_loads(connection)
        user_columns = dependents.delete_all_rows(connection, star)
        for manifest in read_processed_manifests(processed, generation):
            progress.start(f"load batch {manifest.batch}", manifest.rows, manifest.batch)
            with _fetch_files(processed, engine, star, manifest, scratch) as paths:
                _load_batch(connection, engine, star, manifest, paths, progress)
        dependents.restore_user_columns(connection, star, user_columns)
        newest = _read_position(connection).batch
        reach("rebuild.before-commit")
    reach("rebuild.committed")
    return newest


def record_checked(warehouse: Dsn, checked_at: datetime) -> None:
    """Record that the warehouse had all changes of the source at `checked_at`."""
    with connect(warehouse) as connection, connection.transaction():
        connection.execute(
            "INSERT INTO totes.checks AS c (checked_at) VALUES (%s) ON CONFLICT (one)"
            " DO UPDATE SET checked_at = greatest(c.checked_at, excluded.checked_at)",
            [checked_at],
        )
        reach("checked.before-commit")
    reach("checked.committed")


def _load_batch(  # noqa: PLR0913, PLR0917  as `merge.load_rows`
    connection: Connection[Any],
    engine: "duckdb.DuckDBPyConnection",
    star: Star,
    manifest: ProcessedManifest,
    paths: dict[str, Path],
    progress: Progress,
) -> bool:
    """Load one batch in the caller's transaction; return False if it has been loaded already."""
    import duckdb

    from totes.warehouse import merge

    _lock_loads(connection)
    position = _read_position(connection)
    if manifest.batch <= position.batch:
        return False
    was_rebuilt = position.batch and position.generation != manifest.generation
    if manifest.batch != position.batch + 1 or was_rebuilt:
        raise WarehouseError(
            f"Batch {manifest.batch} does not follow batch {position.batch}, the newest in the "
            "warehouse: another process has changed it in the meantime, run `totes load` again."
        )
    try:
        with convert_memory_errors(f"Loading batch {manifest.batch}"):
            merge.load_rows(connection, engine, star, manifest, paths, progress)
    except duckdb.Error as error:
        reason = first_line(error)
        raise LakeError(f"A file of batch {manifest.batch} can't be read: {reason}") from error
    connection.execute(
        "INSERT INTO totes.batches (batch, generation, ingested, captured_at, rows, gap)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        [
            manifest.batch,
            manifest.generation,
            manifest.ingested,
            manifest.captured_at,
            manifest.rows,
            manifest.gap,
        ],
    )
    connection.execute(statement("remove_changes", kept_rows=KEPT_CHANGES))
    return True


def _lock_loads(connection: Connection[Any]) -> None:
    """Wait for other loaders; the lock lasts until the end of the transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('totes.load', 0))")


def _read_position(connection: Connection[Any]) -> Position:
    with connection.cursor(row_factory=class_row(Position)) as cursor:
        newest = "SELECT generation, batch, ingested FROM totes.batches ORDER BY batch DESC LIMIT 1"
        return cursor.execute(newest).fetchone() or _EMPTY


def _check_same_origin(processed: Store, generation: int, position: Position) -> None:
    """Raise WarehouseError if the newest batch in the warehouse is from another lake."""
    if position == _EMPTY:
        return
    # A new generation may have fewer batches; the old one has this batch unless it was deleted.
    for candidate in (generation, position.generation):
        for manifest in islice(read_processed_manifests(processed, candidate, position.batch), 1):
            if manifest.ingested == position.ingested:
                return
    raise WarehouseError(
        f"Batch {position.batch}, the newest in the warehouse, is not batch {position.batch} in "
        f"{processed.url}: check TOTES_PROCESSED_URL and TOTES_WAREHOUSE_DSN."
    )


@contextmanager
def _open_scratch_engine() -> Iterator[tuple["duckdb.DuckDBPyConnection", Path]]:
    """Open DuckDB and a folder for fetched files."""
    with scratch_folder("load") as scratch, open_engine(scratch) as engine:
        yield engine, scratch


def _fetch_files(
    store: Store,
    engine: "duckdb.DuckDBPyConnection",
    star: Star,
    manifest: ProcessedManifest,
    scratch: Path,
) -> AbstractContextManager[dict[str, Path]]:
    """Fetch and check all files of a batch, as `fetched_files`."""
    from totes.star.batch_files import fetched_files

    files = (*manifest.files, *manifest.rejected)
    return fetched_files(store, engine, star, manifest, files, scratch)
