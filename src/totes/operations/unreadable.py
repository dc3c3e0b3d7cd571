"""Values that can't be read in the source, as of the newest batch."""

from collections.abc import Iterator
from dataclasses import dataclass

from totes.engine import open_engine, scratch_folder
from totes.lake.log import fetch_checked, newest, read_manifest
from totes.lake.manifest import Table, manifest_path
from totes.lake.store import Store


@dataclass(frozen=True)
class Value:
    """One value: source table, key of its row (empty in a table without a key), and reason."""

    table: str
    key: str
    column: str
    reason: str


def unreadable(store: Store) -> list[Value]:
    """All of them, table by table."""
    last = newest(store, manifest_path)
    tables = read_manifest(store, last)[0].captured if last else ()
    return [value for table in tables for value in _values(store, table)]


def _values(store: Store, table: Table) -> Iterator[Value]:
    if table.unreadable is None:
        return
    with scratch_folder("totes-unreadable-") as scratch, open_engine(scratch) as engine:
        path = scratch / "unreadable.parquet"
        fetch_checked(store, table.unreadable, path)
        keys = "".join(f"k{position}, " for position in range(len(table.key)))
        rows = engine.execute(
            f'SELECT {keys}"column", reason FROM read_parquet(?) ORDER BY ALL',
            [str(path)],
        ).fetchall()
    for *key, column, reason in rows:
        yield Value(
            table.name, ", ".join(str(part).replace("\0", "") for part in key), column, reason
        )
