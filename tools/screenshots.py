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

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from browser import Browser, browser
from totes.demo import simulator
from totes.pipeline import run_once
from totes.places import Places
from totes.settings import Settings
from totes.show.pages import dashboard
from totes.show.run import MIX, SEED
from totes.verify import verify

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
ORDERS = 4_000
"""About eight months of business."""

WEEKS = 34
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
WIDTH = 1280


def take(window: Browser, name: str, address: str, height: int) -> None:
    window.driver.set_window_size(WIDTH, height)
    window.open(address)
    time.sleep(1)  # until the bars have grown
    window.driver.save_screenshot(str(PICTURES / f"dashboard-{name}.png"))


def pictures(window: Browser, address: str, changed: int) -> None:
    take(window, "overview", address, 1180)
    take(window, "sales", f"{address}/sales?period=all", 1500)
    take(window, "payments", f"{address}/payments?period=all", 1400)
    take(window, "purchases", f"{address}/purchases?period=all", 1400)
    take(window, "history", f"{address}/history?kind=sales_order&key={changed}", 1100)
    take(window, "pipeline", f"{address}/pipeline", 1100)
    take(window, "dictionary", f"{address}/dictionary", 1300)
    emulate = window.driver.execute_cdp_cmd
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    emulate("Emulation.setEmulatedMedia", {"features": dark})
    take(window, "dark", f"{address}/sales?period=all", 1500)
    emulate("Emulation.setEmulatedMedia", {"features": []})
    emulate("Emulation.setDeviceMetricsOverride", PHONE)
    window.open(address)
    time.sleep(1)
    window.driver.save_screenshot(str(PICTURES / "dashboard-phone.png"))


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
        simulator.bulk(places.business, orders=ORDERS, seed=SEED, first_day=first_day)
        list(run_once(places.pipeline))
        with simulator.Simulator(places.business, seed=SEED, mix=MIX) as business:
            happening = business.run(rate=None)
            for _ in range(12):
                for _event in zip(range(30), happening, strict=False):
                    pass
                list(run_once(places.pipeline))
        verify(places.pipeline)
        with psycopg.connect(places.analyst.reveal()) as connection:
            [(changed,)] = connection.execute(
                "SELECT sales_order_id FROM fact_sales_order GROUP BY 1"
                " ORDER BY count(*) DESC, 1 LIMIT 1"
            ).fetchall()
        address = stack.enter_context(dashboard(places.settings, look=False))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        window = stack.enter_context(browser(folder))
        while not _answers(address):
            time.sleep(1)
        pictures(window, address, changed)


if __name__ == "__main__":
    main()
