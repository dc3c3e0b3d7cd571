"""What the tests of the dashboard do and read in a browser's window."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

from browser import PATIENCE_SECONDS, Browser
from replicas import open_reading
from sample_business import (
    MARKDOWN,
    TWINS,
    SampleBusiness,
)
from selenium.webdriver.common.action_chains import ActionChains

from totes.dashboard import metrics, text
from totes.dashboard.filters import Filter
from totes.dashboard.metrics import purchases, sales
from totes.dashboard.navigation.view import PAGES
from totes.dashboard.server.web_server import free_port, url

METRIC = '[data-testid="stMetricValue"]'
DELTA = '[data-testid="stMetricDelta"]'
NAVIGATION = '[data-testid="stSidebar"] a'
DOWNLOAD = '[data-testid="stDownloadButton"] button'
CHART = '[data-testid="stVegaLiteChart"]'
DIAGRAM = '[data-testid="stGraphVizChart"]'
TABLE = '[data-testid="stDataFrame"]'
ALERT = '[data-testid="stAlert"]'
BADGE = '[data-testid="stText"]'

INPUT = ("css selector", "input")
MAIN = "document.querySelector('[data-testid=\"stMain\"]')"

_CELLS = f"""
return [...document.querySelectorAll('{TABLE} tr, .totes-table tr')]
    .map(row => [...row.querySelectorAll('td')].map(cell => cell.textContent).join(' '))
    .join('\\n');
"""

NUMBERS = f"""
return Object.fromEntries([...document.querySelectorAll('[data-testid="stMetric"]')].map(card => [
    card.querySelector('[data-testid="stMetricLabel"] p').textContent,
    card.querySelector('{METRIC}').textContent,
]));
"""

_CARDS = """
return [...document.querySelectorAll('[class*="st-key-cards-"] > div')].map(cell => {
    const card = [cell, ...cell.querySelectorAll('*')].find(
        one => one.clientWidth > 99 && parseFloat(getComputedStyle(one).borderTopWidth) > 0);
    const {top, bottom} = card.getBoundingClientRect();
    const words = [...cell.querySelectorAll('p')].map(one => one.getBoundingClientRect().bottom);
    return [Math.round(top), Math.round(bottom), Math.max(...words) < bottom];
});
"""
"""Top and bottom of each card, and whether its text is inside."""

_MARK = """
return [...document.querySelectorAll(arguments[0])].find(
    mark => arguments[1].some(name => mark.ariaLabel?.includes(name)));
"""

CLICK_AGAIN_SECONDS = 20.0
"""Interval after which a click without effect is repeated."""


@contextmanager
def running_dashboard(business: SampleBusiness, log: Path) -> Iterator[str]:
    """Serve a business with `totes dashboard`; yield its address."""
    port = free_port(wanted=0)
    command = [sys.executable, "-m", "totes", "dashboard", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | business.environment, stdout=output, stderr=output
        )
    found = url("127.0.0.1", port)
    try:
        wait_for_server(found, process, log)
        yield found
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()


def wait_for_server(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
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


def read_query(window: Browser) -> dict[str, list[str]]:
    return parse_qs(urlsplit(window.driver.current_url).query)


def click_into(window: Browser, mark: str, title: str) -> None:
    """Click on the first mark of a chart until the title appears."""
    click_until(
        window,
        lambda: window.click(mark),
        lambda: any(found.startswith(title) for found in window.texts("h2")),
    )


def click_until(window: Browser, click: Callable[[], object], is_done: Callable[[], bool]) -> None:
    """Click until it has an effect: a chart that is drawn again loses the click."""
    clicked = -CLICK_AGAIN_SECONDS

    def has_effect(_: object) -> bool:
        nonlocal clicked
        if is_done():
            return True
        if time.monotonic() - clicked > CLICK_AGAIN_SECONDS:
            click()
            clicked = time.monotonic()
        return False

    window.until(has_effect)


def assert_cards_are_even(window: Browser) -> None:
    """Cards with the same top have the same bottom, and their text is inside."""
    cards = window.driver.execute_script(_CARDS)
    edges = {(top, bottom) for top, bottom, _ in cards}
    assert len({top for top, _ in edges}) == len(edges), edges
    assert all(within for _, _, within in cards)


def chart_labels(window: Browser) -> list[str]:
    """Return the text alternatives; a dialog opened by a hostile name would fail the test here."""
    found = window.all(f"{CHART}, {DIAGRAM}")
    return [(one.get_attribute("aria-label") or "").strip() for one in found]


def wait_for_charts(window: Browser, number: int) -> None:
    window.until(lambda _: len(chart_labels(window)) >= number)


def wait_for_cells(window: Browser, cells: str) -> None:
    window.until(lambda driver: not cells or cells in driver.execute_script(_CELLS))


@dataclass(frozen=True)
class FilterCase:
    """A filter, and how a user sets and removes it."""

    choose: Callable[[Browser], None]
    undo: Callable[[Browser], None]
    query: dict[str, list[str]]
    """The query of the URL while the filter is set."""


def _named(widget: str, label: str, words: str) -> Callable[[Browser], None]:
    """Return a function that opens a selection, types until one option is left, and selects it."""

    def choose(window: Browser) -> None:
        window.settle()
        field = window.wait_for(f'[data-testid="stSidebar"] [data-testid="{widget}"]', label)
        field.find_element(*INPUT).click()
        window.driver.switch_to.active_element.send_keys(f"{words}\n")

    return choose


def _dates(since: date, until: date) -> Callable[[Browser], None]:
    """Return a function that types two dates and leaves their fields."""

    def choose(window: Browser) -> None:
        for label, day in (("From", since), ("To", until)):
            window.settle()
            window.wait_for(f'[aria-label^="year, {label}"]').click()
            ActionChains(window.driver).send_keys(f"{day:%Y%m%d}").perform()
            window.wait_for("h1").click()  # the calendar may cover the sidebar

    return choose


def _remove(label: str) -> Callable[[Browser], None]:
    """Return a function that clicks on the cross of the selected option."""

    def undo(window: Browser) -> None:
        picker = window.wait_for('[data-testid="stMultiSelect"]', label)
        crosses = picker.find_elements("css selector", "button[aria-label^=Remove]")
        next(cross for cross in crosses if cross.is_displayed()).click()

    return undo


def filter_cases(business: SampleBusiness) -> Iterator[FilterCase]:
    """Yield one filter of each kind that matches sales and purchases."""
    [(currency, country, department, counterparty, newest)] = business.installation.query(
        f"""
        SELECT
            mode() WITHIN GROUP (ORDER BY currency_code),
            mode() WITHIN GROUP (ORDER BY country) FILTER (WHERE country <> 'Türkiye'),
            mode() WITHIN GROUP (ORDER BY department_name)
                FILTER (WHERE department_name <> '{MARKDOWN}'),
            min(counterparty_id) FILTER (WHERE counterparty_legal_name = '{TWINS}'),
            max(created_date)
        FROM current_sales_order
        JOIN dim_currency USING (currency_id)
        JOIN dim_location ON location_id = agreed_delivery_location_id
        JOIN dim_staff ON staff_id = sales_staff_id
        JOIN dim_counterparty USING (counterparty_id)
        """
    )
    every = {"period": ["all"]}
    for name, label, value, shown in (
        ("currency", "Currency", currency, currency),
        ("country", "Country", country, country),
        ("department", "Department", department, department),
        ("counterparty", "Counterparty", str(counterparty), f"{TWINS} (id {counterparty})"),
    ):
        yield FilterCase(
            _named("stMultiSelect", label, shown), _remove(label), {**every, name: [value]}
        )
    all_days = _named("stSelectbox", "Period", "All")
    last_month = _named("stSelectbox", "Period", "Last month")
    yield FilterCase(last_month, all_days, {"period": ["last-month"]})
    since, until = newest - timedelta(days=25), newest - timedelta(days=5)
    days = {"from": [str(since)], "to": [str(until)]}
    yield FilterCase(_dates(since, until), all_days, days)
    yield FilterCase(
        _named("stSelectbox", "Reporting currency", "EUR"),
        _named("stSelectbox", "Reporting currency", "GBP"),
        {**every, "in": ["EUR"]},
    )


def expected_numbers(
    business: SampleBusiness, page: str, query: dict[str, list[str]]
) -> dict[str, str]:
    """Return the numbers of a page's cards, computed from the warehouse."""
    with open_reading(business.reader) as reading:
        criteria, notices = Filter.from_query(query, metrics.choices(reading))
        assert not notices
        revenue = text.money(sales.total(reading, criteria).value, criteria.reporting)
        bought = purchases.summary(reading, criteria)
        spend = text.money(bought.spend.value, criteria.reporting)
    if page == "overview":
        return {"Revenue": revenue, "Purchases": spend}
    return {
        "Purchases": spend,
        "Purchase orders": f"{bought.orders:,}",
        "Items": f"{bought.items:,}",
    }


def wait_for_expected_numbers(
    window: Browser, business: SampleBusiness, page: str, query: Any
) -> None:
    window.wait_for("h1", PAGES[page])
    window.until(lambda _: read_query(window) == query)
    expected = expected_numbers(business, page, query)
    window.until(lambda driver: expected.items() <= driver.execute_script(NUMBERS).items())


def wait_for_mark(window: Browser, css: str, names: list[str]) -> str:
    """Wait until the last mark of a chart has one of the names in its text; return this name."""

    def find(_: object) -> list[str]:
        labels = [str(one.get_attribute("aria-label")) for one in window.all(css)[-1:]]
        return [name for label in labels for name in names if name in label]

    found = window.until(find)
    window.settle()
    return str(found[0])


def click_mark(
    window: Browser, css: str, *names: str, until: Callable[[dict[str, list[str]]], bool]
) -> None:
    """Click on the mark of a chart whose text has one of the names, until the query is right."""

    def click() -> None:
        window.settle()
        mark = window.until(lambda driver: driver.execute_script(_MARK, css, names))
        window.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
        ActionChains(window.driver).move_to_element(mark).click().perform()

    click_until(window, click, lambda: until(read_query(window)))
    window.settle()


def period_start(window: Browser) -> str:
    found = window.wait_for('[data-testid="stDateInput"]', "From")
    return str(found.get_attribute("textContent")).removeprefix("From")
