"""List the values that can't be read in the source, as of the newest batch."""

from collections.abc import Iterator
from dataclasses import dataclass

from totes.duckdb_engine import open_engine, scratch_folder
from totes.lake.manifest import Table, manifest_path
from totes.lake.manifests import fetch_verified, find_newest_number, read_manifest
from totes.lake.store import Store


@dataclass(frozen=True)
class UnreadableValue:
    """A value of a source table, with the key of its row (empty if the table has no key)."""

    table: str
    key: str
    column: str
    reason: str


def list_unreadable_values(store: Store) -> list[UnreadableValue]:
    """Return all unreadable values of the newest batch in an ingestion store, by table."""
    last = find_newest_number(store, manifest_path)
    tables = read_manifest(store, last)[0].source_tables if last else ()
    return [value for table in tables for value in _values(store, table)]


def _values(store: Store, table: Table) -> Iterator[UnreadableValue]:
    if table.unreadable is None:
        return
    with scratch_folder("unreadable") as scratch, open_engine(scratch) as engine:
        path = scratch / "unreadable.parquet"
        fetch_verified(store, table.unreadable, path)
        keys = "".join(f"k{position}, " for position in range(len(table.key)))
        rows = engine.execute(
            f'SELECT {keys}"column", reason FROM read_parquet(?) ORDER BY ALL',
            [str(path)],
        ).fetchall()
    for *key, column, reason in rows:
        yield UnreadableValue(
            table.name, ", ".join(str(part).replace("\0", "") for part in key), column, reason
        )
