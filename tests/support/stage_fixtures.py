"""Fixtures for tests of the stages: lakes, models and fail points.

tests/conftest.py loads this module in every run, so the fixtures import what only they need.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from totes import failpoint
from totes.source import splitting
from totes.star.models import Models

if TYPE_CHECKING:
    from processed_lake import ProcessedLake

AtFailpoint = Callable[[str, Callable[[], None]], None]
"""Sets the action of a fail point until the end of the test."""


@pytest.fixture
def lake(tmp_path: Path) -> "ProcessedLake":
    """A processed store, in which a test publishes star rows for load."""
    from processed_lake import ProcessedLake  # noqa: PLC0415

    return ProcessedLake(tmp_path)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the packaged models, which a test can change."""
    from transform_lake import copy_models  # noqa: PLC0415

    return copy_models(tmp_path)


@pytest.fixture(scope="session")
def corrected_models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Models that accept dates with slashes and lower-case currency codes."""
    from transform_lake import copy_models, edit  # noqa: PLC0415

    folder = copy_models(tmp_path_factory.mktemp("corrected"))
    date = "    agreed_delivery_date,"
    edit(folder, "fact_sales_order", date, f"    replace({date[4:-1]}, '/', '-') as {date[4:]}")
    code = "on currency.currency_code"
    return edit(folder, "dim_currency", code, "on upper(currency.currency_code)")


@pytest.fixture
def at_failpoint(monkeypatch: pytest.MonkeyPatch) -> AtFailpoint:
    """A function that sets the action of a fail point until the end of the test.

    `installation.at` does so for a block.
    """

    def set_action(name: str, action: Callable[[], None]) -> None:
        monkeypatch.setitem(failpoint.actions, name, action)

    return set_action


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a capture read two blocks with a statement, and four in a piece."""
    monkeypatch.setattr(splitting, "_RANGE_BYTES", 16 << 10)
    monkeypatch.setattr(splitting, "_RANGES_PER_PIECE", 2)
