"""Take docs/pictures/dashboard-*.png anew: the pages of a simulated business, in a real browser.

Needs Debian's chromium and chromium-driver, which nothing but the tests does; so it is no part of
`make docs`.
"""

import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import psycopg

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from browser import Browser, browser

from totes.config.resources import Places
from totes.config.settings import Settings
from totes.demo import simulator
from totes.demo.dashboard import dashboard
from totes.demo.run import MIX, SEED
from totes.operations.verify import verify
from totes.stages.runner import run_once

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
ORDERS = 4_000
"""About eight months of business."""

WEEKS = 34
"""Somewhat more than these take, in bulk; the simulator goes on from there until today."""

LATER_EVENTS, BATCHES = 4_000, 12
"""At most so many events, in so many batches or a few more."""

CHANGES = (
    "UPDATE sales_order SET units_sold = units_sold + 500 WHERE sales_order_id = %s",
    "UPDATE sales_order SET unit_price = round(unit_price * 0.9, 2) WHERE sales_order_id = %s",
)
"""What happens to one order, one capture after the other; then it is deleted."""

DELETION = (
    """DELETE FROM payment USING transaction AS deal
    WHERE deal.transaction_id = payment.transaction_id AND deal.sales_order_id = %s""",
    "DELETE FROM transaction WHERE sales_order_id = %s",
    "DELETE FROM sales_order WHERE sales_order_id = %s",
)

REFUSED = """
    INSERT INTO sales_order (
        created_at, last_updated, design_id, staff_id, counterparty_id, units_sold, unit_price,
        currency_id, agreed_delivery_date, agreed_payment_date, agreed_delivery_location_id
    )
    SELECT
        created_at, last_updated, design_id, staff_id, counterparty_id, units_sold, unit_price,
        currency_id, '2026/12/24', agreed_payment_date, agreed_delivery_location_id
    FROM sales_order
    ORDER BY created_at DESC
    LIMIT 3
"""
"""Three new orders, as a form writes them that spells dates another way."""

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
WIDTH = 1280


def take(window: Browser, name: str, address: str, height: int) -> None:
    window.driver.set_window_size(WIDTH, height)
    window.open(address)
    time.sleep(1)  # until the bars have grown
    window.driver.save_screenshot(str(PICTURES / f"dashboard-{name}.png"))


def pictures(window: Browser, address: str, changed: int, moment: str) -> None:
    take(window, "overview", address, 1420)
    take(window, "sales", f"{address}/sales?period=all", 1900)
    take(window, "payments", f"{address}/payments?period=all", 1800)
    take(window, "purchases", f"{address}/purchases?period=all", 1600)
    take(window, "history", f"{address}/history?kind=sales_order&key={changed}", 1200)
    take(window, "pipeline", f"{address}/pipeline", 1800)
    take(window, "dictionary", f"{address}/dictionary", 1900)
    take(window, "time-machine", f"{address}/?as_of={moment}", 1550)
    emulate = window.driver.execute_cdp_cmd
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    emulate("Emulation.setEmulatedMedia", {"features": dark})
    take(window, "dark", f"{address}/sales?period=all", 1900)
    emulate("Emulation.setEmulatedMedia", {"features": []})
    emulate("Emulation.setDeviceMetricsOverride", PHONE)
    window.open(address)
    time.sleep(1)
    window.driver.save_screenshot(str(PICTURES / "dashboard-phone.png"))


def live_until_now(places: Places) -> None:
    """The business goes on until today, looked at a dozen times on the way."""
    now = datetime.now(UTC).replace(tzinfo=None)
    with simulator.Simulator(places.business, seed=SEED, mix=MIX) as business:
        happening = business.run(rate=None)
        for number, event in zip(range(LATER_EVENTS), happening, strict=False):
            if event.at.replace(tzinfo=None) >= now:
                break
            if number % (LATER_EVENTS // BATCHES) == 0:
                list(run_once(places.pipeline))
    list(run_once(places.pipeline))


def happen(places: Places, *statements: str, key: int | None = None) -> None:
    """Something in totesys, and a batch of it."""
    with psycopg.connect(places.business.reveal()) as connection:
        for statement in statements:
            connection.execute(statement.encode(), None if key is None else [key])
    list(run_once(places.pipeline))


def _answers(address: str) -> bool:
    try:
        urlopen(f"{address}/_stcore/health").close()  # noqa: S310  http
    except OSError:
        return False
    return True


def main() -> None:
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory()))
        places = stack.enter_context(Places(Settings(home=home)))
        first_day = datetime.now(UTC).date() - timedelta(weeks=WEEKS)
        simulator.bulk(places.business, orders=ORDERS, seed=SEED, first_day=first_day, settled=True)
        list(run_once(places.pipeline))
        live_until_now(places)
        with psycopg.connect(places.analyst.reveal()) as connection:
            [(changed,)] = connection.execute(
                "SELECT sales_order_id FROM fact_sales_order GROUP BY 1"
                " HAVING bool_or(valid_to IS NULL) ORDER BY count(*) DESC, 1 LIMIT 1"
            ).fetchall()
        for change in CHANGES:
            happen(places, change, key=changed)
        verify(places.pipeline)
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        happen(places, *DELETION, key=changed)
        happen(places, REFUSED)
        address = stack.enter_context(dashboard(places.settings, look=False))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        window = stack.enter_context(browser(folder))
        while not _answers(address):
            time.sleep(1)
        pictures(window, address, changed, moment)


if __name__ == "__main__":
    main()
