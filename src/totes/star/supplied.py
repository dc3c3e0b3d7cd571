"""The relations that models may read and that are no tables of the source."""

from collections.abc import Iterable

import duckdb

from totes.star.contract import FIRST_YEAR, LAST_YEAR
from totes.star.lineage import CALENDAR, ISO_CURRENCY


def define_supplied(engine: duckdb.DuckDBPyConnection, names: Iterable[str]) -> None:
    """Create those of the relations `calendar` (day) and `iso_currency` (code, name)."""
    for name in names:
        _DEFINITIONS[name](engine)


def _define_calendar(engine: duckdb.DuckDBPyConnection) -> None:
    engine.execute(
        f"create or replace temp view {CALENDAR} as select cast(day as date) as day"
        f" from generate_series(date '{FIRST_YEAR}-01-01', date '{LAST_YEAR}-12-31',"
        " interval '1 day') as days (day)"
    )


def currency_names() -> dict[str, str]:
    """Return the names of currencies by their codes; the source has only the codes."""
    import pycountry  # noqa: PLC0415  slow to import

    return {currency.alpha_3: currency.name for currency in pycountry.currencies}


def _define_iso_currency(engine: duckdb.DuckDBPyConnection) -> None:
    names = currency_names()
    engine.execute(
        f"create or replace temp table {ISO_CURRENCY} as"
        " select unnest($codes) as code, unnest($names) as name",
        {"codes": list(names), "names": list(names.values())},
    )


_DEFINITIONS = {CALENDAR: _define_calendar, ISO_CURRENCY: _define_iso_currency}
