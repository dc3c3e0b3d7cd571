"""Whether what the other pages show can be trusted: batches, lag, quarantine, changes of shape."""

import pandas as pd
import streamlit as st

from totes.dashboard import charts, tables, text, totals
from totes.dashboard.badge import DEADLINE_SECONDS, EVERY
from totes.dashboard.metrics import pipeline
from totes.dashboard.reading import open_reading
from totes.dashboard.served import served
from totes.dashboard.view import View, view
from totes.errors import TotesError
from totes.lake.log import newest, read_manifest
from totes.lake.manifest import manifest_path
from totes.operations.status import schema_changes

MOST_REFUSED = 500


def show(page: View) -> None:
    """Draw freshness, delays, quarantine, schema changes and deleted dimension rows."""
    st.title("Pipeline")
    _trust()
    st.subheader("How long changes take")
    batches = pipeline.batches(page.reading, limit=200)
    drawn = charts.lag(batches, DEADLINE_SECONDS, dark=page.dark)
    st.altair_chart(drawn.drawn, alt=drawn.says, key="pipeline-lag")
    st.caption(
        "Seconds from the look at totesys until the batch was in the warehouse. The first batch "
        "brings everything, and one after a pause brings all of the pause."
    )
    with st.expander("Batches as a table"):
        tables.table(
            batches,
            {
                "batch": "Batch number",
                "captured_at": "Captured",
                "loaded_at": "Loaded",
                "rows": "Rows",
                "lag_seconds": "Lag, s",
            },
            key="pipeline-batches",
            file_name="totes-batches",
            alt=drawn.says,
        )
    _quarantine(page)
    _schema()
    _deleted(page)


@st.fragment(run_every=EVERY)
def _trust() -> None:
    """The answer in words, and the numbers behind it: as old as those of the badge."""
    try:
        with open_reading(served().warehouse) as reading:
            fresh = pipeline.freshness(reading)
            waiting = pipeline.quarantine(reading)
            rates = pipeline.rates_age(reading)
    except TotesError:
        st.text("How fresh it is can't be told before the warehouse answers.")  # the badge says why
        return
    refused = int(waiting["rows"].sum()) if len(waiting) else 0
    lag = fresh.lag_seconds
    with totals.cards("pipeline"):
        for label, value, told in (
            ("Data to", text.clock(fresh.data_to, fresh.now) if fresh.data_to else "none", None),
            (
                "Last checked",
                "never" if lag is None else text.ago(lag),
                "within the deadline" if lag is not None and lag <= DEADLINE_SECONDS else "late",
            ),
            (
                "Last verified",
                text.clock(fresh.verified_at, fresh.now) if fresh.verified_at else "never",
                None
                if fresh.verified_at is None
                else "equal to totesys"
                if fresh.verified_equal
                else "differs from totesys",
            ),
            (
                "Rates to",
                text.day(rates.newest) if rates.newest else "none",
                None,
            ),
            (
                "In quarantine",
                text.count(refused, "row"),
                "none is missing" if not refused else None,
            ),
        ):
            st.metric(
                label,
                value,
                told,
                delta_arrow="off",
                delta_color="off",
                border=True,
                height="stretch",
            )
    if rates.newest:
        told = f"Exchange rates to {text.day(rates.newest)} ({text.plain(rates.source)})"
        if rates.through and rates.through > rates.newest:
            told = f"{told}; later days, to {text.day(rates.through)}, carry the last one on"
        with st.container(key="small-rates"):
            st.text(f"{told}.")
    if fresh.verified_at is not None and not fresh.verified_equal:
        st.error("The last `totes verify` found differences: run it again, it names each.")
    elif fresh.verified_at is None:
        st.caption("`totes verify` compares warehouse and totesys row by row. It has not run yet.")


def _quarantine(page: View) -> None:
    st.subheader("Quarantine")
    found = pipeline.quarantine(page.reading)
    tables.table(
        found,
        {
            "star_table": "Table",
            "column_name": "Column",
            "reason": "Reason",
            "rows": "Rows",
            "since": "Since",
        },
        key="pipeline-quarantine",
        file_name="totes-quarantine",
        alt="Rows that were refused, by table, column and reason.",
        empty="Quarantine is empty: no row was refused.",
    )
    if found.empty:
        return
    with st.expander("The rows themselves"):
        tables.table(
            pipeline.quarantine_rows(page.reading, MOST_REFUSED),
            {
                "batch": "Batch number",
                "star_table": "Table",
                "key": "Key",
                "column_name": "Column",
                "value": "Value",
                "reason": "Reason",
                "valid_from": "Seen",
            },
            key="pipeline-refused",
            file_name="totes-quarantine-rows",
            alt="Each refused row with the value that was refused.",
        )
    st.caption(
        "Once totesys or the model is mended they arrive by themselves, or by "
        "`totes quarantine release`."
    )


def _schema() -> None:
    st.subheader("Changes of totesys' tables")
    store = served().ingestion
    if store is None:
        st.text("The lake is not known here.")
        return
    try:
        last = newest(store, manifest_path)
        found = list(schema_changes(lambda batch: read_manifest(store, batch)[0], last))
    except TotesError as error:
        st.text(f"The lake can't be read: {text.plain(error)}")
        return
    frame = pd.DataFrame(
        [
            {"batch": one.batch, "at": one.captured_at, "table": one.table, "what": one.what}
            for one in found
        ]
    )
    tables.table(
        frame,
        {"batch": "Batch number", "at": "Seen", "table": "Table", "what": "What"},
        key="pipeline-schema",
        file_name="totes-schema-changes",
        alt="Changes of the source's tables, the newest first.",
        empty="No table has changed its shape since the first capture.",
    )


def _deleted(page: View) -> None:
    st.subheader("Deleted in totesys, kept here")
    tables.table(
        pipeline.deleted_dimension_rows(page.reading),
        {
            "table_name": "Table",
            "key": "Key",
            "deleted_at": "Seen deleted",
            "batch": "Batch number",
        },
        key="pipeline-deleted",
        file_name="totes-deleted-dimension-rows",
        alt="Rows of dimensions that totesys no longer has.",
        empty="No row of a dimension was deleted.",
    )


show(view())
