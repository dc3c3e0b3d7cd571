"""Charts of any columns."""

from datetime import date
from decimal import Decimal
from typing import Any

import pandas as pd

from totes.dashboard import charts
from totes.dashboard.charts import Column
from totes.dashboard.charts.explored import MAX_MEMBERS, MAX_SERIES

DAY, COUNTRY = Column("day", "Day", grain="day"), Column("country", "Country")
REVENUE, ORDERS = Column("revenue", "Revenue", "GBP"), Column("orders", "Orders")


def drawn(frame: pd.DataFrame, *parts: Any) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """The specification of a chart, its data and its text."""
    chart = charts.explored(frame, *parts, dark=False)
    spec = chart.spec.to_dict()
    [rows] = spec["datasets"].values()
    return spec, rows, chart.alt_text


def test_a_chart_by_day_is_in_the_order_of_days() -> None:
    days = [date(2024, 1, 31), date(2024, 2, 1)]
    frame = pd.DataFrame({"day": days, "revenue": [Decimal("1.5"), None]})
    spec, rows, text = drawn(frame, [DAY], [REVENUE], "lines")
    assert spec["mark"]["type"] == "line"
    assert spec["encoding"]["x"]["sort"] == ["31 Jan 2024", "1 Feb 2024"]
    assert [row["exact"] for row in rows] == ["£1.50", "not converted"]
    assert text == "31 Jan 2024, Revenue: £1.50; 1 Feb 2024, Revenue: not converted."


def test_several_values_have_a_bar_each_and_a_second_dimension_parts_of_one() -> None:
    frame = pd.DataFrame(
        {
            "country": ["Peru", "Japan", "Japan"],
            "day": [date(2024, 1, 1), date(2024, 1, 1), date(2024, 1, 2)],
            "revenue": [Decimal(3), Decimal(2), Decimal(2)],
            "orders": [1, 2, 3],
        }
    )
    spec, rows, _ = drawn(frame, [COUNTRY], [REVENUE, ORDERS], "bars")
    assert spec["encoding"]["yOffset"]["sort"] == ["Revenue", "Orders"]
    assert [row["exact"] for row in rows] == ["£3.00", "1", "£2.00", "2", "£2.00", "3"]
    spec, rows, _ = drawn(frame, [COUNTRY, DAY], [REVENUE], "bars")
    assert "yOffset" not in spec["encoding"]
    assert spec["encoding"]["y"]["sort"] == ["Japan", "Peru"]  # by the sum
    assert {row["series"] for row in rows} == {"1 Jan 2024", "2 Jan 2024"}


def test_names_and_colours_that_are_not_shown_are_counted() -> None:
    names = [f"{number:02}" for number in range(40)]
    frame = pd.DataFrame({"country": names, "day": names, "revenue": [Decimal(1)] * 40})
    _, rows, text = drawn(frame, [COUNTRY], [REVENUE], "bars")
    assert len(rows) == MAX_MEMBERS
    assert text.endswith("; 3 more. Country: 15 of 40 shown.")
    _, rows, text = drawn(frame, [COUNTRY, Column("day", "Day")], [REVENUE], "bars")
    assert len(rows) == MAX_SERIES
    assert text.endswith("Country: 15 of 40 shown. Colours: 7 of 40 shown.")


def test_null_and_control_characters_have_a_text() -> None:
    frame = pd.DataFrame({"country": [None, "a\nb"], "orders": [1, 2]})
    _, rows, _ = drawn(frame, [COUNTRY], [ORDERS], "bars")
    assert [row["label"] for row in rows] == ["-", "a\\nb"]
