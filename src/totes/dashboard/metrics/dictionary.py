"""What every table and column of the star means, and which columns of totesys it comes from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import pandas as pd
import sqlglot.lineage
from sqlglot import exp

from totes.dashboard.reading import Reading
from totes.star.definition import TOTESYS
from totes.star.lineage import ISO_CURRENCY

FACTS: Mapping[str, str] = MappingProxyType(
    {
        "Sales": "fact_sales_order",
        "Purchases": "fact_purchase_order",
        "Payments": "fact_payment",
    }
)
"""The star schemas by the fact in their middle."""

_VIEWS = (
    "current_sales_order",
    "current_purchase_order",
    "current_payment",
    "current_exchange_rate",
    "fact_purchase_orders",
)

_NAMES = (*TOTESYS.tables, *_VIEWS)


@dataclass(frozen=True)
class StarSchema:
    """A fact, and each dimension with the fact's columns that point at it."""

    name: str
    fact: str
    dimensions: tuple[tuple[str, tuple[str, ...]], ...]


def star(name: str) -> StarSchema:
    """One of FACTS."""
    fact = TOTESYS.tables[FACTS[name]]
    pointing: dict[str, list[str]] = {}
    for column in fact.columns:
        if column.references:
            pointing.setdefault(column.references, []).append(column.name)
    found = tuple((dimension, tuple(columns)) for dimension, columns in pointing.items())
    return StarSchema(name, fact.name, found)


def tables(reading: Reading) -> pd.DataFrame:
    """The star's tables and views: table, kind, meaning, rows_estimate."""
    return reading.run("dictionary_tables", names=list(_NAMES))


def columns(reading: Reading) -> pd.DataFrame:
    """Their columns: table, column, type, nullable, key, references, meaning, sources.

    `sources` are columns of totesys as table.column.
    """
    found = reading.run("dictionary_columns", names=list(_NAMES))
    known = lineage()
    found["sources"] = [
        known.get((table.replace("current_", "fact_"), column), ())
        for table, column in zip(found["table"], found["column"], strict=True)
    ]
    return found


@cache
def lineage() -> Mapping[tuple[str, str], tuple[str, ...]]:
    """The source columns of each column of the star, as the models' SQL says."""
    found = {}
    for model in TOTESYS.models.all:
        for column in model.star.columns:
            node = sqlglot.lineage.lineage(column.name, model.sql, {}, dialect="duckdb")
            found[model.name, column.name] = tuple(sorted(set(_leaves(node))))
    return MappingProxyType(found)


def _leaves(node: sqlglot.lineage.Node) -> Iterator[str]:
    """The columns of totesys at the ends."""
    for step in node.walk():
        if step.downstream or not isinstance(step.source, exp.Table):
            continue
        table = step.source.name
        if table and table not in TOTESYS.tables and table != ISO_CURRENCY:
            yield f"{table}.{exp.to_column(step.name).name}"
