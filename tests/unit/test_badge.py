"""The freshness line of the pages."""

from datetime import UTC, datetime, timedelta

import pytest

from totes.dashboard.components.badge import freshness_text, staleness_warning
from totes.dashboard.metrics.pipeline import PageFreshness
from totes.dashboard.replica import State

NOW = datetime(2026, 11, 22, 14, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(seconds=6), "Up to date: totesys checked 6 s ago"),
        (timedelta(minutes=31), "Out of date: totesys checked 31 min ago"),
        (timedelta(seconds=-50), "Up to date: totesys checked 0 s ago"),
        (timedelta(minutes=-2), "Age unknown: totesys was checked in the future"),
    ],
)
def test_the_line_has_the_age_of_the_last_check(age: timedelta, expected: str) -> None:
    fresh = PageFreshness(NOW, NOW, NOW - age, verified=None, quarantined=0)
    state = State(
        server="", snapshot="", batch=3, captured_at=NOW, loaded_at=NOW, history_begins=NOW,
        checked_at=NOW, layouts={}, rows=0,
    )  # fmt: skip
    assert expected in freshness_text(fresh, state)
    assert (staleness_warning(fresh) is not None) is expected.startswith("Out of date")
