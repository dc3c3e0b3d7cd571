"""The scheduled report: the totals of the last day, week or month, as text and as HTML."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, timedelta
from decimal import Decimal
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from html import escape
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from totes.dashboard import metrics, text
from totes.dashboard.filters import Filter
from totes.dashboard.metrics import changes
from totes.dashboard.metrics.definitions import METRICS, Metric, value
from totes.dashboard.metrics.periods import SIMULATED_AFTER
from totes.dashboard.reading import Reading
from totes.notifications.alert_rules import Result

PERIODS: Mapping[str, str] = MappingProxyType(
    {"daily": "yesterday", "weekly": "last-week", "monthly": "last-month"}
)
"""The period of a report by its schedule."""

OF_PERIOD = (
    "revenue",
    "sales_orders",
    "units",
    "customers",
    "purchases",
    "margin",
    "cash_in",
    "cash_out",
)
OF_ALL_DAYS = ("receivable", "overdue_receivable", "payable", "overdue_payable")


@dataclass(frozen=True)
class Line:
    """A metric in words: its value, that of the previous period, and the change."""

    label: str
    value: str
    previous: str = ""
    change: str = ""


@dataclass(frozen=True)
class Report:
    """The content of a report; `url` is that of the same report in the dashboard."""

    title: str
    period: str
    previous: str
    of_period: tuple[Line, ...]
    of_all_days: tuple[Line, ...]
    notes: tuple[str, ...]
    url: str | None

    @property
    def text(self) -> str:
        """The report as plain text."""
        lines = [self.title, self.period, ""]
        lines += _rows(("", self.period, self.previous, "Change"), self.of_period)
        lines += ["", *_rows(("", "Now", "", ""), self.of_all_days), ""]
        lines += [*self.notes, *([self.url] if self.url else [])]
        return "\n".join(line.rstrip() for line in lines) + "\n"

    @property
    def html(self) -> str:
        """The report as an HTML document without references to other files."""
        link = f'<p><a href="{escape(self.url)}">Open the dashboard</a></p>' if self.url else ""
        return f"""\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{escape(self.title)}</title></head>
<body style="font-family: sans-serif; color: #222; max-width: 640px">
<h1 style="font-size: 20px">{escape(self.title)}</h1>
{_table(("", self.period, self.previous, "Change"), self.of_period)}
{_table(("", "Now"), self.of_all_days)}
{"".join(f"<p>{escape(note)}</p>" for note in self.notes)}
{link}
</body>
</html>
"""

    def mail(self, sender: str, recipients: tuple[str, ...]) -> EmailMessage:
        """Return the report as a mail with both forms."""
        message = EmailMessage()
        message["Subject"] = f"{self.title}: {self.period}"
        message["From"] = sender
        message["To"] = ", ".join(recipients)
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or None)
        message.set_content(self.text)
        message.add_alternative(self.html, subtype="html")
        return message


def compose(  # noqa: PLR0913  what a report says beside the numbers
    reading: Reading,
    schedule: str,
    day: date,
    *,
    currency: str,
    company: str,
    alerts: list[Result],
    dashboard_url: str | None = None,
) -> Report:
    """Return the report that is due on a day. Raises duckdb.Error.

    In a simulated business whose newest order is weeks old, the day is that of the newest data.
    """
    choices = metrics.choices(reading)
    if timedelta() <= day - choices.today <= SIMULATED_AFTER:
        choices = replace(choices, today=day)
    query = {"period": PERIODS[schedule], "in": currency}
    criteria, _ = Filter.from_query(query, choices)
    criteria = replace(criteria, compare="previous")
    previous = metrics.previous_period(reading, criteria)
    link = f"{dashboard_url}/report?{urlencode(criteria.to_query())}" if dashboard_url else None
    return Report(
        title=f"{company}: {schedule} report",
        period=text.period(criteria.since, criteria.until),
        previous=text.period(previous.since, previous.until) if previous else "",
        of_period=tuple(_line(reading, METRICS[name], criteria, previous) for name in OF_PERIOD),
        of_all_days=tuple(_line(reading, METRICS[name], criteria, None) for name in OF_ALL_DAYS),
        notes=tuple(_notes(reading, criteria, alerts)),
        url=link,
    )


def _line(reading: Reading, metric: Metric, criteria: Filter, previous: Filter | None) -> Line:
    def words(number: Any) -> str:
        return text.money(number, criteria.reporting) if metric.unit == "money" else f"{number:,}"

    now = value(reading, criteria, metric)
    if previous is None:
        return Line(metric.label, words(now))
    before = value(reading, previous, metric)
    change = (
        text.change((Decimal(now) - before) / abs(before)) if now is not None and before else ""
    )
    return Line(metric.label, words(now), words(before), change)


def _notes(reading: Reading, criteria: Filter, alerts: list[Result]) -> list[str]:
    state = reading.state
    notes = [f"Amounts in {criteria.reporting}. Data as of {text.moment(state.captured_at)}."]
    if silent := changes.count_silent(reading, criteria):
        notes.append(f"Silent changes captured in this period: {silent:,}.")
    checked_at = state.checked_at
    if checked_at and checked_at.astimezone(UTC).date() <= criteria.until:
        notes.append(
            f"This period is incomplete: totesys was last checked at {text.moment(checked_at)}."
        )
    holding = [one for one in alerts if one.state == "alert"]
    notes += [f"Alert: {one.rule}: {one.condition}: {one.value}" for one in holding]
    return [text.plain(note) for note in notes]


def _rows(headings: tuple[str, ...], lines: tuple[Line, ...]) -> list[str]:
    """Return a table as lines of text."""
    rows = [headings, *((one.label, one.value, one.previous, one.change) for one in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(headings))]
    return [
        f"{row[0]:<{widths[0]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def _table(headings: tuple[str, ...], lines: tuple[Line, ...]) -> str:
    """Return a table as HTML, with as many columns as headings."""
    left = 'style="text-align: left; padding: 4px 12px 4px 0; border-bottom: 1px solid #ddd"'
    right = left.replace("left;", "right;")

    def row(cells: tuple[str, ...], tag: str) -> str:
        styles = [left, *[right] * (len(cells) - 1)]
        return "".join(
            f"<{tag} {style}>{escape(cell)}</{tag}>"
            for cell, style in zip(cells, styles, strict=True)
        )

    body = [(one.label, one.value, one.previous, one.change)[: len(headings)] for one in lines]
    rows = [row(headings, "th"), *(row(cells, "td") for cells in body)]
    return (
        '<table style="border-collapse: collapse; font-variant-numeric: tabular-nums">\n'
        + "".join(f"<tr>{one}</tr>\n" for one in rows)
        + "</table>"
    )
