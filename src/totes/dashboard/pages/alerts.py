"""The alert rules: the last value of each, and since when its condition holds."""

import streamlit as st

from totes.dashboard import text
from totes.dashboard.bookkeeping import open_bookkeeping
from totes.dashboard.components import tables
from totes.dashboard.components.badge import EVERY
from totes.dashboard.metrics import pipeline
from totes.dashboard.server.backends import backends
from totes.errors import TotesError

STATES = {"alert": "Alert", "unknown": "Unknown", "ok": "OK"}

NO_RULES = """
No alert rules. A rule sets a limit for a number, such as overdue receivables, revenue compared with
the week before, the age of the data or silent changes. A message is sent when the number is above
or below the limit. An operator adds rules to the file `dashboard.toml` (setting
`TOTES_DASHBOARD_CONFIG`), for example:

```toml
[[alert]]
name = "Overdue receivables"
metric = "overdue_receivable"
above = 1_000_000
```

`totes run` checks them after each batch.
"""


@st.fragment(run_every=EVERY)
def show() -> None:
    """Draw the rules, and read them again as often as the freshness line."""
    st.title("Alerts")
    try:
        with open_bookkeeping(backends().warehouse) as bookkeeping:
            rules = pipeline.alerts(bookkeeping)
    except TotesError:
        st.text("Unknown until the warehouse answers.")  # the badge shows the reason
        return
    if rules.empty:
        st.markdown(NO_RULES)
        return
    holding = sum(rules["state"] == "alert")
    st.text(
        f"{text.count(holding, 'rule alerts', 'rules alert')}. "
        f"Last check: {text.moment(rules['checked_at'].max())}."
    )
    tables.table(
        rules.assign(state=[STATES[state] for state in rules["state"]]),
        {
            "state": "State",
            "rule": "Rule",
            "condition": "Alerts if",
            "value": "Value",
            "since": "Since",
            "checked_at": "Checked at",
        },
        key="alerts",
        file_name="totes-alerts",
        alt="The alert rules with their last values, those that alert first.",
    )


show()
