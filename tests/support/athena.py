"""Athena for small lakes in folders: DuckDB runs queries on the tables of Glue's catalogue.

SQLGlot translates queries and views from Athena's SQL. Files of tables are found by location and
partition projection, as in Athena.
"""

import base64
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp

from totes.sql_text import literal, quote

Table = Mapping[str, Any]
"""The attributes of an aws_glue_catalog_table in Terraform."""

ION, JSON, PARQUET = "IonHiveSerDe", "JsonSerDe", "ParquetHiveSerDe"
VIEW = re.compile(r"/\* Presto View: (\S+) \*/")


class Athena:
    """One database of the catalogue; `buckets` are folders by the name of the bucket."""

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
            name: view_record(table)["originalSql"]
            for name, table in self.tables.items()
            if is_view(table)
        }
        needs = {name: set(_tables_of(sql)) & self.views.keys() for name, sql in self.views.items()}
        for name in TopologicalSorter(needs).static_order():
            self._engine.execute(f"CREATE VIEW {quote(name)} AS {_translate(self.views[name])}")

    def query(self, statement: str, *parameters: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query, with a parameter for each `?`."""
        return self._engine.execute(_translate(statement), parameters).fetchall()

    def columns(self, view: str) -> list[tuple[str, str]]:
        """Return the names and the DuckDB types of a view's actual columns."""
        described = self._engine.execute(f"DESCRIBE {quote(view)}").fetchall()
        return [(name, kind) for name, kind, *_ in described]

    def _load(self, table: Table) -> None:
        columns, partition = columns_of(table), partition_keys(table)
        kinds = {**columns, **partition, "$path": "VARCHAR"}
        shape = ", ".join(f"{quote(name)} {kind}" for name, kind in kinds.items())
        self._engine.execute(f"CREATE TABLE {quote(table['name'])} ({shape})")
        bucket, folder = self._bucket(table)
        parts = defaultdict(list)
        for path in self._files[bucket]:
            url = f"s3://{bucket}/{path.relative_to(folder)}"
            if (values := partition_of(table, url)) is not None:
                parts[tuple(values[key] for key in partition)].append(str(path))
        for part, paths in parts.items():
            selected = [*map(quote, columns), *map(literal, part)]
            selected += [f"replace(filename, {literal(str(folder))}, {literal(f's3://{bucket}')})"]
            self._engine.execute(
                f"INSERT INTO {quote(table['name'])} SELECT {', '.join(selected)}"
                f" FROM {_reader(table, paths, columns)}"
            )

    def _bucket(self, table: Table) -> tuple[str, Path]:
        bucket = table["storage_descriptor"][0]["location"].removeprefix("s3://").split("/")[0]
        return bucket, self._buckets[bucket]


def is_view(table: Table) -> bool:
    return bool(table["table_type"] == "VIRTUAL_VIEW")


def view_record(view: Table) -> dict[str, Any]:
    """Return Athena's stored description of a view."""
    found = VIEW.fullmatch(view["view_original_text"])
    assert found
    decoded: dict[str, Any] = json.loads(base64.b64decode(found[1]))
    return decoded


def columns_of(table: Table) -> dict[str, str]:
    """Return a table's columns without its partition keys, with DuckDB's types."""
    described = table["storage_descriptor"][0]["columns"]
    return {column["name"]: duck_type(column["type"]) for column in described}


def partition_keys(table: Table) -> dict[str, str]:
    return {key["name"]: duck_type(key["type"]) for key in table["partition_keys"] or ()}


def partition_of(table: Table, url: str) -> Mapping[str, str] | None:
    """Return the partition values of an object; None if Athena does not project its folder."""
    parameters, keys = table["parameters"], partition_keys(table)
    template = table["storage_descriptor"][0]["location"]
    if keys:
        assert parameters["projection.enabled"] == "true"
        template = parameters["storage.location.template"]
    pattern = re.escape(template.rstrip("/"))
    for key in keys:
        pattern = pattern.replace(re.escape(f"${{{key}}}"), f"(?P<{key}>[^/]+)")
    if not (found := re.match(rf"{pattern}/", url)):
        return None
    values = found.groupdict()
    if all(_is_projected(value, key, parameters) for key, value in values.items()):
        return values
    return None


def _is_projected(value: str, key: str, parameters: Mapping[str, str]) -> bool:
    first, last = parameters[f"projection.{key}.range"].split(",")
    if parameters[f"projection.{key}.type"] == "integer":
        return int(first) <= int(value) <= int(last) and value == str(int(value))
    assert parameters[f"projection.{key}.type"] == "date"
    assert parameters[f"projection.{key}.format"] == "yyyy-MM-dd"
    assert last == "NOW+1DAYS"
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    return date.fromisoformat(first) <= date.fromisoformat(value) <= tomorrow


def duck_type(hive: str) -> str:
    """Return DuckDB's name of a Hive type."""
    kind = exp.DataType.build(hive, dialect="hive").sql("duckdb").replace(", ", ",")
    return {"TEXT": "VARCHAR", "INT": "INTEGER"}.get(kind, kind)


def _reader(table: Table, paths: list[str], columns: Mapping[str, str]) -> str:
    """Return SQL that reads the rows of files as the table's SerDe does, with `filename`."""
    serde = table["storage_descriptor"][0]["ser_de_info"][0]["serialization_library"]
    library = serde.rpartition(".")[2]
    files = f"[{', '.join(map(literal, paths))}]"
    if library == PARQUET:
        options = "filename = true, union_by_name = true, hive_partitioning = false"
        return f"read_parquet({files}, {options})"
    kinds = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in columns.items())
    lines = literal({ION: "unstructured", JSON: "newline_delimited"}[library])
    return f"read_json({files}, filename = true, format = {lines}, columns = {{{kinds}}})"


def _translate(query: str) -> str:
    [parsed] = sqlglot.parse(query, dialect="athena")
    assert isinstance(parsed, exp.Query), "SQLGlot parses it as a query"
    return parsed.sql("duckdb")


def _tables_of(query: str) -> Iterator[str]:
    for table in sqlglot.parse_one(query, dialect="athena").find_all(exp.Table):
        yield table.name
