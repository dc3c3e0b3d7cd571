"""A headless Chromium, driven by chromedriver."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup",  # pages that nobody sees
    "--lang=en-GB",
)

PATIENCE_SECONDS = 300
"""Timeout of a wait on a busy machine."""

_IS_BUSY = """
const app = document.querySelector('[data-testid="stApp"]');
return !app || app.getAttribute('data-test-script-state') !== 'notRunning'
    || document.querySelector('[data-testid="stSkeleton"]') !== null;
"""
_FIRST_WITH_TEXT = """
const [css, text] = arguments;
return [...document.querySelectorAll(css)].find(one => !text
    || one.checkVisibility({visibilityProperty: true}) && one.innerText?.includes(text));
"""
_TEXTS = """
return [...document.querySelectorAll(arguments[0])].map(one => one.innerText);
"""
_OTHER_HOSTS = """
return performance.getEntriesByType('resource').map(entry => entry.name)
    .filter(name => new URL(name).origin !== location.origin && !/^(blob|data):/.test(name));
"""


class Browser:
    """A browser window."""

    def __init__(self, driver: webdriver.Chrome, downloads: Path) -> None:
        self.driver = driver
        self._downloads = downloads
        self.other_hosts: set[str] = set()

    def open(self, address: str) -> None:
        self.driver.get(address)
        self.settle()

    def settle(self) -> None:
        """Wait until the page is drawn completely."""
        calm = 0

        def is_calm(driver: webdriver.Chrome) -> bool:
            nonlocal calm
            calm = 0 if driver.execute_script(_IS_BUSY) else calm + 1
            return calm > 3

        self.until(is_calm)
        self.other_hosts |= set(self.driver.execute_script(_OTHER_HOSTS))

    def until[T](self, what: Callable[[webdriver.Chrome], T]) -> T:
        ignored = [StaleElementReferenceException]
        return WebDriverWait(self.driver, PATIENCE_SECONDS, 0.1, ignored).until(what)

    def wait_for_text(self, text: str) -> None:
        """Wait for a text of the page."""
        self.until(lambda _: text in self.text)

    @property
    def text(self) -> str:
        """The page's text; that of a WebElement takes a second of the processor."""
        return str(self.driver.execute_script("return document.body.innerText"))

    def texts(self, css: str) -> list[str]:
        """The texts of elements, as quickly."""
        return list(self.driver.execute_script(_TEXTS, css))

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def wait_for(self, css: str, text: str = "") -> WebElement:
        """Wait for the first element with a text, and return it."""
        found = self.until(lambda driver: driver.execute_script(_FIRST_WITH_TEXT, css, text))
        assert isinstance(found, WebElement)
        return found

    def click(self, css: str, text: str = "") -> None:
        element = self.wait_for(css, text)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        ActionChains(self.driver).move_to_element(element).click().perform()
        self.settle()

    def download(self, css: str, text: str) -> Path:
        """Return the file that a click downloads."""
        before = set(self._downloads.iterdir())
        self.wait_for(css, text)
        self.click(css, text)

        def completed_file(_: Any) -> Path | None:
            new = set(self._downloads.iterdir()) - before
            return next((path for path in new if path.suffix not in {".crdownload", ".tmp"}), None)

        found = self.until(completed_file)
        assert found is not None
        return found

    def script_errors(self) -> list[str]:
        """Return the errors of scripts, without failed requests of Streamlit."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")  # type: ignore[no-untyped-call]
            if entry["level"] == "SEVERE" and "/_stcore/" not in entry["message"]
        ]


@contextmanager
def browser(folder: Path, *, width: int = 1400, height: int = 1000) -> Iterator[Browser]:
    """Open a window with profile and downloads in `folder`; skip the test without a browser."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and chromedriver):
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    downloads = folder / "downloads"
    downloads.mkdir()
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--window-size={width},{height}", f"--user-data-dir={folder / 'user'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    try:
        yield Browser(driver, downloads)
    finally:
        try:
            driver.quit()
        except WebDriverException:
            driver.service.stop()
