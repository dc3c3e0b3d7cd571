"""Every function and operator that a model may use gives the same result on both engines."""

import re
from pathlib import Path

import duckdb
import pytest
import random_values
from depth import drawn, seeded_random
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from second_business import PAGE
from star_texts import EDGE_CASES
from two_engines import TwoEngines

from totes.star.dialect import to_spark

EXPRESSIONS = (
    *("strlen(x)", "length(x)", "substr(x, 2)", "substr(x, -2)", "substr(x, n)", "substr(x, 1, n)"),
    *("substr(x, n, 2)", "substr(x, strpos(x, 'a') + 1)", "left(x, 2)", "right(x, 2)"),
    *("strpos(x, 'a')", "contains(x, 'a')", "contains(x, chr(0))", "starts_with(x, 'a')"),
    *("ends_with(x, 'b')", "split_part(x, ' ', 1)", "split_part(x, 'a', -1)", "x || '~' || y"),
    *("split_part(x, chr(0), 2)", "replace(x, 'a', 'bb')", "replace(x, '', 'b')", "x || y"),
    *("translate(x, 'ab\\', 'xy')", "trim(x, ' a')", "ltrim(x, ' ')", "rtrim(x, '.0')"),
    *("lpad(x, 4, '0')", "rpad(x, n, 'ab')", "concat(x, y, n)", "concat_ws(',', x, y)", "md5(x)"),
    *("sha256(x)", "coalesce(x, y, '-')", "nullif(x, y)", "greatest(x, y)", "least(x, y)"),
    *("x = y", "x <> y", "x < y", "x >= y", "x is distinct from y", "x is not distinct from y"),
    *(
        "x in ('a', y)",
        "x not in ('a', y)",
        "x between 'a' and y",
        "x is null",
        "(x = y) is not true",
    ),
    *("x like 'a%'", "x like '_'", r"x like '\%'", "x not like '%.'", "x = 'a' or y = 'a'"),
    *("case x when 'a' then y else 'z' end", "case when x > y then x end", "if(x = y, 'a', 'b')"),
    *(
        "n + 1",
        "n - 2",
        "n - m",
        "n * m",
        "-n",
        "abs(n)",
        "cast(n as varchar)",
        "n + cast(m as bigint)",
    ),
    *("cast(n as decimal(12,2)) + 1.5", "cast(cast(n as decimal(10,2)) * 1.25 as varchar)"),
    *("cast(n as smallint)", "cast(cast(n as varchar) as integer)", "cast(n > 1 as varchar)"),
    *(
        "cast(cast(d as varchar) as date)",
        "d + 1",
        "d - 1",
        "cast(d as varchar)",
        "d > date '2000-01-01'",
    ),
    *(
        "extract(year from d)",
        "extract(month from d)",
        "extract(day from d)",
        "year(d)",
        "month(d)",
    ),
    *("extract(quarter from d)", "extract(isodow from d)", "isodow(d)", "quarter(d)", "day(d)"),
    *("strftime(d, '%A, %d %B %Y')", "strftime(d, '%a %b ''%m'' %j')", "strftime(d, 'day %d')"),
    *("regexp_matches(x, 'a')", "regexp_matches(x, '^[a-c]+$')", r"regexp_matches(x, '\s')"),
    *(
        r"regexp_matches(x, '^\S+$')",
        r"regexp_matches(x, '\d{2,}|[\s.]')",
        "regexp_matches(x, '^.$')",
    ),
    *(
        r"regexp_matches(x, '[^\w]\W')",
        "regexp_full_match(x, '(a|b)*')",
        "regexp_full_match(x, '.*')",
    ),
    *("regexp_extract(x, '[0-9]+')", "regexp_extract(x, '(a)(b)?', 2)", "regexp_extract(x, 'a?$')"),
    *(
        "regexp_replace(x, 'a', 'b')",
        "regexp_replace(x, 'a', 'b', 'g')",
        "regexp_replace(x, '^', '>')",
    ),
    *(r"regexp_replace(x, '([0-9])([0-9])', '\2$1\\\1')", "regexp_replace(x, 'a*?b$', '')"),
    *(r"regexp_replace(x, '(.)(.)', '\2\1\0', 'g')", r"regexp_replace(x, '[.\-+]', '\\', 'g')"),
    *("regexp_replace(x, '[+]00$', '')", r"regexp_replace(x, '\n', ' ', 'g')"),
    *("cast(to_json([x, y]) as varchar)", "cast(json_object('a', x, 'b', y) as varchar)"),
    *(r"'it''s \ \n'", "chr(65)", "true", "null"),
)

_PAGE = dict(re.findall(r"^\| (\w+) \| (`.+`) \|$", PAGE, re.MULTILINE))


def documented(*rows: str) -> tuple[str, ...]:
    """Return the expressions in these rows of the table in docs/your-own-database.md."""
    return tuple(text for row in rows for text in re.findall("`([^`]+)`", _PAGE[row]))


AGGREGATES = (
    *documented("groups"),
    *("count(*)", "count(x)", "count(distinct y)", "sum(n)", "min(x)", "max(y)", "min(d)"),
    *(
        "bool_and(n > 0)",
        "bool_or(x > y)",
        "sum(cast(n as decimal(10,2)))",
        "count(*) filter (n > 1)",
    ),
)

WINDOWS = (
    *documented("windows"),
    *(
        "row_number() over (order by i)",
        "rank() over (order by x)",
        "dense_rank() over (order by y desc)",
    ),
    *("rank() over (order by x desc nulls first)", "lag(x) over (order by i)", "sum(n) over w"),
    *("lead(x, 2) over (partition by n order by i)", "max(x) over (partition by y)"),
    *("count(*) over (order by i rows between 1 preceding and current row)",),
)


@pytest.fixture
def engines(spark: SparkSession, tmp_path: Path) -> TwoEngines:
    """Two engines with a table of hostile texts, integers and dates."""
    chance = seeded_random()
    engine = duckdb.connect()
    engine.execute(
        "create table drawn"
        " (i integer, x varchar, y varchar, n integer, m integer, d date, _batch bigint)"
    )
    texts = [*EDGE_CASES, "a", "b", "ab", "a\nb", "a\x00b\x00c", "\\", "\\n", "%", "a\\b", '"', "'"]
    texts += ["\u2028\u0085", "\x0b\x0c\r\x1f\x7f", "e\u0301", "🎉a", "\u00a0a\u3000", "ß", "İ"]
    texts += [random_values.text(chance) for _ in range(drawn(100, 3000))]

    def text() -> str | None:
        return None if chance.random() < 0.1 else chance.choice(texts)

    rows = [
        [
            place,
            x,
            text(),
            chance.choice([None, *range(-3, 6)]),
            chance.randint(-3, 6),
            f"{chance.randint(1900, 2200)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}",
            1,
        ]
        for place, x in enumerate([*texts, None])
    ]
    engine.executemany("insert into drawn values (?, ?, ?, ?, ?, ?, ?)", rows)
    both = TwoEngines(engine, spark, tmp_path)
    both.add("t", "from drawn")
    return both


def assert_equal(engines: TwoEngines, query: str, *names: str) -> None:
    """Compare the rows, and on a difference name the first column that differs."""
    in_duckdb, in_spark = engines.in_duckdb(query, [1])[1], engines.in_spark(query)[1]
    for place, name in enumerate(names):
        one, other = ({(row[0], row[place]) for row in rows} for rows in (in_duckdb, in_spark))
        assert one == other, name
    assert in_duckdb == in_spark


def selected(expressions: tuple[str, ...]) -> str:
    return ", ".join(f"{expression} as c{place}" for place, expression in enumerate(expressions))


def test_every_function_and_operator_gives_the_same_result(engines: TwoEngines) -> None:
    expressions = (
        *EXPRESSIONS,
        *documented("texts", "patterns", "dates", "numbers", "choice"),
    )
    assert_equal(engines, f"select i, x, {selected(expressions)} from t", "i", "x", *expressions)


def test_every_aggregate_gives_the_same_result(engines: TwoEngines) -> None:
    query = f"select y, {selected(AGGREGATES)} from t group by y having count(*) > 0"
    assert_equal(engines, query, "y", *AGGREGATES)


def test_every_window_gives_the_same_result(engines: TwoEngines) -> None:
    query = f"select i, {selected(WINDOWS)} from t window w as (order by i)"
    assert_equal(engines, query, "i", *WINDOWS)


@pytest.mark.parametrize(
    ("value", "type_"),
    [(" 1", "integer"), ("1.005", "decimal(10,2)"), ("2024/1/1", "date"), ("t", "boolean")],
)
def test_a_cast_that_the_engines_could_do_differently_fails_in_spark(
    spark: SparkSession, value: str, type_: str
) -> None:
    sql = to_spark(f"select cast(x as {type_}) as y from (select '{value}' as x)")
    with pytest.raises(PySparkException, match="would not be exact"):
        spark.sql(sql).collect()
