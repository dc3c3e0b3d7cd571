"""The state of the pipeline: freshness, lag, quarantine, and schema changes of the source."""

import pandas as pd
import streamlit as st

from totes.dashboard import charts, text
from totes.dashboard.bookkeeping import open_bookkeeping
from totes.dashboard.components import tables, totals
from totes.dashboard.components.badge import DEADLINE_SECONDS, EVERY
from totes.dashboard.metrics import pipeline
from totes.dashboard.navigation.view import View, view
from totes.dashboard.reading import open_reading
from totes.dashboard.server.backends import backends
from totes.errors import TotesError
from totes.lake.manifest import manifest_path
from totes.lake.manifests import find_newest_number, read_manifest
from totes.operations.status import find_schema_changes

REJECTED_ROWS_LIMIT = 500


def show(page: View) -> None:
    """Draw freshness, lag, quarantine, schema changes and deleted dimension rows."""
    st.title("Pipeline")
    _state()
    st.header("Time from capture to load")
    with open_bookkeeping(backends().warehouse) as bookkeeping:
        batches = pipeline.batches(bookkeeping, limit=200)
        gaps = pipeline.gaps(bookkeeping)
        deleted = pipeline.deleted_dimension_rows(bookkeeping)
    chart = charts.lag(batches, DEADLINE_SECONDS, dark=page.dark)
    charts.show(chart, key="pipeline-lag")
    st.caption(
        "Seconds on a logarithmic axis. The first batch contains all rows; a batch after a pause "
        "contains all changes since."
    )
    with st.expander("Batches as a table"):
        tables.table(
            batches,
            {
                "batch": "Batch number",
                "captured_at": "Captured at",
                "loaded_at": "Loaded at",
                "rows": "Rows",
                "lag_seconds": "Lag, s",
            },
            key="pipeline-batches",
            file_name="totes-batches",
            alt=chart.alt_text,
        )
    _gaps(gaps)
    _quarantine(page)
    _schema_changes()
    _deleted(deleted)


@st.fragment(run_every=EVERY)
def _state() -> None:
    """Show the state of the pipeline, and read it again as often as the badge does."""
    try:
        with (
            open_bookkeeping(backends().warehouse) as bookkeeping,
            open_reading(backends().replica) as reading,
        ):
            fresh = pipeline.freshness(bookkeeping)
            quarantine = pipeline.quarantine(reading)
            rates = pipeline.rates_age(reading)
    except TotesError:
        st.text("Unknown until the warehouse answers.")  # the badge shows the reason
        return
    rejected = int(quarantine["rows"].sum()) if len(quarantine) else 0
    lag, verified = fresh.lag_seconds, fresh.verified
    on_time = lag is not None and lag <= DEADLINE_SECONDS
    with totals.cards("pipeline"):
        for label, value, remark in (
            ("Data as of", text.clock(fresh.data_to, fresh.now) if fresh.data_to else "-", None),
            (
                "Last checked",
                "unknown" if fresh.ahead else "never" if lag is None else text.ago(lag),
                "in the future" if fresh.ahead else "up to date" if on_time else "out of date",
            ),
            (
                "Last verified",
                text.clock(verified.verified_at, fresh.now) if verified else "never",
                None
                if verified is None
                else "equal to totesys"
                if verified.equal
                else "differs from totesys",
            ),
            (
                "Exchange rates to",
                text.day(rates.newest) if rates.newest else "-",
                None,
            ),
            (
                "In quarantine",
                text.count(rejected, "row"),
                None if rejected else "all rows loaded",
            ),
        ):
            st.metric(
                label,
                value,
                remark,
                delta_arrow="off",
                delta_color="off",
                border=True,
                height="stretch",
            )
    if rates.newest:
        note = f"Exchange rates to {text.day(rates.newest)} ({text.plain(rates.source)})"
        if rates.through and rates.through > rates.newest:
            note = f"{note}; later days, to {text.day(rates.through)}, use the last rate"
        with st.container(key="small-rates"):
            st.text(f"{note}.")
    if verified is not None and not verified.equal:
        st.error("The last `totes verify` found differences. Run it again to list them.")
    elif verified is None:
        st.caption("Not verified yet: `totes verify` compares warehouse and totesys row by row.")


def _gaps(rows: pd.DataFrame) -> None:
    """Show the batches before which versions may be missing; nothing if there are none."""
    if rows.empty:
        return
    st.header("Gaps in the history")
    tables.table(
        rows,
        {"batch": "Batch number", "captured_at": "Captured at", "gap": "Reason"},
        key="pipeline-gaps",
        file_name="totes-gaps",
        alt="Batches before which versions are missing, the newest first.",
    )
    st.caption(
        "The rows of these batches were found by a scan: values that were set and overwritten "
        "since the previous batch are missing. The current rows are complete."
    )


def _quarantine(page: View) -> None:
    st.header("Quarantine")
    counts = pipeline.quarantine(page.reading)
    tables.table(
        counts,
        {
            "star_table": "Table",
            "column_name": "Column",
            "reason": "Reason",
            "rows": "Rows",
            "since": "Since",
        },
        key="pipeline-quarantine",
        file_name="totes-quarantine",
        alt="Rejected rows by table, column and reason.",
        empty="No rows in quarantine.",
    )
    if counts.empty:
        return
    with st.expander("Rejected rows"):
        tables.table(
            pipeline.quarantine_rows(page.reading, REJECTED_ROWS_LIMIT),
            {
                "batch": "Batch number",
                "star_table": "Table",
                "key": "Key",
                "column_name": "Column",
                "value": "Value",
                "reason": "Reason",
                "valid_from": "Captured at",
            },
            key="pipeline-rejected",
            file_name="totes-quarantine-rows",
            alt="Rejected rows with the rejected value.",
        )
    st.caption(
        "A row leaves quarantine when it is corrected in totesys or, after its model is corrected, "
        "by `totes quarantine release`."
    )


def _schema_changes() -> None:
    st.header("Schema changes in totesys")
    store = backends().ingestion
    if store is None:
        st.text("The ingestion store is not configured.")
        return
    try:
        last = find_newest_number(store, manifest_path)
        changes = list(find_schema_changes(lambda batch: read_manifest(store, batch)[0], last))
    except TotesError as error:
        st.text(f"The lake can't be read: {text.plain(error)}")
        return
    frame = pd.DataFrame(
        [
            {"batch": one.batch, "at": one.captured_at, "table": one.table, "what": one.what}
            for one in changes
        ]
    )
    tables.table(
        frame,
        {"batch": "Batch number", "at": "Captured at", "table": "Table", "what": "Change"},
        key="pipeline-schema",
        file_name="totes-schema-changes",
        alt="Schema changes in totesys, the newest first.",
        empty="No schema changes since the first capture.",
    )


def _deleted(rows: pd.DataFrame) -> None:
    st.header("Dimension rows deleted in totesys")
    tables.table(
        rows,
        {
            "table_name": "Table",
            "key": "Key",
            "deleted_at": "Deletion captured at",
            "batch": "Batch number",
        },
        key="pipeline-deleted",
        file_name="totes-deleted-dimension-rows",
        alt="Rows of dimensions that were deleted in totesys and remain in the warehouse.",
        empty="No dimension rows were deleted.",
    )


show(view())
