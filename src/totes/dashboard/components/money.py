"""Notes on exchange rates and unclassified payment types, for all pages with amounts."""

import streamlit as st

from totes.dashboard import text
from totes.dashboard.metrics import payments, pipeline
from totes.dashboard.navigation.view import View


def rates_note(page: View) -> None:
    """Show the reporting currency and its rates; not as Markdown, for a source may be any text."""
    with st.container(key="small-rates"):
        st.text(rates_text(page))


def unclassified_types_note(page: View) -> None:
    """Show payment types that totals exclude; not as Markdown, for a name may be any text."""
    payment_types = payments.unclassified_types(page.reading, page.criteria)
    if not payment_types.empty:
        types = (f"{text.plain(kind)} ({count:,})" for kind, count in payment_types.to_numpy())
        st.text(f"Unclassified payment types (excluded from totals): {', '.join(types)}.")


def rates_text(page: View) -> str:
    """Return the reporting currency, and the last day with published rates."""
    age = pipeline.rates_age(page.reading, page.criteria.as_of)
    amounts = f"Amounts in {page.currency}, converted at the exchange rate of each day."
    if age.newest is None:
        return f"{amounts} No rates are loaded: other currencies are not converted."
    source = f" ({text.plain(age.source)})" if age.source else ""
    return f"{amounts} Rates to {text.day(age.newest)}{source}; later days use the last rate."
