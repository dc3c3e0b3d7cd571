"""The dashboard as a person meets it: served by `totes dashboard`, in a real browser."""

import csv
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import duckdb
import pytest

from browser import PATIENCE_SECONDS, Browser, browser
from storefront import CHANGED, SCRIPT, Storefront, storefront
from totes.dashboard import text
from totes.dashboard.server import free_port, url
from totes.dashboard.view import PAGES
from totes.demo.servers import EmbeddedServer, Source
from totes.demo.simulator import Simulator

METRIC = '[data-testid="stMetricValue"]'
NAVIGATION = '[data-testid="stSidebar"] a'
DOWNLOAD = '[data-testid="stDownloadButton"] button'
CHART = '[data-testid="stVegaLiteChart"]'

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def business(
    server: EmbeddedServer, template: Source, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Storefront]:
    with storefront(server, template, "browsed", tmp_path_factory.mktemp("browsed")) as made:
        yield made


@pytest.fixture(scope="module")
def address(business: Storefront, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where `totes dashboard` serves it."""
    port = free_port(wanted=0)
    command = [sys.executable, "-m", "totes", "dashboard", "--port", str(port)]
    log = tmp_path_factory.mktemp("served") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | business.environment, stdout=output, stderr=output
        )
    found = url("127.0.0.1", port)
    try:
        _wait_for(found, process, log)
        yield found
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()


@pytest.fixture(scope="module")
def window(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        opened.open(address)
        yield opened


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        try:
            urlopen(f"{address}/_stcore/health").close()  # noqa: S310  http
        except OSError:
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        else:
            return


def _query(window: Browser) -> dict[str, list[str]]:
    return parse_qs(urlsplit(window.driver.current_url).query)


def test_a_tour_keeps_the_filter_and_asks_nobody_else(window: Browser, address: str) -> None:
    window.open(f"{address}/?period=all&in=EUR")
    for page, title in PAGES.items():
        window.click(NAVIGATION, title)
        window.one("h1", title)
        assert _query(window) == {"period": ["all"], "in": ["EUR"]}, page
        window.says("Data to ")
        window.says("checked ")
        assert not window.all('[data-testid="stException"]'), page
        for chart in window.all(f"{CHART} [role='graphics-document'], {CHART}[aria-label]"):
            assert (chart.get_attribute("aria-label") or "").strip(), page
        assert "alert" not in window.driver.execute_script("return document.title")
    assert not window.asked_elsewhere
    assert not window.complaints()


def test_a_filter_changes_the_numbers_and_the_address(
    window: Browser, address: str, business: Storefront
) -> None:
    window.open(f"{address}/sales?period=all")
    everything = window.one(METRIC).text
    picker = window.one('[data-testid="stMultiSelect"]', "Currency")
    picker.find_element("css selector", "input").send_keys("USD\n")
    window.settle()
    window.until(lambda _: _query(window).get("currency") == ["USD"])
    window.until(lambda _: window.one(METRIC).text != everything)
    [(truth,)] = business.plant.ask(
        "SELECT sum(units_sold * unit_price * rate) FROM current_sales_order"
        " JOIN dim_currency USING (currency_id) JOIN exchange_rate_to('GBP') AS r"
        " USING (currency_code) WHERE r.rate_date = created_date AND currency_code = 'USD'"
    )
    assert window.one(METRIC).text == text.money(truth, "GBP")


def test_a_bar_leads_into_its_month_and_a_day_shows_its_orders(
    window: Browser, address: str, business: Storefront
) -> None:
    [(first, day)] = business.plant.ask(
        "SELECT min(created_date), max(created_date) FROM current_sales_order"
    )
    start = first.replace(day=1)
    window.open(f"{address}/sales?from={start}&to={start + timedelta(days=120)}")
    window.one("h3", "Revenue by month")
    window.click(f"{CHART} .mark-rect path")
    window.one("h3", "Revenue by day")
    assert _query(window)["from"] == [str(start)]
    window.open(f"{address}/sales?from={day}&to={day}")
    window.says("Choose a row to see its history")
    window.click('[data-testid="stButton"] button', f"{day:%B %Y}")
    assert _query(window)["from"] == [str(day.replace(day=1))]


def test_files_hold_what_is_shown(window: Browser, address: str) -> None:
    window.open(f"{address}/payments?period=all")
    window.one("h3", "Who owes us")
    section = "[class*='st-key-payments-owed-CSV'] button"
    path = window.download(section, "CSV")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    parquet = window.download("[class*='st-key-payments-owed-Parquet'] button", "Parquet")
    assert re.fullmatch(r"totes-payments-owed_.*\.parquet|totes-owed_.*\.parquet", parquet.name)
    exact = duckdb.execute(
        "SELECT counterparty, receivable FROM read_parquet(?)", [str(parquet)]
    ).fetchall()
    assert [(row["counterparty"], Decimal(row["receivable"])) for row in rows] == exact
    assert any(name == SCRIPT for name, _ in exact)


def test_a_link_shows_another_the_same(window: Browser, address: str) -> None:
    window.open(f"{address}/history?kind=sales_order&key={CHANGED}&period=this-year")
    window.one("h3", f"Sales order {CHANGED}")
    window.says("2 versions")
    window.click(NAVIGATION, "Sales")
    window.one("h1", "Sales")
    assert _query(window)["period"] == ["this-year"]


def test_new_orders_appear_by_themselves_and_leave_the_place(
    window: Browser,
    address: str,
    business: Storefront,
    record_property: Callable[[str, object], None],
) -> None:
    window.open(f"{address}/sales?period=all&in=EUR")
    window.click('[data-testid="stExpander"] summary', "As a table")
    window.driver.execute_script(
        "document.querySelector('[data-testid=\"stMain\"]').scrollTo(0, 300)"
    )
    before = [element.text for element in window.all(METRIC)]
    with Simulator(business.plant.owner, seed=3) as simulated:
        for _ in zip(range(40), simulated.run(rate=None), strict=False):
            pass
    business.catch_up()
    landed = time.monotonic()
    [(orders,)] = business.plant.ask("SELECT count(*) FROM current_sales_order")
    window.until(lambda _: f"{orders:,}" in [element.text for element in window.all(METRIC)])
    record_property("new orders were shown after, seconds", f"{time.monotonic() - landed:.1f}")
    assert [element.text for element in window.all(METRIC)] != before
    assert _query(window) == {"period": ["all"], "in": ["EUR"]}
    window.settle()
    assert window.one('[data-testid="stExpander"] details', "As a table").get_attribute("open")
    scrolled = "return document.querySelector('[data-testid=\"stMain\"]').scrollTop"
    assert window.driver.execute_script(scrolled) > 0
    assert not window.complaints()


def test_a_phone_shows_every_page_without_scrolling_sideways(address: str, window: Browser) -> None:
    window.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        for page in ("", "sales", "payments"):
            window.open(f"{address}/{page}?period=all")
            width = window.driver.execute_script("return document.documentElement.scrollWidth")
            assert width <= 390, page
    finally:
        window.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
