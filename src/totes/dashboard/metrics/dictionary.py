"""What every table and column of the star means, and which columns of totesys it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import pandas as pd

from totes.dashboard.reading import Reading
from totes.star.definition import TOTESYS
from totes.star.lineage import column_sources

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

_TABLES = {
    table.current_view.name: table.name for table in TOTESYS.tables.values() if table.current_view
}
"""The fact that a view shows the current rows of."""


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
        known.get((_TABLES.get(table, table), column), ())
        for table, column in zip(found["table"], found["column"], strict=True)
    ]
    return found


@cache
def lineage() -> Mapping[tuple[str, str], tuple[str, ...]]:
    """The source columns of each column of the star, as the models' SQL says."""
    return MappingProxyType(
        {
            (model.name, column.name): column_sources(model.sql, column.name, TOTESYS.tables)
            for model in TOTESYS.models.all
            for column in model.star.columns
        }
    )
