"""What CloudWatch does with metrics: states of alarms, and the mails that they send.

It follows the user guide's "Configuring how CloudWatch alarms treat missing data". Where that
leaves a choice, it takes the one with more mails.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

_STATISTICS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "Sum": sum,
    "Minimum": min,
    "Maximum": max,
    "Average": lambda values: sum(values) / len(values),
}


class Series(NamedTuple):
    """What identifies a metric."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]


class Point(NamedTuple):
    """A value of a metric at a minute, and when CloudWatch has it."""

    at: float
    seen_at: float
    value: float


class Metrics:
    """Values of metrics, in minutes since some moment."""

    def __init__(self) -> None:
        self._points: defaultdict[Series, list[Point]] = defaultdict(list)

    def add(self, series: Series, at: float, value: float, seen_at: float | None = None) -> None:
        """Add a value of the minute `at`, which CloudWatch has from `seen_at` on."""
        self._points[series].append(Point(at, at + 1 if seen_at is None else seen_at, value))

    def points(self, series: Series) -> tuple[Point, ...]:
        """Return the values of a metric in their order."""
        return tuple(sorted(self._points.get(series, ())))


@dataclass(frozen=True)
class MetricAlarm:
    """An alarm on a metric, with its planned attributes."""

    series: Series
    statistic: str
    comparison: str
    threshold: float
    minutes: float
    periods: int
    points: int
    missing: str

    @classmethod
    def planned(cls, values: Mapping[str, Any]) -> "MetricAlarm":
        """Return the alarm with these attributes of Terraform's resource.

        It has no dimensions if they are known only after an apply.
        """
        dimensions = frozenset((values.get("dimensions") or {}).items())
        return cls(
            Series(values["namespace"], values["metric_name"], dimensions),
            values["statistic"],
            values["comparison_operator"],
            values["threshold"],
            values["period"] / 60,
            values["evaluation_periods"],
            values["datapoints_to_alarm"] or values["evaluation_periods"],
            values["treat_missing_data"],
        )

    def evaluate(self, points: Sequence[Point], now: float, state: str, extra_periods: int) -> str:
        """Return the state at `now`, after `state`; `points` are those of the alarm's metric."""
        breaching = [
            self._is_breaching(_values(points, end - self.minutes, end, now))
            for end in (
                now - number * self.minutes for number in range(self.periods + extra_periods)
            )
        ]
        return next_state(breaching, self.periods, self.points, self.missing, state)

    def _is_breaching(self, values: Sequence[float]) -> bool | None:
        if not values:
            return None
        value = _STATISTICS[self.statistic](values)
        match self.comparison:
            case "GreaterThanThreshold":
                return value > self.threshold
            case "LessThanThreshold":
                return value < self.threshold
        raise ValueError(self.comparison)


def _values(points: Sequence[Point], since: float, until: float, now: float) -> list[float]:
    """Return the values from `since` to before `until` that CloudWatch has by now."""
    first, last = bisect_left(points, (since,)), bisect_left(points, (until,))
    return [point.value for point in points[first:last] if point.seen_at <= now]


@cache  # few alarms see other values in one incident than in the next
def _states(
    alarm: MetricAlarm, points: tuple[Point, ...], minutes: range, extra_periods: int
) -> list[str]:
    """Return the state of an alarm at each of the minutes."""
    states = ["INSUFFICIENT_DATA"]
    for now in minutes:
        states.append(alarm.evaluate(points, now, states[-1], extra_periods))
    return states[1:]


def next_state(
    breaching: Sequence[bool | None], periods: int, points: int, missing: str, state: str
) -> str:
    """Return the state of an alarm from its data points, the newest first; None is missing."""
    real = [point for point in breaching if point is not None]
    if len(real) >= periods:
        return "ALARM" if sum(real[:periods]) >= points else "OK"
    match missing:
        case "breaching":
            is_alarm = sum(real) + periods - len(real) >= points
            return "ALARM" if is_alarm else "OK"
        case "notBreaching":
            return "ALARM" if sum(real) >= points else "OK"
        case "ignore":
            if sum(real) >= points:
                return "ALARM"
            return "OK" if False in real else state
    raise ValueError(missing)


class Mail(NamedTuple):
    """A notification of an alarm that has reached a state."""

    minute: float
    alarm: str
    state: str


@dataclass
class CompositeAlarm:
    """A composite alarm, with its planned attributes, and its state."""

    name: str
    rule: str
    state: str = "INSUFFICIENT_DATA"

    def evaluate(self, states: Mapping[str, str], now: float) -> Iterator[Mail]:
        """Take over the states of the other alarms; yield the mail of a change."""
        state = "ALARM" if holds(self.rule, states) else "OK"
        if state != self.state:
            self.state = state
            yield Mail(now, self.name, state)


def holds(rule: str, states: Mapping[str, str]) -> bool:
    """Return whether the rule of a composite alarm is true."""
    tokens = re.findall(r'ALARM\("[^"]+"\)|AND|OR|NOT|TRUE|FALSE|[()]|\S', rule)
    value, rest = _either(tokens, states)
    if rest:
        raise ValueError(f"{rule!r} ends with {rest}")
    return value


def _either(tokens: list[str], states: Mapping[str, str]) -> tuple[bool, list[str]]:
    value, tokens = _both(tokens, states)
    while tokens[:1] == ["OR"]:
        other, tokens = _both(tokens[1:], states)
        value |= other
    return value, tokens


def _both(tokens: list[str], states: Mapping[str, str]) -> tuple[bool, list[str]]:
    value, tokens = _term(tokens, states)
    while tokens[:1] == ["AND"]:
        other, tokens = _term(tokens[1:], states)
        value &= other
    return value, tokens


def _term(tokens: list[str], states: Mapping[str, str]) -> tuple[bool, list[str]]:
    token, *rest = tokens
    if token == "NOT":
        value, rest = _term(rest, states)
        return not value, rest
    if token == "(":
        value, rest = _either(rest, states)
        if rest[0] != ")":
            raise ValueError(f"{rest} does not begin with )")
        return value, rest[1:]
    if token in {"TRUE", "FALSE"}:
        return token == "TRUE", rest
    return states[token.removeprefix('ALARM("').removesuffix('")')] == "ALARM", rest


def mails(
    planned: Iterable[tuple[str, Mapping[str, Any]]],
    metrics: Metrics,
    minutes: range,
    *,
    extra_periods: int = 2,
) -> list[Mail]:
    """Return the mails of all alarms; they are evaluated at each of the minutes.

    `planned` are types and attributes of Terraform's resources. `extra_periods` before those to
    evaluate are looked at where data are missing: two in the guide's examples, else not documented.
    """
    metric_alarms, composites = {}, []
    for kind, values in planned:
        if kind == "aws_cloudwatch_metric_alarm":
            metric_alarms[values["alarm_name"]] = MetricAlarm.planned(values)
        elif kind == "aws_cloudwatch_composite_alarm":
            composites.append(CompositeAlarm(values["alarm_name"], values["alarm_rule"]))
    histories = [
        _states(alarm, metrics.points(alarm.series), minutes, extra_periods)
        for alarm in metric_alarms.values()
    ]
    sent: list[Mail] = []
    before: list[str] = []
    for now, *found in zip(minutes, *histories, strict=True):
        if found != before:  # a composite alarm depends on nothing else
            before = found
            states = dict(zip(metric_alarms, found, strict=True))
            for composite in composites:
                sent += composite.evaluate(states, now)
    return sent
