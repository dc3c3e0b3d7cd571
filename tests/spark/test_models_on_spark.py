"""Every model gives the same rows on both engines: accepted, and rejected with their reasons."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import random_values
from depth import drawn, sample, seeded_random
from lake_writer import row
from pyspark.sql import SparkSession
from second_business import write_files
from star_texts import EDGE_CASES
from two_engines import TwoEngines

from totes.sql_text import literal
from totes.star import quarantine
from totes.star.contract import DATE, UNREADABLE_MARK, StarTable
from totes.star.folder import TOTESYS, Star, load_star
from totes.star.models import Model
from totes.star.supplied import define_supplied

BATCHES = (1, 2, 3)

MOMENT = "timestamptz '2026-11-22 10:00:00.000007+00' + interval 1 second * cast(_batch as integer)"

HARBOUR: Mapping[str, dict[str, str]] = {
    "vessel": {"imo": "IMO9074729", "name": "Aurora", "flag": "NO"},
    "berth": {"quay": "North", "number": "1", "depth_metres": "9.5"},
    "port_call": {
        "year": "2026",
        "sequence": "1",
        "imo": "IMO9074729",
        "quay": "North",
        "berth_number": "1",
        "arrived_at": "2026-03-01 06:30:00+00",
        "cargo_tonnes": "1200.5",
    },
}
RATE = {"rate_id": "2026-11-20 USD", "rate_date": "2026-11-20", "currency_code": "USD"}
RATE |= {"rate": "1.0512", "source": "ECB", "carried_forward": "false"}

LONG = "é" * 2000 + "\\\"'\n"
UNREADABLE = ("\x00ff0a\x00invalid byte sequence", "\x00\x00too long")


def example(table: str) -> Mapping[str, Any]:
    if table == "ecb_exchange_rate":
        return RATE
    return HARBOUR[table] if table in HARBOUR else row(table)


def text(value: Any) -> str | None:
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def random_value(chance: Random, example: str | None) -> str | None:
    """Return mostly the example or a number, so that rows are accepted and joins match."""
    kind = chance.random()
    if kind < 0.85:
        return str(chance.randint(1, 3)) if example and example.isdigit() else example
    choices = (None, LONG, *UNREADABLE, random_values.text(chance), chance.choice(EDGE_CASES))
    return chance.choice(choices)


def sql_text(value: str | None) -> str:
    """Return SQL for a text; NUL can't be in a literal."""
    if value is None:
        return "null"
    return f" || {UNREADABLE_MARK} || ".join(literal(part) for part in value.split("\x00"))


def add_source(engines: TwoEngines, chance: Random, name: str, columns: tuple[str, ...]) -> None:
    """Add a source table with random rows in every batch, a good row, and one with only NULL."""
    names = ", ".join(f'"{column}"' for column in columns)
    good = [sql_text(text(example(name)[column])) for column in columns]
    rows = [f"({', '.join([*values, 'true', '1'])})" for values in (good, ["null"] * len(columns))]
    for _ in range(drawn(40, 300)):
        values = [sql_text(random_value(chance, text(example(name)[column]))) for column in columns]
        changed = chance.choice(("true", "true", "false"))
        rows.append(f"({', '.join([*values, changed, str(chance.choice(BATCHES))])})")
    engines.add(
        name,
        f"select * replace (cast(_batch as bigint) as _batch), {MOMENT} as _at"
        f" from (values {', '.join(rows)}) as t ({names}, _changed, _batch)",
    )


def add_star_table(engines: TwoEngines, chance: Random, star: StarTable) -> None:
    """Add rows of a star table in every batch; only its dates have values."""
    days = [
        f"select date '{chance.choice((1900, 2023, 2026, 2200))}-{chance.randint(1, 12)}-05'"
        f" as day, cast({chance.choice(BATCHES)} as bigint) as _batch"
        for _ in range(5)
    ]
    nulls = {
        column.quoted: "day" if column.type is DATE else f"cast(null as {column.type.name})"
        for column in star.columns
    }
    columns = ", ".join(f"{value} as {name}" for name, value in nulls.items())
    engines.add(star.name, f"select {columns}, _batch from ({' union all '.join(days)})")


def add_deletes(engines: TwoEngines, chance: Random, model: Model) -> str | None:
    """Add the keys of deleted rows, and return the query for them."""
    if model.lineage.key is None:
        return None
    names = ", ".join(column.quoted for column in model.star.key)
    rows = [
        f"({', '.join([*(sql_text(random_value(chance, '7')) for _ in model.star.key), batch])})"
        for batch in map(str, BATCHES)
    ]
    engines.add(
        "_deleted",
        f"select * replace (cast(_batch as bigint) as _batch), {MOMENT} as _at"
        f" from (values {', '.join(rows)}) as t ({names}, _batch)",
    )
    return f"select {names}, _at from _deleted"


def compare(star: Star, engines: TwoEngines, chance: Random, models: Iterable[Model]) -> None:
    """Compare the rows of models of a star, which read random rows."""
    define_supplied(engines.engine, ["iso_currency"])
    engines.add("iso_currency", "from temp.iso_currency")
    define_supplied(engines.engine, ["calendar"])
    engines.add("calendar", "from temp.calendar")
    moments = " union all ".join(f"select cast({batch} as bigint) as _batch" for batch in BATCHES)
    engines.add("moments", f"select _batch, {MOMENT} as _at from ({moments})")
    for name in star.models.tables:
        add_source(engines, chance, name, tuple(sorted(star.models.columns(name))))
    for model in models:
        for name in model.lineage.stars:
            add_star_table(engines, chance, star.tables[name])
        sql = model.sql
        if not model.lineage.selects_at:
            sql = f"select * from (\n{sql}\n) as model cross join moments"
        deletes = add_deletes(engines, chance, model)
        checked = quarantine.checked_rows(model.star, sql, deletes)
        accepted = quarantine.accepted_rows(model.star, checked)
        types, rows = engines.in_duckdb(accepted, BATCHES)
        assert engines.in_spark(accepted) == (types, rows), model.name
        assert rows, model.name
        rejected = quarantine.rejected_rows(model.star, checked)
        types, rows = engines.in_duckdb(rejected, BATCHES)
        assert engines.in_spark(rejected) == (types, rows), model.name
        assert rows or model.lineage.stars, model.name


def test_the_packaged_models_give_the_same_rows(spark: SparkSession, tmp_path: Path) -> None:
    models = sample(2, TOTESYS.models.all, "models on Spark")
    compare(TOTESYS, TwoEngines(duckdb.connect(), spark, tmp_path), seeded_random(), models)


def test_the_models_of_another_business_give_the_same_rows(
    spark: SparkSession, tmp_path: Path
) -> None:
    star = load_star(write_files(tmp_path))
    engines = TwoEngines(duckdb.connect(), spark, tmp_path)
    compare(star, engines, seeded_random(), star.models.all)
