"""The declaration of each metric, which cards, the data dictionary, alerts and Explore share.

A metric is an aggregate over the rows of a view of `views.sql`; its SQL is complete, and can be run
by hand like a question.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import periods
from totes.dashboard.reading import Reading

type Unit = Literal["money", "price", "count"]
type Better = Literal["up", "down", ""]


@dataclass(frozen=True)
class Metric:
    """A number: how it is computed, in words and in SQL.

    `formula` and `rows` are in words; `columns` are the star's columns that the SQL reads. `value`
    is an aggregate over the rows of the view `line` that match `condition`. `of_period` is whether
    the metric includes only the days of a period, instead of all days until now. `better` is the
    direction of a change for the better, empty if there is none.
    """

    name: str
    label: str
    formula: str
    rows: str
    columns: tuple[str, ...]
    unit: Unit
    line: str
    value: str
    condition: str = ""
    of_period: bool = True
    better: Better = ""

    @property
    def help(self) -> str:
        """The definition in words, in two sentences."""
        converted = (
            " Amounts are converted at the exchange rate of their day."
            if self.unit != "count"
            else ""
        )
        return f"{self.formula}. Includes {self.rows}.{converted}"

    @property
    def filters(self) -> str:
        """The SQL condition on rows: the period, the filters of the page and the metric's own."""
        parts = ["selected", *(["is_in_period(day)"] if self.of_period else [])]
        return " AND ".join([*parts, *([self.condition] if self.condition else [])])

    @property
    def sql(self) -> str:
        """The statement whose only value is the metric."""
        return f"SELECT {self.value} AS {self.name}\nFROM {self.line}\nWHERE {self.filters}"


_SALES = ("fact_sales_order.units_sold", "fact_sales_order.unit_price")
_PURCHASES = ("fact_purchase_order.item_quantity", "fact_purchase_order.item_unit_price")
_PAYMENTS = ("fact_payment.payment_amount", "dim_payment_type.payment_type_name")

_SUM = "money_sum(true, high, low)"

_SALES_ROWS = "sales orders created in the period"
_PURCHASES_ROWS = "purchase orders created in the period"

_ALL = (
    Metric(
        name="revenue",
        label="Revenue",
        formula="Units times unit price of sales orders",
        rows=_SALES_ROWS,
        columns=_SALES,
        unit="money",
        line="sales_line",
        value=_SUM,
        better="up",
    ),
    Metric(
        name="sales_orders",
        label="Sales orders",
        formula="Number of sales orders",
        rows=_SALES_ROWS,
        columns=("fact_sales_order.sales_order_id",),
        unit="count",
        line="sales_line",
        value="count(*)",
        better="up",
    ),
    Metric(
        name="units",
        label="Units",
        formula="Units sold",
        rows=_SALES_ROWS,
        columns=("fact_sales_order.units_sold",),
        unit="count",
        line="sales_line",
        value="coalesce(sum(units), 0)::bigint",
        better="up",
    ),
    Metric(
        name="average_price",
        label="Average price",
        formula="Revenue divided by units",
        rows=f"{_SALES_ROWS} that can be converted",
        columns=_SALES,
        unit="price",
        line="sales_line",
        value="price_of(high, low, units)",
        condition="NOT lacks_rate",
    ),
    Metric(
        name="customers",
        label="Customers",
        formula="Number of different counterparties of sales orders",
        rows=_SALES_ROWS,
        columns=("fact_sales_order.counterparty_id",),
        unit="count",
        line="sales_line",
        value="count(DISTINCT counterparty_id)",
        better="up",
    ),
    Metric(
        name="new_customers",
        label="New customers",
        formula="Number of customers whose first order is in the period",
        rows=_SALES_ROWS,
        columns=("fact_sales_order.counterparty_id", "fact_sales_order.created_date"),
        unit="count",
        line="sales_line",
        value="count(DISTINCT counterparty_id)",
        condition="counterparty_id IN (FROM new_customer)",
        better="up",
    ),
    Metric(
        name="returning_customers",
        label="Returning customers",
        formula="Number of customers whose first order is before the period",
        rows=_SALES_ROWS,
        columns=("fact_sales_order.counterparty_id", "fact_sales_order.created_date"),
        unit="count",
        line="sales_line",
        value="count(DISTINCT counterparty_id)",
        condition="counterparty_id NOT IN (FROM new_customer)",
        better="up",
    ),
    Metric(
        name="purchases",
        label="Purchases",
        formula="Quantity times unit price of purchase orders",
        rows=_PURCHASES_ROWS,
        columns=_PURCHASES,
        unit="money",
        line="purchase_line",
        value=_SUM,
    ),
    Metric(
        name="purchase_orders",
        label="Purchase orders",
        formula="Number of purchase orders",
        rows=_PURCHASES_ROWS,
        columns=("fact_purchase_order.purchase_order_id",),
        unit="count",
        line="purchase_line",
        value="count(*)",
    ),
    Metric(
        name="items",
        label="Items",
        formula="Quantity ordered",
        rows=_PURCHASES_ROWS,
        columns=("fact_purchase_order.item_quantity",),
        unit="count",
        line="purchase_line",
        value="coalesce(sum(units), 0)::bigint",
    ),
    Metric(
        name="margin",
        label="Margin",
        formula="Revenue less purchases",
        rows="sales and purchase orders created in the period",
        columns=(*_SALES, *_PURCHASES),
        unit="money",
        line="order_line",
        value="money_sum(kind = 'sales', high, low) - money_sum(kind = 'purchases', high, low)",
        better="up",
    ),
    Metric(
        name="cash_in",
        label="Cash in",
        formula="Amount of sales receipts less sales refunds",
        rows="paid payments dated in the period",
        columns=_PAYMENTS,
        unit="money",
        line="payment_line",
        value=_SUM,
        condition="paid AND direction = 'in'",
        better="up",
    ),
    Metric(
        name="cash_out",
        label="Cash out",
        formula="Amount of purchase payments less purchase refunds",
        rows="paid payments dated in the period",
        columns=_PAYMENTS,
        unit="money",
        line="payment_line",
        value=_SUM,
        condition="paid AND direction = 'out'",
    ),
    Metric(
        name="receivable",
        label="Receivables",
        formula="Amount of sales receipts less sales refunds that are not paid",
        rows="payments of all days",
        columns=_PAYMENTS,
        unit="money",
        line="payment_line",
        value=_SUM,
        condition="NOT paid AND direction = 'in'",
        of_period=False,
    ),
    Metric(
        name="overdue_receivable",
        label="Overdue receivables",
        formula="The part of receivables that was due before today",
        rows="payments of all days",
        columns=(*_PAYMENTS, "fact_payment.payment_date"),
        unit="money",
        line="payment_line",
        value=_SUM,
        condition="NOT paid AND direction = 'in' AND is_overdue(day)",
        of_period=False,
        better="down",
    ),
    Metric(
        name="uncovered_receivable",
        label="Receivables not covered",
        formula="The part of overdue receivables that payment runs do not cover",
        rows="payments that are due on a weekend or on their creation date",
        columns=(*_PAYMENTS, "fact_payment.payment_date", "fact_payment.created_date"),
        unit="money",
        line="payment_line",
        value=_SUM,
        condition="NOT paid AND direction = 'in' AND is_overdue(day) AND lacks_payment_run",
        of_period=False,
        better="down",
    ),
    Metric(
        name="payable",
        label="Payables",
        formula="Amount of purchase payments less purchase refunds that are not paid",
        rows="payments of all days",
        columns=_PAYMENTS,
        unit="money",
        line="payment_line",
        value=_SUM,
        condition="NOT paid AND direction = 'out'",
        of_period=False,
    ),
    Metric(
        name="overdue_payable",
        label="Overdue payables",
        formula="The part of payables that was due before today",
        rows="payments of all days",
        columns=(*_PAYMENTS, "fact_payment.payment_date"),
        unit="money",
        line="payment_line",
        value=_SUM,
        condition="NOT paid AND direction = 'out' AND is_overdue(day)",
        of_period=False,
        better="down",
    ),
    Metric(
        name="uncovered_payable",
        label="Payables not covered",
        formula="The part of overdue payables that payment runs do not cover",
        rows="payments that are due on a weekend or on their creation date",
        columns=(*_PAYMENTS, "fact_payment.payment_date", "fact_payment.created_date"),
        unit="money",
        line="payment_line",
        value=_SUM,
        condition="NOT paid AND direction = 'out' AND is_overdue(day) AND lacks_payment_run",
        of_period=False,
        better="down",
    ),
)

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _ALL})
"""All metrics by name."""


def value(reading: Reading, criteria: Filter, metric: Metric) -> Any:
    """Return the value of a metric for a filter: a Decimal of money, or an int.

    It is None if there are rows and none can be converted.
    """
    today = periods.days(reading, criteria.as_of).today
    return reading.query(metric.sql, criteria, today=today)[0][0]
