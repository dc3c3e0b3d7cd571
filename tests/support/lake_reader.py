"""What the ingestion store says, read the plain way: the tests' own reader, for small lakes."""

import gzip
import json
from typing import Any

from totes.lake.manifest import Manifest, manifest_path
from totes.lake.store import Store

Line = dict[str, Any]


def batches(store: Store) -> list[Manifest]:
    found: list[Manifest] = []
    while store.exists(path := manifest_path(len(found) + 1)):
        found.append(Manifest.from_json(store.get(path), path))
    return found


def lines(store: Store, batch: Manifest, table: str) -> list[Line]:
    """What a batch carries of a table."""
    found = batch.table(table)
    assert found is not None
    read: list[Line] = []
    for file in found.files:
        in_file = [json.loads(line) for line in gzip.decompress(store.get(file.path)).splitlines()]
        assert len(in_file) == file.rows
        assert sum(line["_op"] == "delete" for line in in_file) == file.deletes
        read += in_file
    return read


def rows(store: Store, table: str) -> list[tuple[str | None, ...]]:
    """The table's rows after the newest batch, as PostgreSQL prints their values, sorted."""
    current = current_lines(store, table)
    return sorted_rows(
        [tuple(map(printed, (line[name] for name in list(line)[2:]))) for line in current]
    )


def current_lines(store: Store, table: str) -> list[Line]:
    """The lines of the table's rows after the newest batch, each with the table's columns."""
    current: dict[object, Line] = {}
    for batch in batches(store):
        if (found := batch.table(table)) is None:
            continue
        columns = [column.name for column in found.columns]
        fresh = lines(store, batch, table)
        if found.whole and not found.key:
            current = {}
        keys = [
            tuple(line[name] for name in found.key) if found.key else object() for line in fresh
        ]
        assert len(set(keys)) == len(keys), "a key occurs at most once in a batch"
        for key, line in zip(keys, fresh, strict=True):
            if line["_op"] == "delete":
                assert list(line) == ["_op", "_xid", *found.key]
                del current[key]
            else:
                assert list(line) == ["_op", "_xid", *columns]
                current[key] = line
    return list(current.values())


def printed(value: object) -> str | None:
    """A JSON value as PostgreSQL prints it."""
    if isinstance(value, bool):
        return "t" if value else "f"
    return None if value is None else str(value)


def sorted_rows(unsorted: list[tuple[str | None, ...]]) -> list[tuple[str | None, ...]]:
    return sorted(unsorted, key=lambda row: [(value is None, value or "") for value in row])
