"""The dashboard as a person meets it: served by `totes dashboard`, in a real browser."""

import csv
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import duckdb
import psycopg
import pytest
from browser import PATIENCE_SECONDS, Browser, browser
from sample_business import (
    CHANGED,
    DELETED,
    MARKDOWN,
    SCRIPT,
    TWINS,
    SampleBusiness,
    sample_business,
)
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from totes.dashboard import charts, metrics, text
from totes.dashboard.filters import Filter
from totes.dashboard.metrics import purchases, sales
from totes.dashboard.reading import open_reading
from totes.dashboard.server import free_port, url
from totes.dashboard.view import PAGES
from totes.demo.simulator import Simulator
from totes.embedded.servers import EmbeddedServer, Source

METRIC = '[data-testid="stMetricValue"]'
DELTA = '[data-testid="stMetricDelta"]'
NAVIGATION = '[data-testid="stSidebar"] a'
DOWNLOAD = '[data-testid="stDownloadButton"] button'
CHART = '[data-testid="stVegaLiteChart"]'
DIAGRAM = '[data-testid="stGraphVizChart"]'
TABLE = '[data-testid="stDataFrame"]'
ALERT = '[data-testid="stAlert"]'
BADGE = '[data-testid="stText"]'

DRAWN = {"overview": 1, "sales": 4, "purchases": 2, "payments": 3, "pipeline": 1, "dictionary": 3}
"""Charts and diagrams that a page of this business has at least."""

SHOWN = {
    "history": f"Sales order {DELETED}",
    "pipeline": "fact_sales_order agreed_delivery_date",
    "dictionary": "dim_counterparty",
}
"""Cells of a page's tables, as they are read."""

_INPUT = ("css selector", "input")
_PAGE = "document.querySelector('[data-testid=\"stMain\"]')"

_CELLS = f"""
return [...document.querySelectorAll('{TABLE} tr')]
    .map(row => [...row.querySelectorAll('td')].map(cell => cell.textContent).join(' '))
    .join('\\n');
"""

_NUMBERS = f"""
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
"""Where each card's edge begins and ends, and whether all that is said of it stands within."""

_MARK = """
return [...document.querySelectorAll(arguments[0])].find(
    mark => arguments[1].some(name => mark.ariaLabel?.includes(name)));
"""

_COUNT_TICKS = """
window.ticks = 0;
const badge = () => [...document.querySelectorAll('[data-testid="stText"]')]
    .map(found => found.textContent).find(text => text.startsWith('Data to')) ?? '';
let seen = badge();
window.counting = new MutationObserver(() => {
    const now = badge();
    if (now && now !== seen) { seen = now; window.ticks += 1; }
});
window.counting.observe(document.body, {subtree: true, childList: true, characterData: true});
"""
"""A badge tells another age with each look at the warehouse."""

AGAIN_SECONDS = 20.0
"""After that a person clicks a second time."""


@pytest.fixture(scope="module")
def business(
    server: EmbeddedServer, template: Source, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SampleBusiness]:
    with sample_business(server, template, "browsed", tmp_path_factory.mktemp("browsed")) as made:
        yield made


@pytest.fixture(scope="module")
def address(business: SampleBusiness, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where `totes dashboard` serves it."""
    port = free_port(wanted=0)
    command = [sys.executable, "-m", "totes", "dashboard", "--port", str(port)]
    log = tmp_path_factory.mktemp("served") / "log"
    environment = os.environ | business.environment
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
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


def _click_into(window: Browser, mark: str, title: str) -> None:
    """Click until it leads there: a busy machine draws a chart anew under the first click."""
    clicked = -AGAIN_SECONDS

    def led(_: object) -> bool:
        nonlocal clicked
        if any(found.text.startswith(title) for found in window.all("h3")):
            return True
        if time.monotonic() - clicked > AGAIN_SECONDS:
            window.click(mark)
            clicked = time.monotonic()
        return False

    window.until(led)


def test_a_tour_keeps_the_filter_and_asks_nobody_else(window: Browser, address: str) -> None:
    window.open(f"{address}/overview?period=all&in=EUR")
    window.one("h1", "Overview")  # whose own place is the root
    for page, title in PAGES.items():
        window.click(NAVIGATION, title)
        window.one("h1", title)
        assert _query(window) == {"period": ["all"], "in": ["EUR"]}, page
        window.says("Data to ")
        window.says("checked ")
        assert not window.all('[data-testid="stException"]'), page
        _wait_for_charts(window, DRAWN.get(page, 0))
        assert all(_alts(window)), page
        _wait_for_cells(window, SHOWN.get(page, ""))
        _assert_cards_are_even(window)
    assert not window.asked_elsewhere
    assert not window.complaints()


def _assert_cards_are_even(window: Browser) -> None:
    """Those that begin at one height end at one, with all that is said of them inside."""
    cards = window.driver.execute_script(_CARDS)
    edges = {(top, bottom) for top, bottom, _ in cards}
    assert len({top for top, _ in edges}) == len(edges), edges
    assert all(within for _, _, within in cards)


def _alts(window: Browser) -> list[str]:
    """What each chart and diagram says; a dialog of a hostile name would end the test here."""
    found = window.all(f"{CHART}, {DIAGRAM}")
    return [(one.get_attribute("aria-label") or "").strip() for one in found]


def _wait_for_charts(window: Browser, number: int) -> None:
    window.until(lambda _: len(_alts(window)) >= number)


def _wait_for_cells(window: Browser, cells: str) -> None:
    window.until(lambda driver: not cells or cells in driver.execute_script(_CELLS))


def test_the_keyboard_goes_through_the_filters_in_their_order_and_stays(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    window.open(f"{address}/sales?period=all&in=USD")
    met: list[str] = []
    while "Time machine" not in " ".join(met):
        focused = window.driver.switch_to.active_element
        focused.send_keys(Keys.TAB)
        assert len(met) < 100, met
        focused = window.driver.switch_to.active_element
        met.append(focused.get_attribute("aria-label") or focused.text)
    wanted = [
        *PAGES.values(),
        *("Period", "year, From", "year, To", "Currency", "Country", "Department"),
        *("Counterparty", "All sums in"),
    ]
    places = [next(i for i, one in enumerate(met) if name in one) for name in wanted]
    assert places == sorted(places)
    picker = window.one('[data-testid="stMultiSelect"]', "Currency")
    window.driver.execute_script("arguments[0].focus()", picker.find_element(*_INPUT))
    window.driver.switch_to.active_element.send_keys("USD\n")
    window.until(lambda _: _query(window).get("currency") == ["USD"])
    window.settle()
    assert window.driver.switch_to.active_element.get_attribute("aria-label") == "Currency"
    [(day,)] = business.installation.ask("SELECT max(created_date) FROM current_sales_order")
    window.open(f"{address}/sales?from={day.year}-01-01&to={day.year}-12-31")
    picker = window.one('[data-testid="stMain"] [data-testid="stSelectbox"]')
    window.driver.execute_script("arguments[0].focus()", picker.find_element(*_INPUT))
    window.driver.switch_to.active_element.send_keys(f"{day:%b %Y}\n")
    window.one("h3", "Revenue by day")
    window.settle()
    focused = window.driver.switch_to.active_element  # still there, to go on to a day
    assert focused.get_attribute("aria-label") == "Look into one day"
    assert not focused.get_attribute("value")


@dataclass(frozen=True)
class Chosen:
    """A filter, as a person chooses it and takes it away again."""

    choose: Callable[[Browser], None]
    undo: Callable[[Browser], None]
    query: dict[str, list[str]]
    """What the address then is."""


def _named(widget: str, label: str, words: str) -> Callable[[Browser], None]:
    """Click into a list of choices, once nothing moves, type until one is left, and take it."""

    def choose(window: Browser) -> None:
        window.settle()
        field = window.one(f'[data-testid="stSidebar"] [data-testid="{widget}"]', label)
        field.find_element(*_INPUT).click()
        window.driver.switch_to.active_element.send_keys(f"{words}\n")

    return choose


def _dates(since: date, until: date) -> Callable[[Browser], None]:
    """Type them into the two fields, and leave these."""

    def choose(window: Browser) -> None:
        for label, day in (("From", since), ("To", until)):
            window.settle()
            window.one(f'[aria-label^="year, {label}"]').click()
            ActionChains(window.driver).send_keys(f"{day:%Y%m%d}").perform()
            window.one('[data-testid="stSidebar"] hr').click()

    return choose


def _remove(label: str) -> Callable[[Browser], None]:
    """The cross beside the one that was chosen."""

    def undo(window: Browser) -> None:
        picker = window.one('[data-testid="stMultiSelect"]', label)
        crosses = picker.find_elements("css selector", "button[aria-label^=Remove]")
        next(cross for cross in crosses if cross.is_displayed()).click()

    return undo


def _filters(business: SampleBusiness) -> Iterator[Chosen]:
    """One of each, of which there is something on both pages of orders."""
    [(currency, country, department, counterparty, newest)] = business.installation.ask(
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
        ("counterparty", "Counterparty", str(counterparty), f"{TWINS} ({counterparty})"),
    ):
        yield Chosen(
            _named("stMultiSelect", label, shown), _remove(label), {**every, name: [value]}
        )
    all_days = _named("stSelectbox", "Period", "All")
    last_month = _named("stSelectbox", "Period", "Last month")
    yield Chosen(last_month, all_days, {"period": ["last-month"]})
    since, until = newest - timedelta(days=25), newest - timedelta(days=5)
    days = {"from": [str(since)], "to": [str(until)]}
    yield Chosen(_dates(since, until), all_days, days)
    yield Chosen(
        _named("stSelectbox", "All sums in", "EUR"),
        _named("stSelectbox", "All sums in", "GBP"),
        {**every, "in": ["EUR"]},
    )


def _truth(business: SampleBusiness, page: str, query: dict[str, list[str]]) -> dict[str, str]:
    """What the warehouse has for an address, as the page's cards tell it."""
    with open_reading(business.reader) as reading:
        chosen, notices = Filter.from_query(query, metrics.choices(reading))
        assert not notices
        revenue = text.money(sales.total(reading, chosen).value, chosen.reporting)
        bought = purchases.summary(reading, chosen)
        spend = text.money(bought.spend.value, chosen.reporting)
    if page == "overview":
        return {"Revenue": revenue, "Purchases": spend}
    return {"Spend": spend, "Orders": f"{bought.orders:,}", "Items": f"{bought.quantity:,}"}


def _wait_for_truth(window: Browser, business: SampleBusiness, page: str, query: Any) -> None:
    window.one("h1", PAGES[page])
    window.until(lambda _: _query(window) == query)
    truth = _truth(business, page, query)
    window.until(lambda driver: truth.items() <= driver.execute_script(_NUMBERS).items())


def test_every_filter_changes_the_numbers_goes_along_and_can_be_taken_away(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    every = {"period": ["all"]}
    whole = {page: _truth(business, page, every) for page in ("overview", "purchases")}
    here, there = "overview", "purchases"
    window.open(f"{address}/?period=all")
    for one in _filters(business):
        for page in (here, there):
            assert _truth(business, page, one.query) != whole[page], one.query
        one.choose(window)
        _wait_for_truth(window, business, here, one.query)
        window.one(NAVIGATION, PAGES[there]).click()
        _wait_for_truth(window, business, there, one.query)
        one.undo(window)
        _wait_for_truth(window, business, there, every)
        here, there = there, here
    assert not window.complaints()


def test_a_bar_leads_into_its_month_and_a_day_shows_its_orders(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    [(first, day)] = business.installation.ask(
        "SELECT min(created_date), max(created_date) FROM current_sales_order"
    )
    start = first.replace(day=1)
    window.open(f"{address}/sales?from={start}&to={start + timedelta(days=120)}")
    window.one("h3", "Revenue by month")
    _click_into(window, f"{CHART} .mark-rect path", "Revenue by day")
    assert _query(window)["from"] == [str(start)]
    window.open(f"{address}/sales?from={day}&to={day}")
    window.says("Choose a row to see its history")
    window.click('[data-testid="stButton"] button', f"{day:%B %Y}")
    assert _query(window)["from"] == [str(day.replace(day=1))]


def test_a_click_on_lines_goes_into_their_period_as_often_as_one_comes_back(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    [(first,)] = business.installation.ask("SELECT min(created_date) FROM current_sales_order")
    start = first.replace(day=1)
    window.open(f"{address}/?from={start}&to={start + timedelta(days=120)}&in=USD")
    for _ in range(2):
        window.click(f"{CHART} .mark-rect path")
        window.until(lambda _: _query(window)["to"] != [str(start + timedelta(days=120))])
        assert _query(window)["from"] == [str(start)]
        assert _query(window)["in"] == ["USD"]
        window.driver.back()
        window.until(lambda _: _query(window)["to"] == [str(start + timedelta(days=120))])
        window.settle()


def test_a_click_on_a_bar_or_a_country_narrows_the_filter_and_again_widens_it(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    [(code,)] = business.installation.ask("SELECT min(currency_code) FROM dim_currency")
    window.open(f"{address}/sales?period=all&currency={code}")
    _click_mark(window, f"{CHART} .mark-shape path", "Turkey", "Türkiye")  # which has more
    window.until(lambda _: _query(window).get("country") == ["Turkey"])
    window.settle()
    window.click('[data-testid="stTab"]', "Counterparty")
    bar = f"{CHART} .mark-rect path"
    before = len(window.all(bar))
    says = str(window.all(bar)[-1].get_attribute("aria-label"))
    _click_mark(window, bar, says)
    window.until(lambda _: "counterparty" in _query(window))
    assert _query(window)["currency"] == [code]
    [chosen] = _query(window)["counterparty"]
    [(name,)] = business.installation.ask(
        f"SELECT counterparty_legal_name FROM dim_counterparty WHERE counterparty_id = {chosen}"
    )
    assert f"name: {name}" in says
    window.says(f"Only Turkey, {name}, in {code}")
    window.until(lambda _: len(window.all(bar)) < before)
    _click_mark(window, bar, f"name: {name}")
    window.until(lambda _: "counterparty" not in _query(window))
    assert not window.complaints()


def _click_mark(window: Browser, css: str, *names: str) -> None:
    """The mark of a chart that says one of the names."""
    window.settle()

    mark = window.until(lambda driver: driver.execute_script(_MARK, css, names))
    window.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(window.driver).move_to_element(mark).click().perform()
    window.settle()


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
    path = window.download("[class*='st-key-rows-open-CSV'] button", "CSV")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    parquet = window.download("[class*='st-key-rows-open-Parquet'] button", "Parquet")
    ids = ("payment_id", "sales_order_id", "purchase_order_id")
    exact = duckdb.execute(
        f"SELECT {', '.join(ids)} FROM read_parquet(?)", [str(parquet)]
    ).fetchall()
    read = [tuple(int(row[name]) if row[name] else None for name in ids) for row in rows]
    assert read == exact != []


def test_a_link_shows_another_the_same(window: Browser, address: str) -> None:
    window.open(f"{address}/history?kind=sales_order&key={CHANGED}&period=this-year")
    window.one("h3", f"Sales order {CHANGED}")
    window.says("2 versions")
    window.click(NAVIGATION, "Sales")
    window.one("h1", "Sales")
    assert _query(window)["period"] == ["this-year"]


def test_new_orders_appear_by_themselves_and_leave_the_place(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    window.open(f"{address}/sales")
    last_30_days = window.driver.current_window_handle
    since = _since(window)
    window.driver.switch_to.new_window("tab")
    try:
        window.open(f"{address}/sales?period=all&in=EUR")
        window.click('[data-testid="stExpander"] summary', "As a table")
        window.driver.execute_script(f"{_PAGE}.scrollTo(0, 300)")
        before = [element.text for element in window.all(METRIC)]
        with Simulator(business.installation.owner, seed=3) as simulated:
            for _ in zip(range(40), simulated.run(rate=None), strict=False):
                pass
        business.live_a_day_on()
        window.driver.execute_script(_COUNT_TICKS)
        [(orders,)] = business.installation.ask("SELECT count(*) FROM current_sales_order")
        window.until(lambda _: f"{orders:,}" in [element.text for element in window.all(METRIC)])
        # the first look after it landed, and what the page drawn anew says itself
        assert window.driver.execute_script("return window.ticks") <= 2
        assert [element.text for element in window.all(METRIC)] != before
        assert _query(window) == {"period": ["all"], "in": ["EUR"]}
        window.settle()
        assert window.one('[data-testid="stExpander"] details', "As a table").get_attribute("open")
        assert window.driver.execute_script(f"return {_PAGE}.scrollTop") > 0
        assert not window.complaints()
        window.driver.close()
    finally:
        window.driver.switch_to.window(last_30_days)
    window.until(lambda _: _since(window) > since)  # the business's day has moved in this one
    window.settle()
    assert _query(window) == {}
    period = window.one('[data-testid="stSelectbox"]', "Period").find_element(*_INPUT)
    assert period.get_attribute("value") == "Last 30 days"
    business.live_a_day_on()
    later = _since(window)
    window.until(lambda _: _since(window) > later)
    window.settle()
    assert _query(window) == {}


def _since(window: Browser) -> str:
    found = window.one('[data-testid="stDateInput"]', "From")
    return str(found.get_attribute("textContent")).removeprefix("From")


def test_a_locked_warehouse_is_told_and_the_page_comes_back_by_itself(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    with psycopg.connect(business.installation.warehouse.reveal()) as connection:
        connection.execute("LOCK TABLE totes.batches IN ACCESS EXCLUSIVE MODE")
        window.driver.get(f"{address}/sales?period=all&in=EUR")  # it asks again and again
        window.one("h1", "The warehouse is locked just now")
        window.says("Nothing is lost")
        assert [link.text.split()[-1] for link in window.all(NAVIGATION)] == [
            title.split()[-1] for title in PAGES.values()
        ]
    window.one("h1", "Sales")
    window.settle()
    assert _query(window) == {"period": ["all"], "in": ["EUR"]}


def test_a_warehouse_that_goes_away_is_told_and_all_comes_back_by_itself(
    window: Browser, address: str, business: SampleBusiness, server: EmbeddedServer
) -> None:
    window.open(f"{address}/purchases?period=all&in=EUR")
    window.driver.execute_script(f"{_PAGE}.scrollTo(0, 300)")
    before = window.driver.execute_script(_NUMBERS)
    first = window.driver.current_window_handle
    server.stop()
    try:
        told = window.one(ALERT, "The warehouse can't be reached. What is shown below is from").text
        assert "totes check" in told
        assert window.driver.execute_script(_NUMBERS) == before
        window.driver.switch_to.new_window("tab")
        window.driver.get(f"{address}/?period=all&currency=USD")  # it asks again and again
        window.one("h1", "The warehouse can't be reached")
        window.says("totes check")
        window.says("goes on by itself")
    finally:
        server.start()
    _wait_for_truth(window, business, "overview", {"period": ["all"], "currency": ["USD"]})
    window.driver.close()
    window.driver.switch_to.window(first)
    window.one(BADGE, "Data to ")
    window.until(lambda _: not window.all(ALERT))
    assert _query(window) == {"period": ["all"], "in": ["EUR"]}
    assert window.driver.execute_script(_NUMBERS) == before
    assert window.driver.execute_script(f"return {_PAGE}.scrollTop") > 0


def test_the_pipelines_cards_grow_old_with_the_badge(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    captured = "UPDATE totes.batches SET captured_at = captured_at {} interval '2 hours'"
    checked = "UPDATE totes.checks SET checked_at = now() - interval '{}'"
    business.installation.ask(captured.format("-"))
    business.installation.ask(checked.format("0 s"))
    try:
        window.driver.get(f"{address}/pipeline")  # on a slow machine one look follows the other
        window.one(DELTA, "within the deadline")
        business.installation.ask(checked.format("1 hour"))  # the data stays the same
        window.says("Nobody has looked at totesys since")
        window.one(DELTA, "late")
    finally:
        business.installation.ask(captured.format("+"))
        business.installation.ask(checked.format("0 s"))


def test_the_time_machine_shows_the_past_and_leads_back(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    [(begins,)] = business.installation.ask("SELECT min(captured_at) FROM totes.batches")
    [(then,)] = business.installation.ask(f"SELECT count(*) FROM sales_order_as_of('{begins}')")
    [(now,)] = business.installation.ask("SELECT count(*) FROM current_sales_order")
    assert then != now
    moment = begins.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
    try:
        window.open(f"{address}/sales?period=all&as_of={moment}")
        window.says("As it stood at")
        assert f"{then:,}" in [element.text for element in window.all(METRIC)]
        bar = window.one(f"{CHART} .mark-rect path")
        assert bar.get_attribute("fill") == charts.accent(dark=True)
        window.click('[data-testid="stButton"] button', "Back to now")
        window.until(lambda _: f"{now:,}" in [element.text for element in window.all(METRIC)])
    finally:
        window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert _query(window) == {"period": ["all"]}


def test_a_phone_shows_every_page_without_scrolling_sideways(address: str, window: Browser) -> None:
    window.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        for page in PAGES:
            window.open(f"{address}/{page}?period=all")
            window.one("h1", PAGES[page])
            wide, seen = window.driver.execute_script(
                f"const page = {_PAGE}; return [page.scrollWidth, page.clientWidth]"
            )
            assert wide <= seen <= 390, page
            _assert_cards_are_even(window)
    finally:
        window.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
