"""Pages on paper: a PDF of Chromium has all numbers as text, and nothing is cut off."""

from base64 import b64decode
from io import BytesIO

import pytest
from browser import Browser
from dashboard_window import NUMBERS, wait_for_charts
from pypdf import PdfReader

PAPER_PIXELS = 1047
"""The width of A4 landscape without its margins of 10 mm."""

_CUT_OFF = """
return [...document.querySelectorAll('[data-testid="stMain"] *')]
    .filter(one => one.getClientRects().length && !one.closest('svg'))
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
    .map(one => one.textContent);
"""

_BREAKS = """
return [...document.querySelectorAll('[class*="st-key-report-"]')]
    .map(one => getComputedStyle(one).breakInside);
"""
"""Tables side by side that continue on the next sheet would overlap what follows."""


pytestmark = pytest.mark.few(2)


def print_page(window: Browser) -> PdfReader:
    printed = window.driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    return PdfReader(BytesIO(b64decode(printed["data"])))


def test_the_report_is_complete_on_paper(window: Browser, address: str) -> None:
    window.open(f"{address}/report?period=all")
    window.wait_for("h2", "Payables today")
    wait_for_charts(window, 1)
    shown = window.driver.execute_script(NUMBERS)
    cells = window.texts(".totes-table td")
    pdf = print_page(window)
    words = " ".join(" ".join(page.extract_text() for page in pdf.pages).split())
    assert len(pdf.pages) <= 4
    assert len(cells) > 50
    assert len(shown) == 7
    missing = [one for one in (*shown.values(), *cells) if " ".join(one.split()) not in words]
    assert not missing
    assert "Time machine" not in words  # the sidebar
    assert "Print or save" not in words


@pytest.mark.few(1)
@pytest.mark.parametrize("page", ["overview", "sales", "report"])
def test_nothing_is_wider_than_the_paper(window: Browser, address: str, page: str) -> None:
    size = {"width": PAPER_PIXELS, "height": 700, "deviceScaleFactor": 1, "mobile": False}
    command = window.driver.execute_cdp_cmd
    command("Emulation.setDeviceMetricsOverride", size)
    command("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        window.open(f"{address}/{page}?period=all")
        wait_for_charts(window, 1)
        assert window.driver.execute_script(_CUT_OFF) == []
        assert {*window.driver.execute_script(_BREAKS)} <= {"avoid"}
    finally:
        command("Emulation.setEmulatedMedia", {"media": ""})
        command("Emulation.clearDeviceMetricsOverride", {})


def test_the_button_opens_the_print_dialog(window: Browser, address: str) -> None:
    window.open(f"{address}/report?period=all")
    window.driver.execute_script("window.print = () => { window.dialogs = 1; }")
    window.click("button.print-page", "Print or save as PDF")
    assert window.driver.execute_script("return window.dialogs") == 1
