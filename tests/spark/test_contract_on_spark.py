"""Both engines accept the same texts for each type of the contract, as the same values."""

from pathlib import Path
from random import Random

import duckdb
import hypothesis
import random_values
from depth import drawn, sample_seed, seeded_random
from hypothesis import HealthCheck, given, settings
from pyspark.sql import SparkSession
from star_texts import EDGE_CASES, altered_texts, arbitrary_texts, canonical_texts
from two_engines import TwoEngines

from totes.star.contract import MAX_TEXT_BYTES, TYPES, Column

HOSTILE = (
    *("2024-02-30", "0001-01-01", "10000-01-01", "+10000-01-01", "-0001-01-01", "0000-01-01"),
    *("1582-10-04", "1582-10-10", "1900-01-01", "2200-12-31", "2024", "2024-01", "2024-1-1"),
    *("2024-01-01T00", "2024-01-01 00:00:00", "2024-01-01 ", "\u00a02024-01-01", "\ufeff1"),
    *("today", "now", "tomorrow", "yesterday", "1 day", "-infinity", "t", "f", "y", "n", "no"),
    *("1f", "1d", "1L", "1D", "0x1F", "1e0", "1E+2", "1.", "00.1", "-0.0", "1\u200b", "１２"),  # noqa: RUF001  digits of other scripts
    *("2147483647", "-2147483648", "9223372036854775807", "-9223372036854775808"),
    *("99999999.99", "99999999.994", "9999999999999999.99", "10000000000000000.00", "0.0000010"),
    *("999999999999.999999", "1.0000001", "12:00:60", "T12:00:00", "12:00:00\n", "12:00:00.000001"),
    *("23:59:59.9999999", "23:59:59.999990", "00:00:00.0", "\u2028", "a\x00b", "e\u0301", "🎉"),
    "é" * (MAX_TEXT_BYTES // 2),
    "é" * (MAX_TEXT_BYTES // 2) + "x",
)
"""Texts that casts of one engine or the other take for a value."""

COLUMNS = [Column(name, type_) for name, type_ in TYPES.items()]


def draw_texts(count: int, chance: Random) -> set[str]:
    """Return random texts: values, values with a change, and any others."""
    texts = {random_values.text(chance) for _ in range(count)}
    texts |= {draw(chance) for draw in random_values.DRAWS.values() for _ in range(count // 10)}

    @hypothesis.seed(sample_seed("contract on spark"))
    @settings(max_examples=count, database=None, suppress_health_check=list(HealthCheck))
    @given(canonical_texts, altered_texts, arbitrary_texts)
    def gather(canonical: str, altered: str, arbitrary: str) -> None:
        texts.update((canonical, altered, arbitrary))

    gather()
    return texts


def test_both_engines_accept_the_same_texts_as_the_same_values(
    spark: SparkSession, tmp_path: Path
) -> None:
    texts = sorted({*EDGE_CASES, *HOSTILE, *draw_texts(drawn(300, 20_000), seeded_random())})
    engine = duckdb.connect()
    engine.execute("create table drawn as select unnest($1::varchar[]) as x", [texts])
    engines = TwoEngines(engine, spark, tmp_path)
    engines.add(
        "texts", "select *, cast(1 as bigint) as _batch from drawn union all select null, 1"
    )
    names = ", ".join(f"x as {column.quoted}" for column in COLUMNS)
    casts = ", ".join(column.cast for column in COLUMNS)
    values = ", ".join(
        f"case when {column.is_accepted} then {column.value} end as {column.quoted}"
        for column in COLUMNS
    )
    query = f"select x, {values} from (select *, {casts} from (select x, {names} from texts))"
    types, rows = engines.in_duckdb(query, [1])
    assert engines.in_spark(query) == (types, rows)
    for place, column in enumerate(COLUMNS, start=1):
        accepted = {row[0] for row in rows if row[place] is not None}
        assert 1 < len(accepted) < len(texts), column.name
