"""Generate lineage, Athena's columns and docs/star.md from the star's declaration and models."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from totes.star.contract import StarTable
from totes.star.folder import TOTESYS
from totes.star.lineage import column_sources
from totes.star.models import LINEAGE_FILE, dump_lineages
from totes.warehouse.ddl import warehouse_columns

ROOT = Path(__file__).parent.parent

HIVE = {
    "INTEGER": "int",
    "BIGINT": "bigint",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "VARCHAR": "string",
}
"""Hive's types by DuckDB's; decimals have the same names."""

ABOUT = """\
# The star

Generated from [star.toml](../src/totes/star/totesys/star.toml) and the models by `make star`. Every
table, column, view and function has its comment in the warehouse, too: `\\d+ fact_sales_order`.

A fact keeps every version of its rows, from `valid_from` until `valid_to`; the view beside it has
the current ones, and the function those of a moment. A dimension has the latest version of each
row.
"""


def catalogue() -> bytes:
    """Return the star's columns for Athena's catalogue, by table, as JSON."""
    tables = {
        table.name: {
            "fact": table.is_fact,
            "key": table.key_names,
            "columns": [
                {"name": column.name, "type": HIVE.get(kind := column.type.name, kind.lower())}
                for column in table.columns
            ],
        }
        for table in TOTESYS.tables.values()
    }
    return json.dumps(tables, indent=2).encode() + b"\n"


def dictionary() -> bytes:
    """Return docs/star.md: diagrams of the facts, and every table with its columns."""
    facts = [table for table in TOTESYS.tables.values() if table.surrogate]
    lines = [ABOUT, *(line for fact in facts for line in _diagram(fact))]
    for model in TOTESYS.models.all:
        sources = {
            column.name: column_sources(model.sql, column.name, TOTESYS.tables)
            for column in model.star.columns
        }
        lines += _table(model.star, sources)
    return "\n".join(lines).encode()


def _diagram(fact: StarTable) -> Iterator[str]:
    """Yield an entity-relationship diagram, which GitHub and the documentation's site draw."""
    yield f"## {fact.name} and its dimensions\n\n```mermaid\nerDiagram"
    for column in fact.columns:
        if column.references:
            yield f"    {column.references} ||--o{{ {fact.name} : {column.name}"
    yield "```\n"


def _table(table: StarTable, sources: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    yield f"## {table.name}\n\n{table.comment}\n"
    for named in (table.current_view, table.all_view, table.as_of_function):
        if named:
            yield f"- `{named.name}`: {named.comment}"
    yield "\n| column | type | | meaning | from |\n|---|---|---|---|---|"
    for column in warehouse_columns(table):
        notes = [f"→ {column.reference}"] if column.reference else []
        notes += ["key"] if column.name in table.key_names else []
        notes += ["NULL"] if column.nullable else []
        came_from = ", ".join(sources.get(column.name, ()))
        note = ", ".join(notes)
        yield f"| `{column.name}` | {column.type} | {note} | {column.comment} | {came_from} |"
    yield ""


GENERATED: Mapping[Path, Callable[[], bytes]] = {
    ROOT / "src/totes/star/totesys/models" / LINEAGE_FILE: lambda: dump_lineages(TOTESYS.models),
    ROOT / "terraform/modules/catalogue/star_tables.json": catalogue,
    ROOT / "docs/star.md": dictionary,
}
"""Content by file."""

if __name__ == "__main__":
    for path, content in GENERATED.items():
        path.write_bytes(content())
