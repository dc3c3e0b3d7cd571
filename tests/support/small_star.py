"""A star of two tables, for tests in which only the steps count: an order, and its design."""

from dataclasses import replace

from totes.star.contract import StarTable
from totes.star.folder import TOTESYS, Star


def _fact() -> StarTable:
    fact = TOTESYS.tables["fact_sales_order"]
    columns = tuple(
        column if column.references == "dim_design" else replace(column, references=None)
        for column in fact.columns
    )
    return replace(fact, columns=columns)


SMALL = Star(
    TOTESYS.folder,
    {"dim_design": TOTESYS.tables["dim_design"], "fact_sales_order": _fact()},
)

FACT = "fact_sales_order"
