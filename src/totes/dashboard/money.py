"""What every page of sums says about the rates behind them."""

import streamlit as st

from totes.dashboard import text
from totes.dashboard.metrics import payments, pipeline
from totes.dashboard.view import View


def rates_note(page: View) -> None:
    """As text: where the rates were read is anybody's word."""
    with st.container(key="small-rates"):
        st.text(rates_told(page))


def other_kinds_note(page: View) -> None:
    """Where there are payments that are in no sum. As text: a kind's name is anybody's."""
    found = payments.of_other_kinds(page.reading, page.chosen)
    if not found.empty:
        told = (f"{text.plain(kind)} ({count:,})" for kind, count in found.to_numpy())
        st.text(
            "Nobody has said which way payments of these kinds go. They are in no sum: "
            f"{', '.join(told)}."
        )


def rates_told(page: View) -> str:
    """Up to which day there are rates, and what is done about later days."""
    age = pipeline.rates_age(page.reading, page.chosen.as_of)
    sums = f"All sums in {page.currency}, each at the rate of its own day."
    if age.newest is None:
        return f"{sums} There are no rates: what is in another currency is not converted."
    told = f"{sums} Rates to {text.day(age.newest)}"
    if age.source:
        told = f"{told} ({text.plain(age.source)})"
    return f"{told}; later days carry the last one on."
