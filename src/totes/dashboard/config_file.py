"""The dashboard's configuration file: alert rules, goals and the scheduled report."""

import re
from collections.abc import Iterator, Mapping
from datetime import time
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from totes.config.settings import read_toml
from totes.config.values import CurrencyCode
from totes.dashboard.filters import FIELDS, PRESETS
from totes.dashboard.metrics.changes import SILENT_CHANGES
from totes.dashboard.metrics.definitions import METRICS, Metric
from totes.dashboard.metrics.health import HEALTH
from totes.errors import UsageError

ALERT_METRICS: Mapping[str, Metric] = MappingProxyType(
    {**METRICS, SILENT_CHANGES.name: SILENT_CHANGES}
)
"""The metrics of a period that a rule can limit; those of HEALTH have none."""

LIMITS = ("above", "below", "above_percent_of_previous", "below_percent_of_previous")

MAX_NAME_LENGTH = 100


def _one_of(options: Any) -> AfterValidator:
    def check(value: str) -> str:
        if value not in options:
            raise ValueError(f"unknown value {value!r}: use one of {', '.join(options)}")
        return value

    return AfterValidator(check)


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a number")  # noqa: TRY004  pydantic reports it
    return Decimal(value)


def _texts(value: object) -> object:
    """Return one value, or a list of values, as a URL has them."""
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, bool) or not isinstance(one, str | int) for one in values):
        raise ValueError("must be a text or a list of texts")
    return tuple(map(str, values))


def _time(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"\d\d:\d\d", value, re.ASCII):
        raise ValueError("must be a time such as 07:00")
    return value


def _check_line(name: str) -> str:
    if not name.isprintable() or not name.strip() or len(name) > MAX_NAME_LENGTH:
        raise ValueError(f"must be one line of at most {MAX_NAME_LENGTH} characters")
    return name


def _check_address(address: str) -> str:
    if not re.fullmatch(r"[!-?A-~]+@[!-?A-~]+", address):  # one line, in ASCII
        raise ValueError(f"{address!r} is not an email address")
    return address


Line = Annotated[str, AfterValidator(_check_line)]
Limit = Annotated[Decimal | None, BeforeValidator(_number)]
Values = Annotated[tuple[str, ...], BeforeValidator(_texts)]


class Table(BaseModel):
    """A table of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class AlertRule(Table):
    """A limit of a metric, for the rows that a filter matches.

    The period and the filter have the names and values of a page's URL. A comparison with the
    previous period is about whole days: a period that would end today ends yesterday.
    """

    name: Line
    metric: Annotated[str, _one_of({**ALERT_METRICS, **HEALTH})]
    above: Limit = None
    below: Limit = None
    above_percent_of_previous: Limit = None
    below_percent_of_previous: Limit = None
    period: Annotated[str, _one_of(PRESETS)] = ""
    reporting: Annotated[CurrencyCode | None, Field(alias="in")] = None
    currency: Values = ()
    country: Values = ()
    department: Values = ()
    counterparty: Values = ()

    @property
    def limit(self) -> tuple[str, Decimal]:
        """The name and the value of the only limit."""
        [found] = [(name, value) for name in LIMITS if (value := getattr(self, name)) is not None]
        return found

    @property
    def filter(self) -> dict[str, list[str]]:
        """The values of dimensions, as in the query of a URL."""
        return {name: list(getattr(self, name)) for name in FIELDS if getattr(self, name)}

    @model_validator(mode="after")
    def _check(self) -> Self:
        limits = [name for name in LIMITS if getattr(self, name) is not None]
        if len(limits) != 1:
            raise ValueError(f"must have one of {', '.join(LIMITS)}")
        metric = ALERT_METRICS.get(self.metric)
        if metric is None and (self.filter or self.period or self.reporting or "_" in limits[0]):
            raise ValueError(
                f"{self.metric} has no period, currency or filter: use only above or below"
            )
        if metric and not metric.of_period and (self.period or "_" in limits[0]):
            raise ValueError(f"{self.metric} has no period: it includes all days until now")
        return self


class Schedule(Table):
    """The scheduled report: of the last day, week or month, at a time of the day after it."""

    schedule: Literal["daily", "weekly", "monthly"]
    at: Annotated[time, BeforeValidator(_time)] = time(7)
    recipients: tuple[Annotated[str, AfterValidator(_check_address)], ...] = ()
    reporting: Annotated[CurrencyCode | None, Field(alias="in")] = None


class Goal(Table):
    """A target of a metric for each week, month, quarter or fiscal year."""

    metric: Annotated[str, _one_of([name for name, one in METRICS.items() if one.of_period])]
    target: Annotated[Decimal, BeforeValidator(_number), Field(gt=0)]
    per: Literal["week", "month", "quarter", "year"]
    reporting: Annotated[CurrencyCode | None, Field(alias="in")] = None


class ConfigFile(Table):
    """The content of the file; each field is a table."""

    alert: tuple[AlertRule, ...] = ()
    goal: tuple[Goal, ...] = ()
    report: Schedule | None = None

    @field_validator("*")
    @classmethod
    def _check_names(cls, tables: Any, info: ValidationInfo) -> Any:
        names = [getattr(one, "name", one) for one in tables] if isinstance(tables, tuple) else []
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two tables [[{info.field_name}]] have the name {name!r}")
        return tables


_KEYS: "MappingProxyType[str, type[Table]]" = MappingProxyType(
    {"": ConfigFile, "alert": AlertRule, "goal": Goal, "report": Schedule}
)
"""The keys that a table may have, by its name; "" for the whole file."""


def load_config(file: Path | None) -> ConfigFile:
    """Return the content of the file; UsageError, in one line, names the first error's place."""
    if file is None:
        return ConfigFile()
    content = read_toml(file, parse_float=Decimal)
    try:
        return ConfigFile.model_validate(content)
    except ValidationError as error:
        detail = error.errors(include_input=False, include_url=False)[0]
        *table, key = detail["loc"]
        place = " ".join(_place(content, detail["loc"]))
        if detail["type"] == "extra_forbidden":
            fields = _KEYS[str(table[0]) if table else ""].model_fields
            keys = ", ".join(field.alias or name for name, field in fields.items())
            raise UsageError(f"{file}: {place}: unknown key {key}: use one of {keys}.") from None
        reason = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if detail["type"] == "tuple_type":
            is_table = isinstance(content.get(str(key)), dict)
            reason = f"must be a list: write [[{key}]]" if is_table else "must be a list"
        raise UsageError(f"{file}: {place}: {reason}.") from None


def _place(content: dict[str, Any], path: tuple[int | str, ...]) -> Iterator[str]:
    """Yield the parts of an error's place, such as `alert 2 "Overdue", above`."""
    match path:
        case (str(table), int(index), *keys):
            entry = content[table][index]
            name = entry.get("name") if isinstance(entry, dict) else None
            label = f' "{name}"' if isinstance(name, str) and name.isprintable() else ""
            yield f"{table} {index + 1}{label}" + "".join(f", {key}" for key in keys)
        case _:
            yield ", ".join(map(str, path)) or "the file"
