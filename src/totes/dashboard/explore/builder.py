"""Compose a statement from the declared metrics and dimensions.

Users choose names only; each statement is complete and can be run by hand like a question.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType

from totes.dashboard.explore.sandbox import SHOWN_ROWS
from totes.dashboard.metrics.definitions import METRICS, Metric

_ORDERS = ("sales_line", "purchase_line", "order_line")
_ALL = (*_ORDERS, "payment_line")


@dataclass(frozen=True)
class Dimension:
    """A column of the views `lines` that rows are grouped by; `grain` is the period of a day."""

    name: str
    label: str
    sql: str
    lines: tuple[str, ...] = _ALL
    grain: str = ""


def _period(grain: str) -> Dimension:
    return Dimension(grain, grain.capitalize(), f"date_trunc('{grain}', day)::date", grain=grain)


DIMENSIONS: Mapping[str, Dimension] = MappingProxyType(
    {
        dimension.name: dimension
        for dimension in (
            Dimension("day", "Day", "day", grain="day"),
            *map(_period, ("week", "month", "quarter", "year")),
            Dimension("country", "Country", "country"),
            Dimension("counterparty", "Counterparty", "counterparty"),
            Dimension("department", "Department", "department"),
            Dimension("staff", "Member of staff", "staff"),
            Dimension("currency", "Currency", "currency"),
            Dimension("design", "Design", "design", ("sales_line", "order_line")),
            Dimension("item", "Item", "item_code", ("purchase_line", "order_line")),
            Dimension("payment_type", "Payment type", "payment_type", ("payment_line",)),
        )
    }
)
"""All dimensions by name, in the order in which they are offered."""


def common_dimensions(metrics: Iterable[Metric]) -> list[str]:
    """Return the names of the dimensions that the rows of all the metrics have."""
    lines = {metric.line for metric in metrics}
    return [name for name, dimension in DIMENSIONS.items() if lines <= set(dimension.lines)]


def statement(metrics: Sequence[str], dimensions: Sequence[str]) -> str:
    """Return the SQL of metrics by up to two dimensions, which all of the metrics have.

    Metrics of other rows are in a part of their own; the parts are joined by the dimensions, also
    where these are NULL. A metric is NULL where its part has no rows.
    """
    grouped_by = [DIMENSIONS[name] for name in dimensions]
    parts = [_select(part, grouped_by) for part in parts_of(metrics)]
    order = [name for name in dimensions if DIMENSIONS[name].grain]
    if others := [name for name in dimensions if not DIMENSIONS[name].grain]:
        order += [f"{metrics[0]} DESC NULLS LAST", *others]
    end = f"\nORDER BY {', '.join(order)}\nLIMIT {SHOWN_ROWS}" if dimensions else ""
    if len(parts) == 1:
        return parts[0] + end
    named = [f"part_{number} AS (\n{_indent(part)}\n)" for number, part in enumerate(parts, 1)]
    columns = [*dimensions, *(f"any_value({name}) AS {name}" for name in metrics)]
    union = " UNION ALL BY NAME ".join(f"FROM part_{number + 1}" for number in range(len(parts)))
    return (
        f"WITH {',\n\n'.join(named)}\n\nSELECT\n{_list(columns)}\nFROM ({union})"
        + ("\nGROUP BY ALL" if dimensions else "")
        + end
    )


def parts_of(metrics: Iterable[str]) -> list[list[Metric]]:
    """Return the metrics in parts of those that are computed from the same rows."""
    chosen = sorted((METRICS[name] for name in metrics), key=_rows)
    return [list(part) for _, part in groupby(chosen, key=_rows)]


def _rows(metric: Metric) -> tuple[str, str]:
    return metric.line, metric.filters


def _select(metrics: Sequence[Metric], dimensions: Sequence[Dimension]) -> str:
    columns = [one.sql if one.sql == one.name else f"{one.sql} AS {one.name}" for one in dimensions]
    columns += [f"{metric.value} AS {metric.name}" for metric in metrics]
    return f"SELECT\n{_list(columns)}\nFROM {metrics[0].line}\nWHERE {metrics[0].filters}" + (
        "\nGROUP BY ALL" if dimensions else ""
    )


def _list(columns: Iterable[str]) -> str:
    return ",\n".join(f"    {column}" for column in columns)


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
