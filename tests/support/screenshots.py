"""`make screenshots`: write docs/pictures/dashboard-*.png.

They show the dashboard of a simulated business in Chromium, as of the day on which they are made.
"""

import time
from collections import deque
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import psycopg
from browser import Browser, browser

from totes.config.resources import Resources
from totes.config.settings import Settings
from totes.demo import simulator
from totes.demo.dashboard import dashboard
from totes.demo.run import fill_until
from totes.operations.verify import verify
from totes.stages.runner import run_once

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
WEEKS, EVENTS_A_BATCH = 4, 350
"""So many weeks before today are captured in batches: about 3,800 events in a dozen batches."""

CHANGES = (
    "UPDATE sales_order SET units_sold = units_sold + 500 WHERE sales_order_id = %s",
    "UPDATE sales_order SET unit_price = round(unit_price * 0.9, 2) WHERE sales_order_id = %s",
)
"""Changes of one order, each in a batch of its own, before it is deleted."""

DELETION = (
    """DELETE FROM payment USING transaction AS deal
    WHERE deal.transaction_id = payment.transaction_id AND deal.sales_order_id = %s""",
    "DELETE FROM transaction WHERE sales_order_id = %s",
    "DELETE FROM sales_order WHERE sales_order_id = %s",
)

REJECTED = """
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
"""Three new orders with a date in another format."""

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
WIDTH = 1280


def take_screenshot(window: Browser, name: str, address: str, height: int) -> None:
    window.driver.set_window_size(WIDTH, height)
    window.open(address)
    time.sleep(1)  # the animation of the bars
    window.driver.save_screenshot(str(PICTURES / f"dashboard-{name}.png"))


def take_all(window: Browser, address: str, changed: int, moment: str) -> None:
    take_screenshot(window, "overview", address, 1420)
    take_screenshot(window, "sales", f"{address}/sales?period=all", 1900)
    take_screenshot(window, "payments", f"{address}/payments?period=all", 1800)
    take_screenshot(window, "purchases", f"{address}/purchases?period=all", 1600)
    take_screenshot(window, "changes", f"{address}/changes", 1300)
    take_screenshot(window, "history", f"{address}/history?kind=sales_order&key={changed}", 1200)
    take_screenshot(window, "pipeline", f"{address}/pipeline", 1800)
    take_screenshot(window, "dictionary", f"{address}/dictionary", 1900)
    take_screenshot(window, "time-machine", f"{address}/?as_of={moment}", 1550)
    emulate = window.driver.execute_cdp_cmd
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    emulate("Emulation.setEmulatedMedia", {"features": dark})
    take_screenshot(window, "dark", f"{address}/sales?period=all", 1900)
    emulate("Emulation.setEmulatedMedia", {"features": []})
    emulate("Emulation.setDeviceMetricsOverride", PHONE)
    window.open(address)
    time.sleep(1)
    window.driver.save_screenshot(str(PICTURES / "dashboard-phone.png"))


def simulate(resources: Resources) -> None:
    """Simulate the demo's business until today, and run the pipeline about a dozen times."""
    today = simulator.wall_clock().date()
    deque(fill_until(resources.source_owner, today - timedelta(weeks=WEEKS)), maxlen=0)
    for number, _ in enumerate(fill_until(resources.source_owner, today)):
        if number % EVENTS_A_BATCH == 0:
            list(run_once(resources.pipeline))
    list(run_once(resources.pipeline))


def change(resources: Resources, *statements: str, key: int | None = None) -> None:
    """Execute statements in totesys, and run the pipeline."""
    with psycopg.connect(resources.source_owner.reveal()) as connection:
        for statement in statements:
            connection.execute(statement.encode(), None if key is None else [key])
    list(run_once(resources.pipeline))


def _answers(address: str) -> bool:
    try:
        urlopen(f"{address}/_stcore/health").close()  # noqa: S310  http
    except OSError:
        return False
    return True


def main() -> None:
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory()))
        resources = stack.enter_context(Resources(Settings(home=home)))
        simulate(resources)
        with psycopg.connect(resources.warehouse_reader.reveal()) as connection:
            [(changed,)] = connection.execute(
                "SELECT sales_order_id FROM fact_sales_order GROUP BY 1"
                " HAVING bool_or(valid_to IS NULL) ORDER BY count(*) DESC, 1 LIMIT 1"
            ).fetchall()
        for statement in CHANGES:
            change(resources, statement, key=changed)
        verify(resources.pipeline)
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        change(resources, *DELETION, key=changed)
        change(resources, REJECTED)
        address = stack.enter_context(dashboard(resources.settings, open_browser=False))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        window = stack.enter_context(browser(folder))
        while not _answers(address):
            time.sleep(1)
        take_all(window, address, changed, moment)


if __name__ == "__main__":
    main()
