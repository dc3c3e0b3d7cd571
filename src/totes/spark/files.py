"""Where Spark finds stored files, and whether they are those that a manifest names."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from totes.errors import LakeError
from totes.lake.manifest import File
from totes.lake.manifests import check_digest

MAX_FILE_BYTES = 1 << 30
"""Executors hold a whole stored file in memory to compute its SHA-256; Spark's limit is 2 GB."""

PATH = "_path"
"""The column with Spark's path of a file."""


@dataclass(frozen=True)
class Location:
    """Where Spark finds a store: `url` is a folder, or a URL whose scheme Spark knows."""

    url: str

    @property
    def root(self) -> str:
        """The store's URL for Spark."""
        return self.url if "://" in self.url else f"file:{self.url}"

    def path(self, key: str) -> str:
        """Return the URL of an object or prefix, for Spark's writers."""
        return f"{self.root}/{key}"

    def pattern(self, key: str) -> str:
        """Return the same for Spark's readers, which expand wildcards."""
        return re.sub(r"([\[\]{}*?\\])", r"\\\1", self.path(key))

    def key(self, file_path: str) -> str:
        """Return the key of an object; `file_path` is what Spark calls `_metadata.file_path`."""
        path = _without_scheme(unquote(file_path))
        return path.removeprefix(f"{_without_scheme(self.root)}/")


def _without_scheme(url: str) -> str:
    """Return the path of a URL: file systems return their URLs with another scheme or slashes."""
    return re.sub(r"\A[a-z0-9]+:(//[^/]*)?", "", url)


def read_digests(session: SparkSession, location: Location, keys: Collection[str]) -> DataFrame:
    """Return path, length and SHA-256 of objects, or of those below prefixes."""
    reader = session.read.format("binaryFile").option("recursiveFileLookup", value=True)
    content = reader.load([location.pattern(key) for key in keys])
    sha256 = f.sha2(f.col("content"), 256)
    return content.select(f.col("_metadata.file_path").alias(PATH), "length", sha256.alias("sha"))


def verify_files(
    session: SparkSession, location: Location, files: Mapping[str, File]
) -> dict[str, str]:
    """Check sizes and digests of stored files; return Spark's path of each, by key.

    Raises LakeError for the first that is damaged or missing.
    """
    for file in files.values():
        if file.bytes > MAX_FILE_BYTES:
            raise LakeError(
                f"{file.path} in {location.url} has {file.bytes} bytes, too many for the engine "
                f"spark, which reads files of up to {MAX_FILE_BYTES}: use the engine duckdb."
            )
    if not files:
        return {}
    paths = {}
    for row in read_digests(session, location, list(files)).collect():
        key = location.key(row[PATH])
        if key in files:
            check_digest(files[key], location.url, row.length, row.sha)
            paths[key] = row[PATH]
    if missing := files.keys() - paths.keys():
        raise LakeError(f"Spark finds no object {min(missing)} in {location.url}.")
    return paths
