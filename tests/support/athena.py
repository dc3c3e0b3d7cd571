"""Athena for small lakes in folders: what Glue's catalogue says, carried out by DuckDB.

Queries and views are read as Athena's SQL and translated by SQLGlot; tables are found by their
location or their partition projection, as Athena finds them.
"""

import base64
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp

from totes.star.contract import literal, quote

Table = Mapping[str, Any]
"""A table as Terraform would have it: the attributes of an aws_glue_catalog_table."""

ION, JSON, PARQUET = "IonHiveSerDe", "JsonSerDe", "ParquetHiveSerDe"
VIEW = re.compile(r"/\* Presto View: (\S+) \*/")


class Athena:
    """One database of the catalogue; `buckets` are the folders that stand for them."""

    def __init__(self, tables: Iterable[Table], buckets: Mapping[str, Path]) -> None:
        self.tables = {table["name"]: table for table in tables}
        self._buckets = buckets
        self._files = {
            bucket: [path for path in sorted(folder.rglob("*")) if path.is_file()]
            for bucket, folder in buckets.items()
        }
        self._engine = duckdb.connect()
        self._engine.execute("SET TimeZone = 'UTC'")
        for table in self.tables.values():
            if not is_view(table):
                self._load(table)
        self.views = {
            name: record(table)["originalSql"]
            for name, table in self.tables.items()
            if is_view(table)
        }
        needs = {name: set(_named(sql)) & self.views.keys() for name, sql in self.views.items()}
        for name in TopologicalSorter(needs).static_order():
            self._engine.execute(f"CREATE VIEW {quote(name)} AS {_translated(self.views[name])}")

    def ask(self, query: str, *parameters: str) -> list[tuple[Any, ...]]:
        """The rows; each ? of the query is one of the parameters, in their order."""
        return self._engine.execute(_translated(query), parameters).fetchall()

    def columns(self, view: str) -> list[tuple[str, str]]:
        """Names and DuckDB's types of what a view really gives."""
        described = self._engine.execute(f"DESCRIBE {quote(view)}").fetchall()
        return [(name, kind) for name, kind, *_ in described]

    def _load(self, table: Table) -> None:
        columns, partition = columns_of(table), partition_keys(table)
        kinds = {**columns, **partition, "$path": "VARCHAR"}
        shape = ", ".join(f"{quote(name)} {kind}" for name, kind in kinds.items())
        self._engine.execute(f"CREATE TABLE {quote(table['name'])} ({shape})")
        bucket, folder = self._place(table)
        parts = defaultdict(list)
        for path in self._files[bucket]:
            url = f"s3://{bucket}/{path.relative_to(folder)}"
            if (values := partition_of(table, url)) is not None:
                parts[tuple(values[key] for key in partition)].append(str(path))
        for part, paths in parts.items():
            given = [*map(quote, columns), *map(literal, part)]
            given += [f"replace(filename, {literal(str(folder))}, {literal(f's3://{bucket}')})"]
            self._engine.execute(
                f"INSERT INTO {quote(table['name'])} SELECT {', '.join(given)}"
                f" FROM {_reader(table, paths, columns)}"
            )

    def _place(self, table: Table) -> tuple[str, Path]:
        bucket = table["storage_descriptor"][0]["location"].removeprefix("s3://").split("/")[0]
        return bucket, self._buckets[bucket]


def is_view(table: Table) -> bool:
    return bool(table["table_type"] == "VIRTUAL_VIEW")


def record(view: Table) -> dict[str, Any]:
    """What Athena keeps of a view."""
    found = VIEW.fullmatch(view["view_original_text"])
    assert found
    decoded: dict[str, Any] = json.loads(base64.b64decode(found[1]))
    return decoded


def columns_of(table: Table) -> dict[str, str]:
    """Its columns, less those of its partition, with DuckDB's types."""
    described = table["storage_descriptor"][0]["columns"]
    return {column["name"]: duck_type(column["type"]) for column in described}


def partition_keys(table: Table) -> dict[str, str]:
    return {key["name"]: duck_type(key["type"]) for key in table["partition_keys"] or ()}


def partition_of(table: Table, url: str) -> Mapping[str, str] | None:
    """The values of the partition that an object lies in; None where Athena doesn't look there."""
    said, keys = table["parameters"], partition_keys(table)
    template = table["storage_descriptor"][0]["location"]
    if keys:
        assert said["projection.enabled"] == "true"
        template = said["storage.location.template"]
    pattern = re.escape(template.rstrip("/"))
    for key in keys:
        pattern = pattern.replace(re.escape(f"${{{key}}}"), rf"(?P<{key}>\d+)")
    if not (found := re.match(rf"{pattern}/", url)):
        return None
    values = found.groupdict()
    for key, value in values.items():
        assert said[f"projection.{key}.type"] == "integer"
        first, last = map(int, said[f"projection.{key}.range"].split(","))
        digits = int(said.get(f"projection.{key}.digits", 1))
        if not first <= int(value) <= last or value != f"{int(value):0{digits}}":
            return None
    return values


def duck_type(hive: str) -> str:
    """The same type in DuckDB."""
    kind = exp.DataType.build(hive, dialect="hive").sql("duckdb").replace(", ", ",")
    return {"TEXT": "VARCHAR", "INT": "INTEGER"}.get(kind, kind)


def _reader(table: Table, paths: list[str], columns: Mapping[str, str]) -> str:
    """SQL: the rows of files, as the table's SerDe reads them, and `filename`."""
    serde = table["storage_descriptor"][0]["ser_de_info"][0]["serialization_library"]
    library = serde.rpartition(".")[2]
    files = f"[{', '.join(map(literal, paths))}]"
    if library == PARQUET:
        return f"read_parquet({files}, filename = true, union_by_name = true)"
    kinds = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in columns.items())
    lines = literal({ION: "unstructured", JSON: "newline_delimited"}[library])
    return f"read_json({files}, filename = true, format = {lines}, columns = {{{kinds}}})"


def _translated(query: str) -> str:
    [parsed] = sqlglot.parse(query, dialect="athena")
    assert isinstance(parsed, exp.Query), "SQLGlot understands it"
    return parsed.sql("duckdb")


def _named(query: str) -> Iterator[str]:
    for table in sqlglot.parse_one(query, dialect="athena").find_all(exp.Table):
        yield table.name
