"""The files of a processed batch: fetched, and checked against manifest and declaration."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import duckdb

from totes.duckdb_engine import convert_memory_errors, first_line
from totes.lake.line import IS_DELETE, IS_UPSERT, OPERATION
from totes.lake.manifest import ProcessedManifest, StarFile
from totes.lake.manifests import fetch_verified
from totes.lake.store import Store
from totes.star.contract import StarTable, parquet
from totes.star.folder import Star
from totes.star.relation import ContentMismatch, convert_mismatch

QUARANTINE_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "star_table": "VARCHAR",
        "key": "VARCHAR",
        "column_name": "VARCHAR",
        "value": "VARCHAR",
        "reason": "VARCHAR",
        "row": "VARCHAR",
        "valid_from": "TIMESTAMPTZ",
    }
)
"""The columns of files of rejected rows."""

VERSION_COLUMNS: Mapping[str, str] = MappingProxyType(
    {"valid_from": "TIMESTAMPTZ", OPERATION: "VARCHAR"}
)
"""The columns of a star table's files in addition to the declared ones."""

_DESCRIBED_TYPES = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
"""Types that DESCRIBE returns under another name."""

_DESCRIBE = "select column_name as name, column_type as type from (describe select * from {})"


def column_types(star: StarTable) -> dict[str, str]:
    """Return the declared columns, and their types in files."""
    return {column.name: column.type.name for column in star.columns}


@contextmanager
def fetched_files(  # noqa: PLR0913, PLR0917  what to fetch, and how to check it
    store: Store,
    engine: duckdb.DuckDBPyConnection,
    star: Star,
    manifest: ProcessedManifest,
    files: Iterable[StarFile],
    scratch: Path,
) -> Iterator[dict[str, Path]]:
    """Fetch and check files of a batch; yield their local paths by path in the store.

    They are deleted at the end of the block. Raises LakeError if one is missing or damaged, or does
    not have the content that its manifest says.
    """
    paths = {
        file.path: scratch / f"{manifest.batch}-{number}.parquet"
        for number, file in enumerate(files)
    }
    wanted = {file.path: file for file in (*manifest.files, *manifest.rejected)}
    try:
        for key, path in paths.items():
            file = wanted[key]
            fetch_verified(store, file, path)
            advice = "Restore both from a backup, or run totes replay."
            with convert_mismatch(file.path, store.url, advice):
                check_file(
                    engine, star, manifest, file, path, is_quarantine=file in manifest.rejected
                )
        yield paths
    finally:
        for path in paths.values():
            path.unlink(missing_ok=True)


def check_file(  # noqa: PLR0913  the file, and the expected content
    engine: duckdb.DuckDBPyConnection,
    star: Star,
    manifest: ProcessedManifest,
    file: StarFile,
    path: Path,
    *,
    is_quarantine: bool,
) -> None:
    """Raise ContentMismatch unless a file has the expected columns, types, rows and times."""
    if not is_quarantine and file.table not in star.tables:
        raise ContentMismatch(f"there is no star table {file.table}")
    expected = (
        QUARANTINE_COLUMNS
        if is_quarantine
        else {**column_types(star.tables[file.table]), **VERSION_COLUMNS}
    )
    rows = parquet(path)
    try:
        with convert_memory_errors(f"Reading {file.table} of batch {manifest.batch}"):
            actual = dict(
                engine.execute(f"select name, type from ({_DESCRIBE.format(rows)})").fetchall()
            )
            if actual != {n: _DESCRIBED_TYPES.get(kind, kind) for n, kind in expected.items()}:
                raise ContentMismatch(
                    f"its columns are not those of {'quarantine' if is_quarantine else file.table}"
                )
            is_upsert, is_delete = ("true", "false") if is_quarantine else (IS_UPSERT, IS_DELETE)
            counts = engine.execute(
                f"select count(*), count(*) filter ({is_delete}),"
                f" count(*) filter (({is_upsert} or {is_delete}) and valid_from <= ?)"
                f" from {rows}",
                [manifest.captured_at],
            ).fetchone()
    except duckdb.Error as error:
        raise ContentMismatch(first_line(error)) from error
    if counts != (file.rows, file.deletes, file.rows):
        raise ContentMismatch(
            f"its rows are not {file.rows} with {file.deletes} deletes, or one has a wrong time or"
            " operation"
        )
