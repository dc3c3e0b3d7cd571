"""A warehouse's content in a few numbers: equal for what was loaded from the same batches."""

from typing import Any

import psycopg
from psycopg import sql

from totes.config.dsn import Dsn
from totes.star.folder import TOTESYS

BOOKKEEPING = {
    "totes.batches": {"generation", "loaded_at"},
    "totes.quarantine": {"quarantine_id"},
    "totes.deleted_dimension_rows": set[str](),
}
"""Other tables that must be equal, and the columns that may differ."""


def checksums(warehouse: Dsn) -> dict[str, Any]:
    """Number of rows and checksum of every table, surrogates aside; 0 for an empty one."""
    left_out = {
        name: {star.surrogate and star.surrogate.name} for name, star in TOTESYS.tables.items()
    } | BOOKKEEPING
    found: dict[str, Any] = {}
    with psycopg.connect(warehouse.reveal(), options="-cTimeZone=UTC") as connection:
        for table, ignored in left_out.items():
            query = sql.SQL(
                "SELECT count(*), md5(string_agg(line, E'\\n' ORDER BY line COLLATE \"C\"))"
                " FROM (SELECT (to_jsonb(t) - %s::text[])::text AS line FROM {} AS t) AS lines"
            ).format(sql.Identifier(*table.split(".")))
            rows, checksum = connection.execute(
                query, [list(filter(None, ignored))]
            ).fetchone() or (0, 0)
            found[table] = rows and (rows, checksum)
    return found
