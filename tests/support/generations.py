"""Compares two generations of processed data: the same rows, of the same types, in every batch."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

import duckdb

from totes.lake.folder import FolderStore
from totes.lake.manifest import File, ProcessedManifest, processed_manifest_path
from totes.lake.manifests import find_newest_number, read_processed_manifest
from totes.sql_text import literal, quote

SHOWN_ROWS = 3

SHOWN_DIFFERENCES = 40

EQUAL_FIELDS = ("batch", "captured_at", "ingested", "models", "waiting", "gap", "format")

KINDS = ("accepted", "rejected", "state")


@dataclass(frozen=True)
class Generation:
    """One generation in a folder."""

    store: FolderStore
    number: int

    def manifests(self) -> list[ProcessedManifest]:
        newest = find_newest_number(self.store, self._path)
        return [
            read_processed_manifest(self.store, self.number, batch)[0]
            for batch in range(1, newest + 1)
        ]

    def _path(self, batch: int) -> str:
        return processed_manifest_path(self.number, batch)

    def local(self, file: File) -> str:
        return str(Path(self.store.url) / file.path)


@dataclass(frozen=True)
class Comparison:
    """The differences, and the number of accepted and rejected rows of the first generation."""

    rows: int
    differences: tuple[str, ...]

    def __str__(self) -> str:
        shown = self.differences[:SHOWN_DIFFERENCES]
        more = len(self.differences) - len(shown)
        return "\n".join([*shown, *([f"and {more} more differences"] if more else [])])


def compare(expected: Generation, found: Generation) -> Comparison:
    """Compare all batches of two generations, and each of them with its manifests."""
    manifests = expected.manifests(), found.manifests()
    differences = [*_differences_of_manifests(*manifests)]
    sides = [*zip((expected, found), manifests, strict=True)]
    with duckdb.connect() as engine:
        engine.execute("set timezone = 'UTC'")
        for generation, own in sides:
            differences += _differences_of_files(engine, generation, own)
        for kind in () if differences else KINDS:  # damaged files may not have rows to read
            differences += _differences_of_rows(
                engine, kind, [_files(*side, kind) for side in sides]
            )
    rows = sum(file.rows for one in manifests[0] for file in (*one.files, *one.rejected))
    return Comparison(rows, tuple(differences))


def assert_equal(expected: Generation, found: Generation) -> None:
    """Assert that two generations are equal and have rows."""
    comparison = compare(expected, found)
    assert not comparison.differences, f"\n{comparison}"
    assert comparison.rows


def _differences_of_manifests(
    expected: Sequence[ProcessedManifest], found: Sequence[ProcessedManifest]
) -> Iterator[str]:
    if len(expected) != len(found):
        yield f"{len(expected)} batches are expected, there are {len(found)}"
    for one, other in zip(expected, found, strict=False):
        for name in EQUAL_FIELDS:
            if (value := getattr(one, name)) != (wrong := getattr(other, name)):
                yield f"batch {one.batch}: {name} is {wrong}, not {value}"
        if {*one.state} != {*other.state}:
            yield f"batch {one.batch}: state has {sorted(other.state)}, not {sorted(one.state)}"


Files = Mapping[str, Sequence[tuple[int, str]]]
"""For each table, the batch and the local path of every file."""


def _files(generation: Generation, manifests: Sequence[ProcessedManifest], kind: str) -> Files:
    files: dict[str, list[tuple[int, str]]] = {}
    before: Mapping[str, Sequence[File]] = {}
    for manifest in manifests:
        if kind == "state":  # mostly as in the batch before
            changed = {
                table: of_table
                for table, of_table in manifest.state.items()
                if before.get(table) != of_table
            }
            before = manifest.state
            named = [(table, file) for table, of_table in changed.items() for file in of_table]
        else:
            star_files = manifest.files if kind == "accepted" else manifest.rejected
            named = [(file.table, file) for file in star_files]
        for table, file in named:
            files.setdefault(table, []).append((manifest.batch, generation.local(file)))
    return files


def _differences_of_files(
    engine: duckdb.DuckDBPyConnection,
    generation: Generation,
    manifests: Sequence[ProcessedManifest],
) -> Iterator[str]:
    """Yield how the files of a generation differ from its manifests."""
    where = f"generation {generation.number}"
    star_files = [file for one in manifests for file in (*one.files, *one.rejected)]
    for name, times in Counter(file.path for file in star_files).items():
        if times > 1:
            yield f"{where}: {name} is named {times} times"
    files: dict[str, File] = {file.path: file for file in star_files}
    files |= {file.path: file for one in manifests for of in one.state.values() for file in of}
    for file in files.values():
        path = Path(generation.local(file))
        if not file.path.startswith(f"generation={generation.number}/"):
            yield f"{where}: {file.path} belongs to another generation"
        if not path.is_file():
            yield f"{where}: {file.path} is missing"
            continue
        with path.open("rb") as content:
            digest = file_digest(content, "sha256").hexdigest()
        if (size := path.stat().st_size) != file.bytes or digest != file.sha256:
            yield f"{where}: {file.path} has {size} bytes and SHA-256 {digest}, not as its manifest"
            continue
        counted = "count(*) filter (_op = 'delete')" if _has_operation(engine, path) else "0"
        [counts] = engine.execute(f"select count(*), {counted} from {_parquet([path])}").fetchall()
        if counts != (file.rows, file.deletes):
            yield (
                f"{where}: {file.path} has {counts[0]} rows and {counts[1]} deletes, "
                f"its manifest says {file.rows} and {file.deletes}"
            )
        if not file.rows:
            yield f"{where}: {file.path} has no rows"


def _has_operation(engine: duckdb.DuckDBPyConnection, path: Path) -> bool:
    return "_op" in dict(_types(engine, str(path)))


def _types(engine: duckdb.DuckDBPyConnection, path: str) -> tuple[tuple[str, str], ...]:
    described = engine.execute(f"describe from {_parquet([path])}").fetchall()
    return tuple((name, kind) for name, kind, *_ in described)


def _parquet(paths: Sequence[str | Path]) -> str:
    listed = ", ".join(literal(str(path)) for path in paths)
    return f"read_parquet([{listed}], hive_partitioning = false)"


def _differences_of_rows(
    engine: duckdb.DuckDBPyConnection, kind: str, sides: Sequence[Files]
) -> Iterator[str]:
    expected, found = sides
    for table in sorted({*expected, *found}):
        name = f"{kind} rows of {table}"
        if table not in expected or table not in found:
            missing = {batch for side in sides for batch, _ in side.get(table, ())}
            which = "found" if table in found else "expected"
            yield f"{name}: only the {which} generation has some, in batches {sorted(missing)}"
            continue
        columns: Sequence[Sequence[str]] = []
        if kind != "state":  # whose columns are those of the source, which change
            types = [
                {_types(engine, path) for _, path in side[table]} for side in (expected, found)
            ]
            if types[0] != types[1] or len(types[0]) != 1:
                yield f"{name}: the columns are {sorted(types[1])}, not {sorted(types[0])}"
                continue
            columns = types[0].pop()
        relations = [_with_batches(side[table]) for side in (expected, found)]
        yield from _compare_rows(engine, name, relations, [column for column, *_ in columns])


def _with_batches(files: Sequence[tuple[int, str]]) -> str:
    """Return SQL for the rows of files, with their batch as the first column."""
    by_batch: dict[int, list[str]] = {}
    for batch, path in files:
        by_batch.setdefault(batch, []).append(path)
    selected = (
        f"select {batch} as {quote('of batch')}, *"
        f" from read_parquet([{', '.join(map(literal, paths))}],"
        " hive_partitioning = false, union_by_name = true)"
        for batch, paths in by_batch.items()
    )
    return " union all by name ".join(selected)


def _compare_rows(
    engine: duckdb.DuckDBPyConnection,
    name: str,
    relations: Sequence[str],
    columns: Sequence[str],
) -> Iterator[str]:
    """Yield the rows that one of two relations has more often than the other."""
    if columns:
        selected = ", ".join(map(quote, ("of batch", *columns)))
    else:
        named = [
            {row[0] for row in engine.execute(f"describe {relation}").fetchall()}
            for relation in relations
        ]
        if named[0] != named[1]:
            yield f"{name}: the columns are {sorted(named[1])}, not {sorted(named[0])}"
            return
        selected = ", ".join(map(quote, sorted(named[0])))
    both = [f"select {selected} from ({relation})" for relation in relations]
    for sign, (one, other) in {"lacks": both, "has more": both[::-1]}.items():
        rest = f"{one} except all {other}"
        [(count,)] = engine.execute(f"select count(*) from ({rest})").fetchall()
        if count:
            shown = engine.execute(
                f"select cast(columns(*) as varchar) from ({rest}) order by all limit {SHOWN_ROWS}"
            ).fetchall()
            rows = "; ".join(str(row)[:600] for row in shown)
            yield f"{name}: the found generation {sign}: {count} rows, such as {rows}"
