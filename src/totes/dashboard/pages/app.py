"""The main script: Streamlit runs it for every look at a page.

It reads the filter from the URL, opens one snapshot of the warehouse, and has the page drawn from
both. Whatever keeps the warehouse from answering is said here, in words, with what to do.
"""

from dataclasses import replace
from pathlib import Path

import streamlit as st

from totes.dashboard import metrics, text
from totes.dashboard.badge import badge, until_back
from totes.dashboard.controls import controls, navigation
from totes.dashboard.filters import Choices, Filter
from totes.dashboard.metrics import pipeline
from totes.dashboard.reading import Reading, open_reading
from totes.dashboard.served import served
from totes.dashboard.view import PAGES, View, arrived, go, showing
from totes.errors import TotesError, WarehouseAway

ICON = Path(__file__).parent.with_name("bag.svg")

STYLE = """
<style>
[data-testid="stMetricValue"], [data-testid="stMetricDelta"], [data-testid="stText"] {
  font-variant-numeric: tabular-nums;
}
[data-testid="stMetricValue"] { font-size: 1.5rem; }
[data-testid="stText"] { white-space: pre-wrap; overflow-wrap: anywhere; }
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] code {
  color: inherit; opacity: 0.85;
}
[class*="st-key-cards-"] > div { flex: 1 1 10rem; min-width: 9rem; width: auto; }
.block-container { padding-top: 4rem; }
</style>
"""

# Pages that no period or choice narrows.
WHOLE_BUSINESS = {"history", "pipeline", "dictionary"}


def main() -> None:
    pages = [
        st.Page(
            f"{name}.py",
            title=title,
            url_path="" if name == "overview" else name,
            default=name == "overview",
        )
        for name, title in PAGES.items()
    ]
    page = st.navigation(pages, position="hidden")
    st.set_page_config(
        page_title=f"{page.title} · Terrific Totes", page_icon=str(ICON), layout="wide"
    )
    st.html(STYLE)
    try:
        with open_reading(served().warehouse) as reading:
            _draw(page, reading)
    except TotesError as error:
        _unreachable(error)


def _draw(page: st.Page, reading: Reading) -> None:
    fresh = pipeline.freshness(reading)
    if fresh.data_to is None:
        _empty()
        return
    query = arrived()
    choices = metrics.choices(reading)
    chosen, notices = Filter.from_query(query, choices)
    if chosen.as_of is not None:
        choices = metrics.choices(reading, chosen.as_of)  # its last 30 days end then
        chosen, notices = Filter.from_query(query, choices)
    name = page.url_path or "overview"
    with st.sidebar:
        navigation(chosen)
        if name not in WHOLE_BUSINESS:
            st.divider()
            controls(chosen, choices)
    badge(fresh.data_to, past=chosen.as_of is not None)
    for notice in notices:
        st.text(notice)
    if name not in WHOLE_BUSINESS:
        _as_of(chosen, choices)
    dark = st.context.theme.type == "dark"
    with showing(View(reading, chosen, choices, fresh.data_to, dark)):
        page.run()


def _as_of(chosen: Filter, choices: Choices) -> None:
    """That this is the past, and where the past ends."""
    if chosen.as_of is None:
        return
    begins = choices.history_begins
    if begins is not None and chosen.as_of < begins:
        st.warning(
            f"History begins at {text.moment(begins)}, with the first capture. What was before "
            "that, nobody recorded: there is nothing to show.",
            icon=":material/history:",
        )
    else:
        st.info(
            f"As it stood at {text.moment(chosen.as_of)}, without what was seen later. "
            f"History begins at {text.moment(begins)}, with the first capture.",
            icon=":material/history:",
        )
    st.button(
        "Back to now", icon=":material/update:", on_click=go, args=[replace(chosen, as_of=None)]
    )


def _empty() -> None:
    st.title("No data yet")
    st.markdown(
        "The warehouse is there, but nothing has been loaded into it. `totes run --once` brings "
        "it up to totesys; `totes check` says what is missing for that."
    )
    until_back()


def _unreachable(error: TotesError) -> None:
    away = isinstance(error, WarehouseAway)
    st.title("The warehouse can't be reached" if away else "The warehouse can't be read")
    st.text(text.plain(error))
    st.markdown(
        "Nothing is lost: the pipeline makes up for it by itself once the warehouse is back. "
        "`totes check` says what is wrong; `TOTES_DASHBOARD_DSN` names the warehouse that these "
        "pages read."
    )
    until_back()


main()
