"""Values of the source that can't be read, as the newest batch lists them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from totes.engine import open_engine, scratch_folder
from totes.lake.log import fetch_checked, newest, read_manifest
from totes.lake.manifest import Table, manifest_path
from totes.lake.store import Store


@dataclass(frozen=True)
class Value:
    """One value: its source table, the row's key there (empty without one), and what is wrong."""

    table: str
    key: str
    column: str
    reason: str


def unreadable(store: Store) -> list[Value]:
    """All of them, table by table."""
    last = newest(store, manifest_path)
    tables = read_manifest(store, last)[0].captured if last else ()
    return [value for table in tables for value in _values(store, table)]


def counts(values: list[Value]) -> Counter[tuple[str, str, str]]:
    """How many there are, by table, column and reason."""
    return Counter((value.table, value.column, value.reason) for value in values)


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
