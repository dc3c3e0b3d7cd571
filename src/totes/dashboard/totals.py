"""A total as a big number: how it changed, what is missing from it."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from totes.dashboard import text
from totes.dashboard.metrics import Total, Waiting

type Arrow = Literal["up", "down", "off"]

CARDS = "cards"
"""The key of a row of cards begins so: app.py's style lets them share its width."""

WORDS = {"up": "up", "down": "down", "same": "the same"}


def cards(key: str, *, across: int = 3) -> DeltaGenerator:
    """Numbers side by side, all of one width: so many in a line (2 to 4), on a phone two."""
    return st.container(horizontal=True, key=f"{CARDS}-{across}-{key}")


OWED_BEFORE_UNKNOWN = (
    "What was owed when the period began can't be told: history has no such moment, or some of it "
    "had no rate."
)


def total(  # noqa: PLR0913  what a card is made of
    what: Total,
    label: str,
    currency: str,
    *,
    spark: Sequence[Decimal | None] = (),
    better: str = "up",
    note: str = "",
) -> None:
    """The number, the exact one in its help, and below it what waits or could not be converted.

    `better` says which way is good news, "up", "down" or neither: ""; a `note` stands below.
    """
    delta, arrow = change(what)
    with st.container(border=True, height="stretch", gap="xsmall"):  # the words are in the card
        st.metric(
            label,
            text.money(what.value, currency),
            delta,
            delta_arrow=arrow,
            delta_color=_colour(arrow, better),
            help=None
            if what.value is None
            else text.own(f"Exactly {text.money(what.value, currency, exact=True)}"),
            chart_data=_line(spark),
            chart_type="area",
        )
        if note:
            st.caption(note)
        for missing in left_out(what, currency):
            st.caption(text.own(f":material/hourglass_top: {missing}"))


def number(label: str, value: str, now: int | Decimal | None, before: int | Decimal | None) -> None:
    """A number that is no sum of money, with its change."""
    delta: str | None = None
    arrow: Arrow = "off"
    if now is not None and before:
        share = Decimal(now) / Decimal(before) - 1
        arrow = "up" if share > 0 else "down" if share < 0 else "off"
        delta = _words(share)
    st.metric(
        label,
        value,
        delta,
        delta_arrow=arrow,
        delta_color=_colour(arrow, "up"),
        border=True,
        height="stretch",
    )


def change(what: Total) -> tuple[str | None, Arrow]:
    """How a total has changed in words, and the arrow for it."""
    if what.change is None:
        if what.before is None or what.value is None:
            return None, "off"
        return (
            "the same"
            if what.before == what.value
            else f"{WORDS.get(what.direction, '')} from none",
            _arrow(what),
        )
    return _words(what.change), _arrow(what)


def left_out(what: Total, currency: str) -> list[str]:
    """What the number does not contain, or has as it was before, in words."""
    told = []
    if what.unconverted:
        told.append(f"{text.count(what.unconverted, 'row')} not converted: there is no rate")
    if what.waiting.rows:
        worth = f", worth {text.money(what.waiting.value, currency)}"
        if what.waiting.unvalued:
            known = what.waiting.unvalued < what.waiting.rows
            worth = f"{worth} and more" if known else ", of unknown worth"
        told.append(f"Missing: {text.count(what.waiting.rows, 'row')} in quarantine{worth}")
    if what.waiting.unsure:
        told.append(f"{text.count(what.waiting.unsure, 'row')} in quarantine may belong here")
    if what.waiting.outdated:
        told.append(
            f"{text.count(what.waiting.outdated, 'row')} counted in an older version: with the "
            f"newer in quarantine it would be {_differing(what.waiting, currency)}"
        )
    return told


def _differing(waiting: Waiting, currency: str) -> str:
    """By how much a total would differ, as far as that can be told."""
    if waiting.undetermined == waiting.outdated:
        return "another, nobody can say by how much"
    told = "the same"
    if waiting.difference:
        way = "more" if waiting.difference > 0 else "less"
        told = f"{text.money(abs(waiting.difference), currency)} {way}"
    if waiting.undetermined:
        told = f"{told}, and for {waiting.undetermined:,} of them nobody can say by how much"
    return told


def _line(spark: Sequence[Decimal | None]) -> list[float] | None:
    """What a sparkline is drawn of; none of values that aren't known."""
    known = [float(value) for value in spark if value is not None]
    return known if len(known) == len(spark) > 1 else None


def _words(share: Decimal) -> str:
    if share == 0:
        return "the same"
    return f"{'up' if share > 0 else 'down'} {text.percent(abs(share))}"


def _arrow(what: Total) -> Arrow:
    return what.direction if what.direction in ("up", "down") else "off"


def _colour(arrow: Arrow, better: str) -> Literal["off", "green", "red"]:
    if not better or arrow == "off":
        return "off"
    return "green" if arrow == better else "red"
