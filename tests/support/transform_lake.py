"""A lake whose batches the tests of the transform stage write and read."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import duckdb
from hypothesis import strategies as st
from lake_writer import ROWS, LakeWriter, row

from totes.lake.folder import FolderStore
from totes.lake.manifest import (
    ProcessedManifest,
    StarFile,
)
from totes.lake.manifests import read_processed_manifest
from totes.stages.transform import transform, write_generation
from totes.star.folder import TOTESYS, Star
from totes.star.models import Models, load_models

Row = dict[str, Any]
ALL = {table: [row(table)] for table in ROWS}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


READER = duckdb.connect()


@dataclass
class Lake:
    """An ingestion and a processed store, with functions to read the processed one."""

    folder: Path
    star: Star = TOTESYS

    def __post_init__(self) -> None:
        self.writer = LakeWriter(self.folder / "ingestion")
        self.processed = FolderStore(self.folder / "processed")

    def transform(self, models: Models | None = None) -> list[ProcessedManifest]:
        if models is None:
            return list(transform(self.writer.store, self.processed, self.star))
        return list(write_generation(self.writer.store, self.processed, 1, models))

    def add(self, *args: Any, **kwargs: Any) -> ProcessedManifest:
        """Publish an ingestion batch and transform it."""
        self.writer.add(*args, **kwargs)
        [made] = self.transform()
        return made

    def read_manifest(self, batch: int) -> ProcessedManifest:
        return read_processed_manifest(self.processed, 1, batch)[0]

    def rows(self, made: ProcessedManifest, table: str) -> list[Row]:
        return [r for file in made.files if file.table == table for r in self.read(file)]

    def rejected_rows(self, made: ProcessedManifest) -> list[Row]:
        return [row for file in made.rejected for row in self.read(file)]

    def read(self, file: StarFile) -> list[Row]:
        path = Path(self.processed.url) / file.path
        found = READER.execute(  # the driver needs another package to make timestamps
            "select * replace (epoch_us(valid_from) as valid_from)"
            " from read_parquet(?, hive_partitioning = false) order by all",
            [str(path)],
        )
        names = [column[0] for column in found.description or ()]
        rows = [dict(zip(names, values, strict=True)) for values in found.fetchall()]
        for made in rows:
            made["valid_from"] = EPOCH + timedelta(microseconds=made["valid_from"])
        assert len(rows) == file.rows
        assert sum(row.get("_op") == "delete" for row in rows) == file.deletes
        return rows


def copy_models(folder: Path) -> Path:
    """Copy the packaged models to a new folder below `folder`, which is returned."""
    with as_file(files("totes.star") / "totesys" / "models") as packaged:
        return shutil.copytree(packaged, folder / "models")


def edit(models: Path, star: str, old: str, new: str) -> Models:
    """Replace a part of a model, and return all models of the folder."""
    path = models / f"{star}.sql"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return load_models(models, TOTESYS.tables)


def keys(rows: list[Row]) -> list[Any]:
    return [next(iter(found.values())) for found in rows]


changes = st.dictionaries(st.integers(1, 6), st.none() | st.integers(1, 3), max_size=4)
