"""Check the alert rules, and send a message when a rule begins to hold and when it ends."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal
from urllib.parse import urlencode

from psycopg import Connection

from totes.alert import AlertTargets, send_alert
from totes.dashboard import metrics, text
from totes.dashboard.config_file import ALERT_METRICS, AlertRule
from totes.dashboard.filters import DEFAULT_PERIOD, PRESET_LABELS, Choices, Filter
from totes.dashboard.metrics import changes
from totes.dashboard.metrics.changes import SILENT_CHANGES
from totes.dashboard.metrics.definitions import Metric, value
from totes.dashboard.metrics.health import HEALTH, read_health
from totes.dashboard.metrics.periods import length_in_words
from totes.dashboard.reading import Reading

type State = Literal["ok", "alert", "unknown"]

PAGE_OF_VIEW = {
    "order_line": "",
    "sales_line": "sales",
    "purchase_line": "purchases",
    "payment_line": "payments",
    "change": "changes",
}
"""The path of the page about the rows of a metric, by the view that the metric reads."""

_OF_PREVIOUS = "_percent_of_previous"
"""The end of the name of a limit that is a share of the previous period's value."""

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Result:
    """The result of checking a rule, in words.

    `value` is the reason if it can't be computed: the state is then unknown. `path` is that of the
    page about the metric, with its filter. `since` is None until the result is recorded.
    """

    rule: str
    metric: str
    condition: str
    state: State
    value: str
    path: str
    since: datetime | None = None


class _Unknown(Exception):
    """The value of a rule can't be computed; the message is the reason."""


def check_rules(
    rules: Iterable[AlertRule], reading: Reading, connection: Connection[Any], currency: str
) -> list[Result]:
    """Return the result of each rule; `currency` is that of rules without one.

    Raises psycopg.Error and duckdb.Error.
    """
    health, choices = read_health(connection), metrics.choices(reading)
    results = []
    for rule in rules:
        if rule.metric in HEALTH:
            results.append(_check_health(rule, health[rule.metric]))
        else:
            results.append(_check_metric(rule, reading, choices, rule.reporting or currency))
    return results


def _check_health(rule: AlertRule, number: Decimal | int | None) -> Result:
    metric, (name, limit) = HEALTH[rule.metric], rule.limit

    def words(of: Decimal | int) -> str:
        return f"{_plain(of)} {metric.unit if of == 1 else metric.units}"

    state: State = "unknown"
    if number is not None:
        state = "alert" if _exceeds(name, Decimal(number), limit) else "ok"
    return Result(
        rule=rule.name,
        metric=rule.metric,
        condition=f"{metric.label} {name} {_plain(limit) if metric.is_count else words(limit)}",
        state=state,
        value="unknown" if number is None else words(number),
        path="pipeline",
    )


def _check_metric(rule: AlertRule, reading: Reading, choices: Choices, currency: str) -> Result:
    metric, (name, limit) = ALERT_METRICS[rule.metric], rule.limit
    if metric is SILENT_CHANGES:
        choices = changes.capture_choices(reading, choices)
    side, is_share = name.partition("_")[0], name.endswith(_OF_PREVIOUS)
    period = rule.period or DEFAULT_PERIOD
    query = {**rule.filter, "period": period, "in": currency}
    criteria, notices = Filter.from_query(query, choices)
    if is_share and criteria.until >= choices.today:  # today is not over
        yesterday = replace(choices, today=choices.today - _DAY)
        criteria, notices = Filter.from_query(query, yesterday)
        criteria = criteria.within(criteria.since, criteria.until)  # for the URL
    words = _words(limit, metric, currency)
    if is_share:
        words = f"{_plain(limit)} % of the previous {length_in_words(criteria.before())}"
    try:
        exceeds, shown = _evaluate(rule, reading, choices, criteria, notices)
        state: State = "alert" if exceeds else "ok"
    except _Unknown as reason:
        state, shown = "unknown", str(reason)
    return Result(
        rule=rule.name,
        metric=rule.metric,
        condition=f"{metric.label}{_described(rule, metric, period)} {side} {words}",
        state=state,
        value=shown,
        path=f"{PAGE_OF_VIEW[metric.line]}?{urlencode(criteria.to_query(), doseq=True)}",
    )


def _evaluate(
    rule: AlertRule,
    reading: Reading,
    choices: Choices,
    criteria: Filter,
    notices: tuple[str, ...],
) -> tuple[bool, str]:
    """Return whether a rule's condition holds, and its value in words; raises _Unknown."""
    if notices:
        raise _Unknown(notices[0].replace(" in the URL", ""))
    metric, (name, limit), currency = ALERT_METRICS[rule.metric], rule.limit, criteria.reporting
    side = name.partition("_")[0]
    number = _value(reading, criteria, metric)
    shown = _words(number, metric, currency)
    if not name.endswith(_OF_PREVIOUS):
        return _exceeds(side, number, limit), shown
    previous = criteria.before()
    if previous.since < choices.first_day:
        raise _Unknown("There is no data of the whole previous period.")
    before = _value(reading, previous, metric)
    exceeds = _exceeds(side, Fraction(number) * 100, Fraction(limit) * Fraction(before))
    return exceeds, f"{shown}, previously {_words(before, metric, currency)}"


def _described(rule: AlertRule, metric: Metric, period: str) -> str:
    """Return the period and the filter of a rule, such as ` in the last 7 days (France)`."""
    words = f", {PRESET_LABELS[period].lower()}" if metric.of_period else ""
    values = [one for values in rule.filter.values() for one in values]
    return f"{words} ({', '.join(values)})" if values else words


def _value(reading: Reading, criteria: Filter, metric: Metric) -> Decimal:
    number = (
        changes.count_silent(reading, criteria)
        if metric is SILENT_CHANGES
        else value(reading, criteria, metric)
    )
    if number is None:
        raise _Unknown("No row has an exchange rate.")
    return Decimal(number)


def _exceeds[N: (Decimal, Fraction)](side: str, number: N, limit: N) -> bool:
    return number > limit if side == "above" else number < limit


def _words(number: Decimal, metric: Metric, currency: str) -> str:
    is_count = metric.unit == "count"
    return _plain(number) if is_count else text.money(number, currency, exact=True)


def _plain(number: Decimal | int) -> str:
    whole, _, decimals = f"{Decimal(number):,f}".partition(".")
    return f"{whole}.{decimals.rstrip('0')}".rstrip(".")


_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('totes.alerts', 0))"
"""One process at a time: results of two could be recorded in the wrong order."""

_RECORD = """
INSERT INTO totes.alerts (rule, condition, state, value, since, checked_at)
VALUES (%(rule)s, %(condition)s, %(state)s, %(value)s, clock_timestamp(), clock_timestamp())
ON CONFLICT (rule) DO UPDATE SET
    condition = excluded.condition,
    state = excluded.state,
    value = excluded.value,
    since = CASE WHEN alerts.state = excluded.state THEN alerts.since ELSE excluded.since END,
    checked_at = excluded.checked_at
"""

_REMOVE_OLD = "DELETE FROM totes.alerts WHERE checked_at < clock_timestamp() - interval '1 day'"
"""Remove rules that no process checks any more."""


def try_lock(connection: Connection[Any]) -> bool:
    """Return whether this transaction gets the lock: only its holder checks rules and reports."""
    return connection.execute(_LOCK).fetchone() == (True,)


def record(
    connection: Connection[Any],
    results: Iterable[Result],
    targets: AlertTargets,
    dashboard_url: str | None = None,
) -> None:
    """Record the results, and send a message for each rule that begins or ceases to hold.

    A message that can't be sent is sent at the next check. If the process is killed before its
    transaction is committed, its messages are sent again. Raises psycopg.Error.
    """
    before = {one.rule: one for one in recorded(connection)}
    for result in results:
        last = before.get(result.rule)
        was_alerted = last is not None and last.state == "alert"
        if result.state == "unknown" and was_alerted:
            result = replace(result, state="alert")  # noqa: PLW2901  until its value is known
        if (result.state == "alert") != was_alerted and not send_alert(
            targets, message(result, last, dashboard_url)
        ):
            continue
        connection.execute(_RECORD, vars(result))
    connection.execute(_REMOVE_OLD)


def recorded(connection: Connection[Any]) -> list[Result]:
    """Return the recorded results, by name. Raises psycopg.Error."""
    rows = connection.execute(
        "SELECT rule, condition, state, value, since FROM totes.alerts ORDER BY rule"
    )
    return [
        Result(rule, "", condition, state, value, "", since)
        for rule, condition, state, value, since in rows
    ]


def message(result: Result, last: Result | None, dashboard_url: str | None) -> dict[str, object]:
    """Return the alert about a rule that begins to hold, or that no longer holds."""
    begins = result.state == "alert"
    since = datetime.now(UTC) if begins or last is None else last.since
    words = f"{result.condition}: {result.value}"
    if not begins:
        words = f"no longer {words} (since {text.moment(since)})"
    link = {"url": f"{dashboard_url}/{result.path}"} if dashboard_url else {}
    return {
        "stage": "alert",
        "rule": result.rule,
        "state": "begins" if begins else "ends",
        "message": f"{result.rule}: {words}",
        "metric": result.metric,
        "condition": result.condition,
        "value": result.value,
        "since": since,
        **link,
    }
