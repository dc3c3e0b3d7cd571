"""Numbers about the pipeline that an alert rule can limit, asked of the warehouse itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from psycopg import Connection

from totes.dashboard.bookkeeping import read_query


@dataclass(frozen=True)
class HealthMetric:
    """A number about the pipeline: a column of `health.sql`, in `units`."""

    label: str
    unit: str
    units: str


HEALTH: Mapping[str, HealthMetric] = MappingProxyType(
    {
        "data_age_minutes": HealthMetric("Age of the data", "minute", "minutes"),
        "quarantined_rows": HealthMetric("Rows in quarantine", "row", "rows"),
        "failed_verifications": HealthMetric("Failed verifications", "failure", "failures"),
    }
)
"""All of them by name. `failed_verifications` is 1 if the last `totes verify` found differences."""


def read_health(connection: Connection[Any]) -> dict[str, Decimal | int | None]:
    """Return the number of each metric, None if it is unknown. Raises psycopg.Error."""
    [row] = connection.execute(read_query("health")).fetchall()
    return dict(zip(HEALTH, row, strict=True))
