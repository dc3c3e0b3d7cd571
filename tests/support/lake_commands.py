"""Commands of totes on a lake without databases, as an operator runs them."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

import duckdb
from generations import Generation
from typer.testing import CliRunner, Result

from totes.cli import app
from totes.lake.folder import FolderStore
from totes.lake.manifest import manifest_path
from totes.sql_text import literal


class CommandError(Exception):
    """A command failed."""

    def __init__(self, result: Result) -> None:
        super().__init__(f"exit code {result.exit_code}: {result.output}")
        self.exit_code = result.exit_code
        self.messages = [line for line in result.output.splitlines() if line.startswith("totes: ")]


def transform(ingestion: Path, processed: Path, engine: str) -> Generation:
    """Run `totes transform` with an engine; return the generation, or raise CommandError."""
    result = CliRunner().invoke(
        app,
        ["transform", "--engine", engine],
        env={
            "TOTES_HOME": str(processed.parent / "home"),
            "TOTES_INGESTION_URL": str(ingestion),
            "TOTES_PROCESSED_URL": str(processed),
            "TOTES_SPARK_MIN_SIZE": "0MB",
        },
    )
    if result.exit_code:
        raise CommandError(result) from result.exception
    return Generation(FolderStore(processed), 1)


def first_batches(ingestion: Path, batches: int, folder: Path) -> Path:
    """Make `folder` an ingestion store with the first batches of another, and return it."""
    shutil.copytree(ingestion, folder, copy_function=os.link, dirs_exist_ok=True)
    while (path := folder / manifest_path(batches + 1)).exists():
        path.unlink()
        batches += 1
    return folder


def restore_batches(ingestion: Path, batches: int, folder: Path) -> None:
    """Add the manifests of later batches, up to a number, to such a store."""
    for batch in range(1, batches + 1):
        path = manifest_path(batch)
        if not (folder / path).exists():
            os.link(ingestion / path, folder / path)


def writers(generation: Generation, only: Collection[int] | None = None) -> dict[str, set[str]]:
    """Return the programs that wrote the accepted rows of each star table, from the files.

    only: the batches to look at; all if None.
    """
    programs: dict[str, set[str]] = {}
    with duckdb.connect() as engine:
        for manifest in generation.manifests():
            if only is not None and manifest.batch not in only:
                continue
            for file in manifest.files:
                path = literal(generation.local(file))
                [(written_by,)] = engine.execute(
                    f"select created_by from parquet_file_metadata({path})"
                ).fetchall()
                program = "duckdb" if written_by.startswith("DuckDB") else "spark"
                programs.setdefault(file.table, set()).add(program)
    return programs
