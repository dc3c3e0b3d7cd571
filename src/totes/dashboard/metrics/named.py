"""What counterparties, designs and members of staff are called.

One who shares a name with another of the dimension has the key beside it: in every table, whatever
the period, so that nobody takes two for one, or one for two.
"""

from collections.abc import Mapping
from typing import Any

from psycopg import sql

from totes.dashboard.reading import Reading, part

_NAMES: Mapping[str, sql.Composable] = {
    "counterparty": sql.Identifier("counterparty", "counterparty_legal_name"),
    "design": sql.Identifier("design", "design_name"),
    "staff": sql.SQL("staff.first_name || ' ' || staff.last_name"),
}
"""By the dimension, under the name that queries know it by."""


def names() -> dict[str, sql.Composable]:
    """What a query is composed of that tells them; it binds the `namesakes`."""
    return {
        f"{kind}_name": part(
            "part_named",
            name=name,
            key=sql.Identifier(kind, f"{kind}_id"),
            namesakes=sql.Placeholder(f"{kind}_namesakes"),
        )
        for kind, name in _NAMES.items()
    }


def namesakes(reading: Reading) -> dict[str, Any]:
    """The keys of those who share a name; asked once for a reading."""
    return reading.once("namesakes", lambda: reading.row("namesakes"))
