"""Numbers about the pipeline that an alert rule can limit, asked of the warehouse itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from psycopg import Connection

from totes.dashboard.bookkeeping import Bookkeeping
from totes.dashboard.metrics.pipeline import freshness


@dataclass(frozen=True)
class HealthMetric:
    """A number about the pipeline, in `units`; `is_count` if its label names what is counted."""

    label: str
    unit: str
    units: str
    is_count: bool = True


HEALTH: Mapping[str, HealthMetric] = MappingProxyType(
    {
        "data_age_minutes": HealthMetric("Age of the data", "minute", "minutes", is_count=False),
        "quarantined_rows": HealthMetric("Rows in quarantine", "row", "rows"),
        "failed_verifications": HealthMetric("Failed verifications", "failure", "failures"),
    }
)
"""All of them by name. `failed_verifications` is 1 if the last `totes verify` found differences."""


def read_health(connection: Connection[Any]) -> dict[str, Decimal | int | None]:
    """Return the number of each metric, None if it is unknown. Raises psycopg.Error."""
    fresh = freshness(Bookkeeping(connection))
    lag = fresh.lag_seconds
    return {
        "data_age_minutes": None if lag is None else round(Decimal(lag) / 60, 1),
        "quarantined_rows": fresh.quarantined,
        "failed_verifications": int(fresh.verified is not None and not fresh.verified.equal),
    }
