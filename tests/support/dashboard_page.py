"""A page of the dashboard without a browser, and what it shows."""

from collections.abc import Iterable
from decimal import Decimal
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pandas as pd
from streamlit import config
from streamlit.components.v2 import manifest_scanner
from streamlit.runtime.scriptrunner.script_cache import ScriptCache
from streamlit.testing.v1 import AppTest, local_script_runner

from totes.dashboard.components import badge
from totes.dashboard.server.backends import Backends, set_backends
from totes.dashboard.server.web_server import APP, OPTIONS

SECONDS = 300
"""Timeout of a page on a busy machine."""

badge.WAIT_SECONDS = SECONDS
"""A page waits for the present state: on a busy machine a refresh takes longer than 2 s."""

for option in ("browser.gatherUsageStats", "runner.magicEnabled"):
    config.set_option(option, OPTIONS[option])
"""As `totes dashboard` sets them; telemetry would read the metadata of all packages in each run."""

_SCAN = "scan_component_manifests"
vars(manifest_scanner)[_SCAN] = cache(vars(manifest_scanner)[_SCAN])
vars(local_script_runner)["ScriptCache"] = cache(ScriptCache)
"""A server reads the metadata of all packages once, and compiles each page once; AppTest would do
so whenever it draws a page."""

MARKDOWN_ELEMENTS = (
    "markdown",
    "caption",
    "info",
    "warning",
    "error",
    "title",
    "header",
    "metric",
)
"""Kinds of elements that show Markdown."""


def open_page(backends: Backends, page: str = "overview", **query: str | list[str]) -> AppTest:
    """Return a page as the server draws it for a URL."""
    set_backends(backends)
    looked = AppTest.from_file(str(APP), default_timeout=SECONDS)
    for name, value in query.items():
        looked.query_params[name] = value
    if page != "overview":
        looked.switch_page(f"{page}.py")
    return looked.run()


def words(looked: AppTest) -> str:
    """Return the texts of a page outside of tables and charts."""
    said = [element.value for element in looked.text]
    for kind in MARKDOWN_ELEMENTS:
        for element in looked.get(kind):
            said += [getattr(element, name, "") or "" for name in ("value", "label", "delta")]
    return "\n".join(map(str, said))


def tables_of(looked: Any) -> list[pd.DataFrame]:
    """The tables of a page or of a part of it, the large ones first, by the columns' names."""
    small = [_Table(element.value) for element in looked.get("html")]
    return [
        *(element.value for element in looked.dataframe),
        *(table.frame for table in small if table.columns),
    ]


class _Table(HTMLParser):
    """A small table, which is HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.columns: list[str] = []
        self._rows: list[list[tuple[str, str]]] = []
        """The class and the text of each cell."""
        self._in_cell = False
        self.feed(html)

    @property
    def frame(self) -> pd.DataFrame:
        rows = [[_value(*cell) for cell in row] for row in self._rows if row]
        return pd.DataFrame(rows, columns=self.columns, dtype=object)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_cell = tag == "td"
        if name := dict(attrs).get("data-column"):
            self.columns.append(name)
        if tag == "tr":
            self._rows.append([])
        if tag == "td":
            self._rows[-1].append((dict(attrs)["class"] or "", ""))

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            kind, text = self._rows[-1][-1]
            self._rows[-1][-1] = (kind, text + data)


def _value(kind: str, cell: str) -> object:
    if cell == "-":
        return None
    if kind != "number":
        return cell
    plain = cell.replace(",", "")
    return Decimal(plain) if "." in plain else int(plain)


def metric(looked: AppTest, label: str) -> Any:
    return labelled(looked.metric, label)


def labelled(elements: Iterable[Any], label: str) -> Any:
    return next(element for element in elements if element.label == label)
