"""Fixtures: `totes dashboard` in a browser, started once for tests/e2e/test_browser*.py.

tests/conftest.py loads this module in every run, so the fixtures import what takes long.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from totes.embedded.servers import EmbeddedServer, Source

if TYPE_CHECKING:
    from browser import Browser
    from sample_business import SampleBusiness


@pytest.fixture(scope="session")
def served_business(
    server: EmbeddedServer, template: Source, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["SampleBusiness"]:
    """The business that the browser shows, which its tests change."""
    from sample_business import sample_business  # noqa: PLC0415

    with sample_business(server, template, "browser", tmp_path_factory.mktemp("browser")) as made:
        yield made


@pytest.fixture(scope="session")
def address(
    served_business: "SampleBusiness", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where `totes dashboard` serves it."""
    from dashboard_window import running_dashboard  # noqa: PLC0415

    with running_dashboard(served_business, tmp_path_factory.mktemp("server") / "log") as found:
        yield found


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Browser"]:
    """The browser's window, without a page."""
    from browser import browser  # noqa: PLC0415

    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
def window(opened: "Browser", address: str) -> Iterator["Browser"]:  # noqa: ARG001  is served
    """The browser's window; between modules it has no page, which would use the server."""
    yield opened
    opened.driver.get("about:blank")
