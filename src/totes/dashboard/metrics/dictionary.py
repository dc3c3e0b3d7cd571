"""The meaning of the star's tables and columns, and the columns of totesys they come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import pandas as pd

from totes.dashboard.bookkeeping import Bookkeeping
from totes.star.folder import TOTESYS
from totes.star.lineage import column_sources

FACTS: Mapping[str, str] = MappingProxyType(
    {
        "Sales": "fact_sales_order",
        "Purchases": "fact_purchase_order",
        "Payments": "fact_payment",
    }
)
"""The fact of each star schema."""

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
"""The fact of each view of current rows."""


@dataclass(frozen=True)
class StarSchema:
    """A fact, and each dimension with the columns of the fact that refer to it."""

    name: str
    fact: str
    dimensions: tuple[tuple[str, tuple[str, ...]], ...]


def star(name: str) -> StarSchema:
    """Return the star schema of one of FACTS."""
    fact = TOTESYS.tables[FACTS[name]]
    references: dict[str, list[str]] = {}
    for column in fact.columns:
        if column.references:
            references.setdefault(column.references, []).append(column.name)
    dimensions = tuple((dimension, tuple(columns)) for dimension, columns in references.items())
    return StarSchema(name, fact.name, dimensions)


def tables(bookkeeping: Bookkeeping) -> pd.DataFrame:
    """Return the star's tables and views: table, kind, meaning, rows_estimate."""
    return bookkeeping.run("dictionary_tables", names=list(_NAMES))


def columns(bookkeeping: Bookkeeping) -> pd.DataFrame:
    """Return their columns: table, column, type, nullable, key, references, meaning, sources.

    `sources` are columns of totesys as table.column.
    """
    found = bookkeeping.run("dictionary_columns", names=list(_NAMES))
    source_columns = lineage()
    found["sources"] = [
        source_columns.get((_TABLES.get(table, table), column), ())
        for table, column in zip(found["table"], found["column"], strict=True)
    ]
    return found


@cache
def lineage() -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Return the source columns of each column of the star, from the SQL of the models."""
    return MappingProxyType(
        {
            (model.name, column.name): column_sources(model.sql, column.name, TOTESYS.tables)
            for model in TOTESYS.models.all
            for column in model.star.columns
        }
    )
