"""The main script: Streamlit runs it for every look at a page.

It reads the filter from the URL, opens one snapshot of the warehouse, and has the page drawn from
both. Whatever keeps the warehouse from answering is said here, in words, with what to do.
"""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from totes.dashboard import metrics, narrow, text
from totes.dashboard.badge import LOG, TOLD, Trouble, badge, trouble, until_back
from totes.dashboard.controls import controls, navigation
from totes.dashboard.filters import Choices, Filter
from totes.dashboard.metrics import pipeline
from totes.dashboard.reading import Reading, open_reading
from totes.dashboard.served import served
from totes.dashboard.view import FILTERS, PAGES, Query, View, arrived, asked, go, showing
from totes.errors import TotesError

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
[class*="st-key-small-"] [data-testid="stText"] { font-size: 0.875rem; opacity: 0.85; }
[class*="st-key-cards-"] { display: grid; gap: 1rem; }
[class*="st-key-cards-"] > div { width: auto; min-width: 0; }
[class*="st-key-cards-2-"] { grid-template-columns: repeat(2, 1fr); }
[class*="st-key-cards-3-"] { grid-template-columns: repeat(3, 1fr); }
[class*="st-key-cards-4-"] { grid-template-columns: repeat(4, 1fr); }
[data-stale="true"] { opacity: 1 !important; transition: none !important; }
[data-testid="stMetricLabel"] p, [data-testid="stMetricDelta"] *,
[data-testid="stMetricValue"] * {
  white-space: normal !important; overflow: visible;
}
[data-testid="stMetricDelta"] { height: auto; max-width: 100%; }
.block-container { padding-top: 4rem; }
[class*="st-key-map-"] { aspect-ratio: 2; min-height: 0; }
[class*="st-key-wide-"]::after {
  content: "Swipe the table for its other columns"; display: none;
  font-size: 0.875rem; opacity: 0.85;
}
@media (max-width: 640px) {
  [class*="st-key-cards-"] { grid-template-columns: repeat(2, 1fr); }
  [class*="st-key-cards-"] > div:last-child:nth-child(odd) { grid-column: 1 / -1; }
  [class*="st-key-wide-"]::after { display: block; }
  h1 { font-size: 2rem !important; }
  h3 { font-size: 1.25rem !important; }
}
</style>
"""

FIRST = "overview"

# Pages that no period or choice narrows.
WHOLE_BUSINESS = {"history", "pipeline", "dictionary"}


def main() -> None:
    """Run the page that the address names; Streamlit calls it for each interaction."""
    pages = [
        st.Page(
            f"{name}.py",
            title=title,
            url_path="" if name == FIRST else name,
            default=name == FIRST,
        )
        for name, title in PAGES.items()
    ]
    by_name = st.Page(_go_to_first, title=PAGES[FIRST], url_path=FIRST)  # its place is the root
    page = st.navigation([*pages, by_name], position="hidden")
    st.set_page_config(
        page_title=f"{page.title} · Terrific Totes", page_icon=str(ICON), layout="wide"
    )
    st.html(STYLE)
    if page.url_path == FIRST:
        page.run()
    query = arrived()
    above = st.container()  # for what is only known when the page has been drawn
    st.session_state[TOLD] = False
    beside = False
    try:
        with open_reading(served().warehouse) as reading:
            data_to = pipeline.freshness(reading).data_to
            if data_to is None:
                _empty()
                return
            shown, notices = _arrange(page, reading, query, data_to)
            beside = True
            _draw(page, shown, notices)
    except TotesError as error:
        LOG.warning("a page: %s", error)
        if beside:
            _broken_off(trouble(error), above)
            return
        with st.sidebar:
            navigation({name: value for name, value in query.items() if name in FILTERS})
        _unreachable(trouble(error))


def _go_to_first() -> None:
    st.switch_page(f"{FIRST}.py", query_params=asked())


def _arrange(
    page: st.Page, reading: Reading, query: Query, data_to: datetime
) -> tuple[View, tuple[str, ...]]:
    """What is to be shown, and what of the URL was left out; links and filters stand beside it."""
    choices = metrics.choices(reading)
    chosen, notices = Filter.from_query(query, choices)
    if chosen.as_of is not None:
        choices = metrics.choices(reading, chosen.as_of)  # its last 30 days end then
        chosen, notices = Filter.from_query(query, choices)
    with st.sidebar:
        navigation(chosen.to_query())
        if _name(page) not in WHOLE_BUSINESS:
            st.divider()
            controls(chosen, choices)
    dark = st.context.theme.type == "dark"
    return View(reading, chosen, choices, data_to, dark), notices


def _draw(page: st.Page, shown: View, notices: tuple[str, ...]) -> None:
    chosen, name = shown.chosen, _name(page)
    badge(shown.data_to, past=chosen.as_of is not None)
    for notice in notices:
        st.text(notice)
    if chosen.as_of is not None and not _as_of(chosen, shown.choices, page, name):
        return
    if name not in WHOLE_BUSINESS:
        narrow.told(shown)
    with showing(shown):
        page.run()


def _name(page: st.Page) -> str:
    return page.url_path or FIRST


def _as_of(chosen: Filter, choices: Choices, page: st.Page, name: str) -> bool:
    """That this is the past, and where the past ends; whether there is something to show."""
    begins = choices.history_begins
    begun = begins is None or (chosen.as_of is not None and chosen.as_of >= begins)
    moment = text.moment(chosen.as_of)
    if name in WHOLE_BUSINESS:
        st.info(
            f"{page.title} is of now: the time machine, set to {moment}, does not reach it.",
            icon=":material/update:",
        )
    elif begun:
        st.info(
            f"As it stood at {moment}, without what was seen later, at the rates known then. "
            "Names of customers, designs and staff are those of today. "
            f"History begins at {text.moment(begins)}, with the first capture.",
            icon=":material/history:",
        )
    else:
        st.title(page.title)
        st.warning(
            f"History begins at {text.moment(begins)}, with the first capture. What was before "
            "that, nobody recorded: there is nothing to show.",
            icon=":material/history:",
        )
    st.button(
        "Back to now", icon=":material/update:", on_click=go, args=[replace(chosen, as_of=None)]
    )
    return begun or name in WHOLE_BUSINESS


def _empty() -> None:
    st.title("No data yet")
    st.markdown(
        "The warehouse is there, but nothing has been loaded into it. `totes run --once` brings "
        "it up to totesys; `totes check` says what is missing for that."
    )
    until_back()


NOTHING_LOST = "Nothing is lost: the pipeline makes up for it by itself once the warehouse is back."


def _unreachable(found: Trouble) -> None:
    st.title(found.title)
    st.markdown(found.what)
    st.markdown(NOTHING_LOST)
    until_back()


def _broken_off(found: Trouble, above: DeltaGenerator) -> None:
    """What has been drawn is true, and stays; that it isn't all stands above it and at its end."""
    st.session_state[TOLD] = True
    with above:
        st.error(
            f"**{found.title}.** The page below ends where it was read to; what it shows is true. "
            f"{found.what} {NOTHING_LOST}"
        )
        until_back()
    st.error(f"Here the page breaks off. {found.title}.")


main()
