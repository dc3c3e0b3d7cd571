"""Maintenance of the Iceberg tables: compaction of small files, and removal of old snapshots.

Both are safe beside a running publication: whichever commits second checks that the files that it
replaces still exist, and begins again if they do not.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import duckdb
import pyarrow.fs
from psycopg import sql
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import FileScanTask, Table

from totes.duckdb_engine import convert_memory_errors, open_engine, scratch_folder
from totes.error_policy import retry
from totes.failpoint import reach
from totes.lakehouse.catalogue import Lakehouse
from totes.lakehouse.files import MAX_FILE_ROWS, TableFiles
from totes.lakehouse.merge import BLOCK_ROWS, rows_in_order
from totes.lakehouse.tables import QUARANTINE_FOLDER, commit_compaction, read_position
from totes.star.contract import StarTable
from totes.star.folder import Star

if TYPE_CHECKING:
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.typedef import Record

SMALL_BYTES = 32 << 20
"""Larger files are not compacted, even if they have few rows."""


@dataclass(frozen=True)
class Compaction:
    """How many files a table had before and after its compaction."""

    table: str
    files_before: int
    files_after: int


def compact(lakehouse: Lakehouse, star: Star) -> Iterator[Compaction]:
    """Merge the small files of each table, and yield the result for each."""
    for table in star.tables.values():
        compaction = retry(lambda table=table: _compact_table(lakehouse, table))  # type: ignore[misc]
        if compaction is not None:
            yield compaction


def _compact_table(lakehouse: Lakehouse, star: StarTable) -> Compaction | None:
    with (
        lakehouse.open() as catalogue,
        scratch_folder("compact") as scratch,
        open_engine(scratch) as engine,
    ):
        table = _load_table(catalogue, lakehouse, star)
        if table is None:
            return None
        files = TableFiles(table, star.key_names[0])
        tasks = list(table.scan().plan_files())
        for group in _small_files(tasks):
            _rewrite(engine, star, files, group)
        replacement = files.replacement
        if replacement.is_needed:
            commit_compaction(table, replacement)
        after = len(tasks) - len(replacement.removed) + len(replacement.added)
        return Compaction(star.name, len(tasks), after)


def _load_table(catalogue: Catalog, lakehouse: Lakehouse, star: StarTable) -> Table | None:
    try:
        return catalogue.load_table((lakehouse.namespace, star.name))
    except NoSuchTableError:
        return None


def _small_files(tasks: list[FileScanTask]) -> list[list[FileScanTask]]:
    """Return the groups of files that are merged: the small files of each partition."""
    groups: defaultdict[Record, list[FileScanTask]] = defaultdict(list)
    for task in tasks:
        is_small = (
            task.file.record_count <= MAX_FILE_ROWS // 2
            and task.file.file_size_in_bytes <= SMALL_BYTES
        )
        if is_small or task.delete_files:  # rows that another program has deleted
            groups[task.file.partition].append(task)
    return [group for group in groups.values() if len(group) > 1 or group[0].delete_files]


def _rewrite(
    engine: duckdb.DuckDBPyConnection, star: StarTable, files: TableFiles, group: list[FileScanTask]
) -> None:
    with convert_memory_errors(f"Compacting {star.name}"):
        engine.execute("DROP TABLE IF EXISTS small_files")
        for number, task in enumerate(group):
            engine.register("file_content", files.read(task))
            into = "INSERT INTO small_files" if number else "CREATE TEMP TABLE small_files AS"
            engine.execute(f"{into} FROM file_content")
        rows = sql.SQL("SELECT *, 0 AS _range FROM small_files")
        query = rows_in_order(star, files.table, rows)
        files.write(engine.sql(query).to_arrow_reader(BLOCK_ROWS))
        engine.execute("DROP TABLE small_files")
    for task in group:
        files.remove(task)


@dataclass(frozen=True)
class Expiry:
    """What was removed from a table."""

    table: str
    snapshots: int
    files: int
    bytes: int


def expire(lakehouse: Lakehouse, star: Star, before: datetime) -> Iterator[Expiry]:
    """Remove snapshots from before a moment, and older files that nothing refers to.

    Such files are those of removed snapshots, and of publications that were interrupted. A running
    publication must have begun after `before`. Yields the result for each table.
    """
    for table in star.tables.values():
        expiry = retry(lambda table=table: _expire_table(lakehouse, table, before))  # type: ignore[misc]
        if expiry is not None:
            yield expiry


def _expire_table(lakehouse: Lakehouse, star: StarTable, before: datetime) -> Expiry | None:
    with lakehouse.open() as catalogue:
        table = _load_table(catalogue, lakehouse, star)
        if table is None:
            return None
        kept = {ref.snapshot_id for ref in table.refs().values()}
        old = [
            snapshot.snapshot_id
            for snapshot in table.snapshots()
            if snapshot.timestamp_ms < before.timestamp() * 1000
            and snapshot.snapshot_id not in kept
        ]
        if old:
            reach("iceberg.before-expiry")
            table.maintenance.expire_snapshots().by_ids(old).commit()
            reach("iceberg.expired")
            table.refresh()
        quarantine = f"{lakehouse.location}/{QUARANTINE_FOLDER}/{star.name}"
        known = {_path(location) for location in _referenced_files(table)}
        count = size_bytes = 0
        for folder in (table.location(), quarantine):
            for file in _list_files(table, folder):
                if file.path not in known and file.mtime < before.astimezone(UTC):
                    reach("iceberg.before-deletion")
                    _file_system(table, folder).delete_file(file.path)
                    count, size_bytes = count + 1, size_bytes + file.size
        return Expiry(star.name, len(old), count, size_bytes)


def _referenced_files(table: Table) -> Iterator[str]:
    """Yield the locations of all files that the table's metadata refers to."""
    yield table.metadata_location
    yield from (entry.metadata_file for entry in table.metadata.metadata_log)
    yield from (file.statistics_path for file in table.metadata.statistics)
    position = read_position(table.metadata)
    if position is not None and position.quarantine:
        yield position.quarantine
    manifests: dict[str, ManifestFile] = {}
    for snapshot in table.snapshots():
        yield snapshot.manifest_list
        manifests |= {manifest.manifest_path: manifest for manifest in snapshot.manifests(table.io)}
    for path, manifest in manifests.items():
        yield path
        for entry in manifest.fetch_manifest_entry(table.io):
            yield entry.data_file.file_path


def _list_files(table: Table, folder: str) -> list[pyarrow.fs.FileInfo]:
    selector = pyarrow.fs.FileSelector(_path(folder), recursive=True, allow_not_found=True)
    return [file for file in _file_system(table, folder).get_file_info(selector) if file.is_file]


def _file_system(table: Table, location: str) -> pyarrow.fs.FileSystem:
    scheme, netloc, _ = PyArrowFileIO.parse_location(location)
    return cast("PyArrowFileIO", table.io).fs_by_scheme(scheme, netloc)


def _path(location: str) -> str:
    """Return a location as pyarrow's file systems name it."""
    return PyArrowFileIO.parse_location(location)[2]
