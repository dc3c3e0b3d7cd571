"""The currency names of ISO 4217; the source has only the codes."""

import duckdb
import pycountry

from totes.star.lineage import ISO_CURRENCY


def define_iso_currency(engine: duckdb.DuckDBPyConnection) -> None:
    """Create the temporary table `iso_currency` (code, name)."""
    names = {currency.alpha_3: currency.name for currency in pycountry.currencies}
    engine.execute(
        f"create or replace temp table {ISO_CURRENCY} as"
        " select unnest($codes) as code, unnest($names) as name",
        {"codes": list(names), "names": list(names.values())},
    )
