"""A simple, independent reader of the ingestion store, for small lakes."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from totes.lake.line import AT, OPERATION, RESERVED_NAMES, SEQUENCE, XID
from totes.lake.manifest import Manifest, manifest_path
from totes.lake.store import Store

Line = dict[str, Any]


def file_contents(folder: Path) -> Iterator[str]:
    """Yield the content of all files below a folder, uncompressed."""
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            text = gzip.decompress(data) if path.suffix == ".gz" else data
            yield text.decode("utf-8", "replace")


def batches(store: Store) -> list[Manifest]:
    manifests: list[Manifest] = []
    while store.exists(path := manifest_path(len(manifests) + 1)):
        manifests.append(Manifest.from_json(store.get(path), path))
    return manifests


def lines(store: Store, batch: Manifest, table: str) -> list[Line]:
    """The lines of a table in a batch."""
    entry = batch.table(table)
    assert entry is not None
    all_lines: list[Line] = []
    for file in entry.files:
        in_file = [json.loads(line) for line in gzip.decompress(store.get(file.path)).splitlines()]
        assert len(in_file) == file.rows
        assert sum(line["_op"] == "delete" for line in in_file) == file.deletes
        all_lines += in_file
    return all_lines


def rows(store: Store, table: str) -> list[tuple[str | None, ...]]:
    """The table's rows after the newest batch, as PostgreSQL prints their values, sorted."""
    current = current_lines(store, table)
    return sorted_rows([tuple(map(printed, columns(line).values())) for line in current])


def columns(line: Line) -> Line:
    """The columns of the source's row in a line."""
    return {name: value for name, value in line.items() if name not in RESERVED_NAMES}


def current_lines(store: Store, table: str) -> list[Line]:
    """The lines of the table's rows after the newest batch, each with the table's columns."""
    current: dict[object, Line] = {}
    last_key: tuple[str, ...] | None = None
    for batch in batches(store):
        if (entry := batch.table(table)) is None:
            continue
        names = [column.name for column in entry.columns]
        start = [OPERATION, XID, AT, SEQUENCE] if entry.of_log else [OPERATION, XID]
        batch_lines = lines(store, batch, table)
        if entry.of_log:
            batch_lines.sort(key=place_in_log)
        if entry.whole and (not entry.key or entry.key != last_key):
            current = {}
        last_key = entry.key
        keys = [
            tuple(line[name] for name in entry.key) if entry.key else object()
            for line in batch_lines
        ]
        if entry.of_log:
            places = {*zip(keys, map(place_in_log, batch_lines), strict=True)}
            assert len(places) == len(keys), "a key occurs at most once at one place"
        else:
            assert len(set(keys)) == len(keys), "a key occurs at most once in a batch"
        for key, line in zip(keys, batch_lines, strict=True):
            if line["_op"] == "delete":
                assert list(line) == [*start, *entry.key]
                del current[key]
            else:
                assert list(line) == [*start, *names]
                current[key] = line
    return list(current.values())


def place_in_log(line: Line) -> tuple[str, int]:
    """What orders the lines of a table that was read from the log."""
    return line[AT], line[SEQUENCE]


def printed(value: object) -> str | None:
    """A JSON value as PostgreSQL prints it."""
    if isinstance(value, bool):
        return "t" if value else "f"
    return None if value is None else str(value)


def sorted_rows(unsorted: list[tuple[str | None, ...]]) -> list[tuple[str | None, ...]]:
    return sorted(unsorted, key=lambda row: [(value is None, value or "") for value in row])
