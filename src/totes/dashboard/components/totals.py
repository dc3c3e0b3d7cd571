"""Cards with a number, its change, and what it excludes."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from totes.dashboard import metrics, text
from totes.dashboard.metrics import Quarantined, Total
from totes.dashboard.metrics.definitions import METRICS
from totes.dashboard.metrics.periods import PER_DAY
from totes.dashboard.metrics.total import relative_change
from totes.dashboard.navigation.view import View

type Arrow = Literal["up", "down", "off"]

CARDS = "cards"
"""Prefix of the key of a row of cards, to which style.css applies."""

NO_DEBT_COMPARISON = (
    "No comparison for receivables and payables: history does not reach back to the beginning of "
    "the period, or rows can't be converted."
)


def cards(key: str, *, across: int = 3) -> DeltaGenerator:
    """Return a container of cards of equal width, `across` (2 to 4) in a row, on phones two."""
    return st.container(horizontal=True, key=f"{CARDS}-{across}-{key}")


COLOURS = " Green: better. Red: worse. Grey: neither."
"""The rule of the colours of changes, for the help of cards."""

TREND = " The trend is of complete periods and starts at its lowest value, not at zero."
"""For the help of cards with a trend."""


def lacks_debts_before(page: View, *debts: Total) -> bool:
    """Return whether a comparison is wanted that none of the debts has."""
    return page.criteria.compare != "none" and all(one.before is None for one in debts)


class Versus(NamedTuple):
    """What a value is compared with: `scale` times the earlier value is comparable."""

    label: str
    scale: Fraction = Fraction(1)
    days: str = ""


def versus_previous(page: View) -> Versus | None:
    """Return such as `vs previous 30 days`; None if there is no period to compare with."""
    comparison = metrics.comparison(page.reading, page.criteria)
    if comparison is None:
        return None
    days = ""
    if comparison.scale != 1:
        before, now = comparison.previous.working_days, comparison.passed.working_days
        days = f" in {before} working days, now {now}"
    return Versus(comparison.label, comparison.scale, days)


def versus_start(page: View) -> Versus | None:
    """Return such as `vs 24 Oct 2026`, the beginning of the page's period."""
    if page.criteria.compare == "none":
        return None
    return Versus(f"vs {text.day(page.criteria.since)}")


def periods(page: View) -> str:
    """Return the page's period and the one that it is compared with, for a caption."""
    criteria = page.criteria
    shown = text.period(criteria.since, criteria.until)
    comparison = metrics.comparison(page.reading, criteria)
    if comparison is not None:
        previous = text.period(comparison.previous.since, comparison.previous.until)
        return f"{shown}, compared with {previous}."
    if criteria.compare == "none":
        return f"{shown}."
    return f"{shown}. No comparison: the data does not reach back to the previous period."


def total(  # noqa: PLR0913  the parts of a card
    page: View,
    figure: Total,
    *,
    versus: Versus | None = None,
    spark: Sequence[Decimal | None] = (),
    label: str = "",
    note: str = "",
) -> None:
    """Show an amount, its change `versus` an earlier one, and the rows that it excludes.

    The help has the metric's definition and the exact amount.
    """
    metric, currency = METRICS[figure.metric], page.currency
    delta, arrow = change(figure) if versus else (None, "off")
    exact = (
        "No row of this total can be converted."
        if figure.value is None
        else f"Exact amount: {text.money(figure.value, currency, exact=True)}."
    )
    with st.container(border=True, height="stretch", gap="xsmall"):  # captions are in the card
        st.metric(
            label or metric.label,
            text.money(figure.value, currency),
            delta,
            delta_arrow=arrow,
            delta_color=_colour(arrow, metric.better),
            delta_description=_versus(versus, text.money(figure.before, currency))
            if delta
            else None,
            help=text.markdown(
                f"{metric.help} {exact}{COLOURS if delta else ''}{TREND if spark else ''}"
            ),
            chart_data=_sparkline(spark),
            chart_type="area",
        )
        if note:
            st.caption(note)
        for line in exclusions(figure, currency):
            st.caption(text.markdown(f":material/hourglass_top: {line}"))


def number(
    page: View,
    name: str,
    now: int | Decimal | None,
    before: int | Decimal | None,
    *,
    versus: Versus | None = None,
) -> None:
    """Show a metric that is a count or a price, with its change `versus` an earlier one."""
    metric = METRICS[name]

    def shown(value: int | Decimal) -> str:
        if metric.unit == "price":
            return text.money(Decimal(value), page.currency, exact=True)
        return f"{value:,}"

    delta: str | None = None
    description: str | None = None
    arrow: Arrow = "off"
    if now is not None and before and versus:
        scale = Fraction(1) if metric.unit == "price" else versus.scale
        share = relative_change(now, before, scale) or Decimal()
        arrow = "up" if share > 0 else "down" if share < 0 else "off"
        delta = text.change(share)
        label = versus.label.removeprefix(PER_DAY) if metric.unit == "price" else versus.label
        description = _versus(Versus(label), shown(before))
    st.metric(
        metric.label,
        "-" if now is None else shown(now),
        delta,
        delta_arrow=arrow,
        delta_color=_colour(arrow, metric.better),
        delta_description=description,
        help=metric.help + (COLOURS if delta else ""),
        border=True,
        height="stretch",
    )


def change(figure: Total) -> tuple[str | None, Arrow]:
    """Return the change of a total such as `+12.0 %`, and its arrow."""
    if figure.before is None or figure.value is None:
        return None, "off"
    arrow: Arrow = figure.direction if figure.direction in ("up", "down") else "off"
    if figure.change is not None:
        return text.change(figure.change), arrow
    return ("no change" if arrow == "off" else f"{arrow} from 0"), arrow


def exclusions(figure: Total, currency: str) -> list[str]:
    """Return a line for each kind of rows that a total excludes, or has in an earlier version."""
    lines = []
    quarantined = figure.quarantined
    if figure.unconverted:
        rows = text.count(figure.unconverted, "row")
        lines.append(text.unconverted(rows))
    if quarantined.rows:
        rows = text.count(quarantined.rows, "row")
        lines.append(f"In quarantine, not included: {rows} ({_amount(quarantined, currency)})")
    if quarantined.uncertain:
        rows = text.count(quarantined.uncertain, "row")
        lines.append(f"In quarantine, possibly part of this total: {rows}")
    if quarantined.outdated:
        rows = text.count(quarantined.outdated, "row")
        difference = _difference(quarantined, currency)
        lines.append(f"Newest version in quarantine, previous one included: {rows} ({difference})")
    return lines


def _amount(quarantined: Quarantined, currency: str) -> str:
    """Return the amount of the rows that are not included."""
    if quarantined.unknown_values == quarantined.rows:
        return "amount unknown"
    amount = text.money(quarantined.value, currency)
    unknown = quarantined.unknown_values
    return f"{amount}, and {unknown:,} of unknown amount" if unknown else amount


def _difference(quarantined: Quarantined, currency: str) -> str:
    """Return how the newest versions would change the total."""
    if quarantined.unknown_differences == quarantined.outdated:
        return "effect on the total unknown"
    effect = "no effect on the total"
    if quarantined.difference:
        sign = "+" if quarantined.difference > 0 else ""
        effect = f"would change the total by {sign}{text.money(quarantined.difference, currency)}"
    unknown = quarantined.unknown_differences
    return f"{effect}, unknown for {unknown:,} of them" if unknown else effect


def _sparkline(values: Sequence[Decimal | None]) -> list[float] | None:
    """Return the points of a sparkline; None if a value is unknown or there is only one."""
    known_values = [float(value) for value in values if value is not None]
    return known_values if len(known_values) == len(values) > 1 else None


def _versus(versus: Versus | None, before: str) -> str | None:
    """Return such as `vs previous 30 days (£1,234)`."""
    return f"{versus.label} ({before}{versus.days})" if versus else None


def _colour(arrow: Arrow, better: str) -> Literal["off", "green", "red"]:
    if not better or arrow == "off":
        return "off"
    return "green" if arrow == better else "red"
