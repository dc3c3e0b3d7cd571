"""The dashboard in a real browser, served by `totes dashboard`."""

import csv
import re
from datetime import UTC, timedelta
from decimal import Decimal

import duckdb
import psycopg
import pytest
from browser import Browser
from dashboard_window import (
    ALERT,
    BADGE,
    CHART,
    DELTA,
    DOWNLOAD,
    INPUT,
    MAIN,
    METRIC,
    NAVIGATION,
    NUMBERS,
    TABLE,
    assert_cards_are_even,
    chart_labels,
    click_into,
    click_mark,
    click_until,
    expected_numbers,
    filter_cases,
    period_start,
    read_query,
    wait_for_cells,
    wait_for_charts,
    wait_for_expected_numbers,
    wait_for_mark,
)
from depth import sample
from sample_business import (
    CHANGED,
    DELETED,
    SCRIPT,
    SampleBusiness,
)
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from totes.dashboard import charts, text
from totes.dashboard.components.drill import last_day
from totes.dashboard.navigation.view import PAGES
from totes.demo.simulator import Simulator
from totes.embedded.servers import EmbeddedServer

DRAWN = {
    "overview": 1,
    "sales": 3,
    "purchases": 2,
    "payments": 3,
    "explore": 1,
    "pipeline": 1,
    "dictionary": 3,
}
"""Minimum number of charts and diagrams per page."""

SHOWN = {
    "changes": f"Sales order {DELETED}",
    "pipeline": "fact_sales_order agreed_delivery_date",
    "dictionary": "dim_counterparty",
}
"""Cells of tables, per page."""

TOOLBAR = '[data-testid="stElementToolbarButton"] button'

_COUNT_TICKS = """
window.ticks = 0;
const badge = () => [...document.querySelectorAll('[data-testid="stText"]')]
    .map(found => found.textContent).find(text => text.startsWith('Data as of')) ?? '';
let seen = badge();
window.counting = new MutationObserver(() => {
    const now = badge();
    if (now && now !== seen) { seen = now; window.ticks += 1; }
});
window.counting.observe(document.body, {subtree: true, childList: true, characterData: true});
"""
"""The text of the badge changes with each query of the warehouse."""


_CUT_DATES = """
return [...document.querySelectorAll('[data-testid="stDateInputFieldsScroller"]')]
    .map(one => one.scrollWidth - one.clientWidth);
"""


pytestmark = pytest.mark.few(2)


@pytest.fixture
def business(served_business: SampleBusiness) -> SampleBusiness:
    return served_business


def test_navigation_keeps_the_filter_and_loads_nothing_from_other_hosts(
    window: Browser, address: str
) -> None:
    window.open(f"{address}/overview?period=all&in=EUR")
    window.wait_for("h1", "Overview")  # redirected to the root
    for page, title in sample(2, PAGES.items(), "tour"):
        window.click(NAVIGATION, title)
        window.wait_for("h1", title)
        assert read_query(window) == {"period": ["all"], "in": ["EUR"]}, page
        window.wait_for_text("Data as of ")
        window.wait_for_text("checked ")
        assert not window.all('[data-testid="stException"]'), page
        wait_for_charts(window, DRAWN.get(page, 0))
        assert all(chart_labels(window)), page
        wait_for_cells(window, SHOWN.get(page, ""))
        assert_cards_are_even(window)
    assert not window.other_hosts
    assert not window.script_errors()


def test_the_keyboard_reaches_the_filters_in_order_and_keeps_the_focus(
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
        *("Counterparty", "Reporting currency"),
    ]
    places = [next(i for i, one in enumerate(met) if name in one) for name in wanted]
    assert places == sorted(places)
    picker = window.wait_for('[data-testid="stMultiSelect"]', "Currency")
    window.driver.execute_script("arguments[0].focus()", picker.find_element(*INPUT))
    window.driver.switch_to.active_element.send_keys("USD\n")
    window.until(lambda _: read_query(window).get("currency") == ["USD"])
    window.settle()
    assert window.driver.switch_to.active_element.get_attribute("aria-label") == "Currency"
    [(day,)] = business.installation.query("SELECT max(created_date) FROM current_sales_order")
    window.open(f"{address}/sales?from={day.year}-01-01&to={day.year}-12-31")
    picker = window.wait_for('[data-testid="stMain"] [data-testid="stSelectbox"]')
    window.driver.execute_script("arguments[0].focus()", picker.find_element(*INPUT))
    window.driver.switch_to.active_element.send_keys(f"{day:%b %Y}\n")
    window.wait_for("h2", f"Revenue, {text.day(day.replace(day=1))} to ")
    window.settle()
    focused = window.driver.switch_to.active_element  # on the same selection, now of days
    assert focused.get_attribute("aria-label") == "Drill into a day"
    assert not focused.get_attribute("value")


def test_every_filter_changes_the_numbers_is_kept_and_can_be_removed(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    every = {"period": ["all"]}
    whole = {page: expected_numbers(business, page, every) for page in ("overview", "purchases")}
    here, there = "overview", "purchases"
    window.open(f"{address}/?period=all")
    for one in sample(2, filter_cases(business), "filters"):
        for page in (here, there):
            assert expected_numbers(business, page, one.query) != whole[page], one.query
        one.choose(window)
        wait_for_expected_numbers(window, business, here, one.query)
        window.wait_for(NAVIGATION, PAGES[there]).click()
        wait_for_expected_numbers(window, business, there, one.query)
        one.undo(window)
        wait_for_expected_numbers(window, business, there, every)
        here, there = there, here
    assert not window.script_errors()


def test_a_click_on_a_bar_drills_into_its_month_and_a_day_lists_its_orders(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    [(first, day)] = business.installation.query(
        "SELECT min(created_date), max(created_date) FROM current_sales_order"
    )
    start = first.replace(day=1)
    window.open(f"{address}/sales?from={start}&to={start + timedelta(days=120)}")
    month = text.period(start, last_day(start, "month"))
    click_into(window, f"{CHART} .mark-rect path", f"Revenue, {month}")
    assert read_query(window)["from"] == [str(start)]
    window.open(f"{address}/sales?from={day}&to={day}")
    window.wait_for_text("Select a row for links")
    window.click('[data-testid="stButton"] button', f"{day:%B %Y}")
    window.until(lambda _: read_query(window)["from"] == [str(day.replace(day=1))])


def test_a_click_on_lines_drills_into_their_period_again_after_going_back(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    [(first,)] = business.installation.query("SELECT min(created_date) FROM current_sales_order")
    start = first.replace(day=1)
    window.open(f"{address}/?from={start}&to={start + timedelta(days=120)}&in=USD")
    for _ in range(2):
        click_until(
            window,
            lambda: window.click(f"{CHART} .mark-rect path"),
            lambda: read_query(window)["to"] != [str(start + timedelta(days=120))],
        )
        assert read_query(window)["from"] == [str(start)]
        assert read_query(window)["in"] == ["USD"]
        window.driver.back()
        window.until(lambda _: read_query(window)["to"] == [str(start + timedelta(days=120))])
        window.settle()


def test_a_click_on_a_bar_or_a_country_filters_and_another_one_removes_the_filter(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    [(code,)] = business.installation.query("SELECT min(currency_code) FROM dim_currency")
    window.open(f"{address}/sales?period=all&currency={code}")
    shape = f"{CHART} .mark-shape path"
    click_mark(window, shape, "Turkey", "Türkiye", until=lambda query: "country" in query)
    assert read_query(window)["country"] == ["Turkey"]  # which has more
    window.click('[data-testid="stTab"]', "Counterparty")
    assert read_query(window)["tab"] == ["Counterparty"]
    bar = f"{CHART} .mark-rect path"
    query = "SELECT 'name: ' || counterparty_legal_name FROM dim_counterparty"
    names = [name for (name,) in business.installation.query(query)]
    shown = wait_for_mark(window, bar, names)
    before = len(window.all(bar))
    click_mark(window, bar, shown, until=lambda query: "counterparty" in query)
    assert read_query(window)["currency"] == [code]
    [criteria] = read_query(window)["counterparty"]
    [(name,)] = business.installation.query(
        f"SELECT counterparty_legal_name FROM dim_counterparty WHERE counterparty_id = {criteria}"
    )
    assert shown == f"name: {name}"
    window.wait_for_text(f"Country: Turkey; Counterparty: {name}; Currency: {code}")
    window.until(lambda _: len(window.all(bar)) < before)
    click_mark(window, bar, f"name: {name}", until=lambda query: "counterparty" not in query)
    assert not window.script_errors()


def test_downloads_have_the_rows_that_are_shown(window: Browser, address: str) -> None:
    window.open(f"{address}/payments?period=all")
    window.wait_for("h2", "Owed to us")
    section = "[class*='st-key-payments-receivable-CSV'] button"
    path = window.download(section, "CSV")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    parquet = window.download("[class*='st-key-payments-receivable-Parquet'] button", "Parquet")
    assert re.fullmatch(r"totes-owed-to-us_.*\.parquet", parquet.name)
    exact = duckdb.execute(
        'SELECT "Counterparty", "Owed to us, GBP" FROM read_parquet(?)', [str(parquet)]
    ).fetchall()
    assert [(row["Counterparty"], Decimal(row["Owed to us, GBP"])) for row in rows] == exact
    assert any(name == SCRIPT for name, _ in exact)
    path = window.download("[class*='st-key-rows-open-CSV'] button", "CSV")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    parquet = window.download("[class*='st-key-rows-open-Parquet'] button", "Parquet")
    ids = ("Payment id", "Sales order id", "Purchase order id")
    quoted = ", ".join(f'"{name}"' for name in ids)
    exact = duckdb.execute(f"SELECT {quoted} FROM read_parquet(?)", [str(parquet)]).fetchall()
    read = [tuple(int(row[name]) if row[name] else None for name in ids) for row in rows]
    assert read == exact != []


def test_tables_have_no_download_besides_their_own(window: Browser, address: str) -> None:
    window.open(f"{address}/payments?period=all")
    window.wait_for("h2", "Open payments")
    table = window.wait_for(f"[class*='st-key-wide-rows-open'] {TABLE}")
    window.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", table)
    ActionChains(window.driver).move_to_element(table).perform()
    buttons = f"[class*='st-key-wide-rows-open'] {TOOLBAR}"
    window.until(lambda _: any(one.is_displayed() for one in window.all(buttons)))
    shown = {
        str(one.get_attribute("aria-label")): one.is_displayed() for one in window.all(buttons)
    }
    assert [shows for label, shows in shown.items() if label.startswith("Search")] == [True]
    assert [shows for label, shows in shown.items() if label.startswith("Download")] == [False]


def test_a_shared_link_opens_the_same_tab_and_limit(window: Browser, address: str) -> None:
    window.open(f"{address}/sales?period=all&tab=Currency&rows-sales_order-shown=True")
    tab = window.wait_for('[data-testid="stTab"][aria-selected="true"]')
    assert tab.text == "Currency"
    window.wait_for('[class*="st-key-rows-sales_order-CSV"] button', "CSV")
    assert read_query(window)["tab"] == ["Currency"]


def test_a_printed_page_has_no_sidebar_and_dates_are_not_cut(window: Browser, address: str) -> None:
    window.open(f"{address}/sales?period=all")
    assert window.driver.execute_script(_CUT_DATES) == [0, 0]
    window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not window.wait_for('[data-testid="stSidebar"]').is_displayed()
        wide, seen = window.driver.execute_script(
            f"const page = {MAIN}; return [page.scrollWidth, page.clientWidth]"
        )
        assert wide <= seen
        assert not any(button.is_displayed() for button in window.all(DOWNLOAD))
    finally:
        window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_link_opens_the_same_page_for_another_user(window: Browser, address: str) -> None:
    window.open(f"{address}/history?kind=sales_order&key={CHANGED}&period=this-year")
    window.wait_for("h2", f"Sales order {CHANGED}")
    window.wait_for_text("2 versions")
    window.click(NAVIGATION, "Sales")
    window.wait_for("h1", "Sales")
    assert read_query(window)["period"] == ["this-year"]


def test_a_search_leads_to_an_order_its_payment_and_its_customer(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    [(payment, customer)] = business.installation.query(
        "SELECT payment_id, counterparty_id FROM current_payment"
        f" JOIN dim_transaction USING (transaction_id) WHERE sales_order_id = {CHANGED}"
    )
    window.open(f"{address}/history?period=all")
    window.wait_for('[data-testid="stTextInput"] input').send_keys(f"{CHANGED}\n")
    for record in (f"Sales order {CHANGED}", f"Payment {payment}"):
        window.click('[data-testid="stPageLink"] a', record)
        window.wait_for("h2", record)
    window.click('[data-testid="stPageLink"] a', f"Counterparty {customer}")
    wait_for_charts(window, 1)
    assert read_query(window) == {"period": ["all"], "id": [str(customer)]}
    assert not window.script_errors()


def test_new_orders_appear_automatically_and_keep_the_scroll_position(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    window.open(f"{address}/sales")
    last_30_days = window.driver.current_window_handle
    since = period_start(window)
    window.driver.switch_to.new_window("tab")
    try:
        window.open(f"{address}/sales?period=all&in=EUR")
        window.click('[data-testid="stExpander"] summary', "As a table")
        window.driver.execute_script(f"{MAIN}.scrollTo(0, 300)")
        before = window.texts(METRIC)
        with Simulator(business.installation.owner, seed=3) as simulated:
            for _ in zip(range(40), simulated.run(rate=None), strict=False):
                pass
        business.move_to_next_day()
        window.driver.execute_script(_COUNT_TICKS)
        [(orders,)] = business.installation.query("SELECT count(*) FROM current_sales_order")
        window.until(lambda _: f"{orders:,}" in window.texts(METRIC))
        # the first query after the load, and the text of the page drawn again
        assert window.driver.execute_script("return window.ticks") <= 2
        assert window.texts(METRIC) != before
        assert read_query(window) == {"period": ["all"], "in": ["EUR"]}
        window.settle()
        assert window.wait_for('[data-testid="stExpander"] details', "As a table").get_attribute(
            "open"
        )
        assert window.driver.execute_script(f"return {MAIN}.scrollTop") > 0
        assert not window.script_errors()
        window.driver.close()
    finally:
        window.driver.switch_to.window(last_30_days)
    window.until(lambda _: period_start(window) > since)  # today is a later day in this window
    window.settle()
    assert read_query(window) == {}
    period = window.wait_for('[data-testid="stSelectbox"]', "Period").find_element(*INPUT)
    assert period.get_attribute("value") == "Last 30 days"
    business.move_to_next_day()
    later = period_start(window)
    window.until(lambda _: period_start(window) > later)
    window.settle()
    assert read_query(window) == {}


def test_a_locked_warehouse_is_reported_and_pages_show_the_last_state(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    window.open(f"{address}/sales?period=all&in=EUR")
    before = window.driver.execute_script(NUMBERS)
    with psycopg.connect(business.installation.warehouse.reveal()) as connection:
        connection.execute("LOCK TABLE totes.batches IN ACCESS EXCLUSIVE MODE")
        window.driver.get(f"{address}/sales?period=all&in=EUR")
        window.wait_for(ALERT, "The warehouse is locked. The data below is that of batch")
        window.until(lambda driver: driver.execute_script(NUMBERS) == before)
    window.wait_for(BADGE, "Data as of ")
    window.until(lambda _: not window.all(ALERT))
    assert read_query(window) == {"period": ["all"], "in": ["EUR"]}


def test_a_stopped_warehouse_is_reported_and_pages_show_the_last_state(
    window: Browser, address: str, server: EmbeddedServer
) -> None:
    window.open(f"{address}/purchases?period=all&in=EUR")
    window.driver.execute_script(f"{MAIN}.scrollTo(0, 300)")
    before = window.driver.execute_script(NUMBERS)
    first = window.driver.current_window_handle
    server.stop()
    try:
        alert = window.wait_for(
            ALERT, "The warehouse can't be reached. The data below is that of batch"
        ).text
        assert "totes check" in alert
        assert window.driver.execute_script(NUMBERS) == before
        window.driver.switch_to.new_window("tab")
        window.driver.get(f"{address}/purchases?period=all&in=EUR")
        window.wait_for(ALERT, "The warehouse can't be reached. The data below is that of batch")
        window.until(lambda driver: driver.execute_script(NUMBERS) == before)
    finally:
        server.start()
    window.driver.close()
    window.driver.switch_to.window(first)
    window.wait_for(BADGE, "Data as of ")
    window.until(lambda _: not window.all(ALERT))
    assert read_query(window) == {"period": ["all"], "in": ["EUR"]}
    assert window.driver.execute_script(NUMBERS) == before
    assert window.driver.execute_script(f"return {MAIN}.scrollTop") > 0


def test_the_pipelines_cards_are_refreshed_with_the_badge(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    captured = "UPDATE totes.batches SET captured_at = captured_at {} interval '2 hours'"
    checked = "UPDATE totes.checks SET checked_at = now() - interval '{}'"
    business.installation.change_warehouse(captured.format("-"))
    business.installation.change_warehouse(checked.format("0 s"))
    try:
        window.driver.get(
            f"{address}/pipeline"
        )  # not open(): on a slow machine the page never settles
        window.wait_for(DELTA, "up to date")
        business.installation.change_warehouse(checked.format("1 hour"))  # the data stays the same
        window.wait_for_text("Out of date: totesys was last checked")
        window.wait_for(DELTA, "out of date")
    finally:
        business.installation.change_warehouse(captured.format("+"))
        business.installation.change_warehouse(checked.format("0 s"))


def test_the_time_machine_shows_the_past_and_returns_to_current_data(
    window: Browser, address: str, business: SampleBusiness
) -> None:
    [(begins,)] = business.installation.query("SELECT min(captured_at) FROM totes.batches")
    [(then,)] = business.installation.query(f"SELECT count(*) FROM sales_order_as_of('{begins}')")
    [(now,)] = business.installation.query("SELECT count(*) FROM current_sales_order")
    assert then != now
    moment = begins.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
    try:
        window.open(f"{address}/sales?period=all&as_of={moment}")
        window.wait_for_text("Data and exchange rates as of")
        assert f"{then:,}" in window.texts(METRIC)
        bar = window.wait_for(f"{CHART} .mark-rect path")
        assert bar.get_attribute("fill") == charts.accent(dark=True)
        window.click('[data-testid="stButton"] button', "Show current data")
        window.until(lambda _: f"{now:,}" in window.texts(METRIC))
    finally:
        window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert read_query(window) == {"period": ["all"]}


def test_pages_fit_the_width_of_a_phone(address: str, window: Browser) -> None:
    window.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        for page in sample(2, PAGES, "phone"):
            window.open(f"{address}/{page}?period=all")
            window.wait_for("h1", PAGES[page])
            wide, seen = window.driver.execute_script(
                f"const page = {MAIN}; return [page.scrollWidth, page.clientWidth]"
            )
            assert wide <= seen <= 390, page
            assert_cards_are_even(window)
    finally:
        window.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
