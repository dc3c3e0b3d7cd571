"""Which SQL is translated to Spark, and that everything else is refused."""

from pathlib import Path

import pytest
from second_business import write_files

from totes.errors import ModelError
from totes.star import quarantine
from totes.star.dialect import to_spark
from totes.star.folder import TOTESYS, Star, load_star


def test_every_model_with_its_contract_can_be_translated(tmp_path: Path) -> None:
    stars: tuple[Star, ...] = (TOTESYS, load_star(write_files(tmp_path)))
    for model in (model for star in stars for model in star.models.all):
        batched = {*model.lineage.sources, *model.lineage.stars}
        key = ", ".join(column.quoted for column in model.star.key)
        deletes = f"select {key}, _at from _deleted"
        sql = (
            f"select *, null as _at from ({model.sql})"
            if not model.lineage.selects_at
            else model.sql
        )
        checked = quarantine.checked_rows(model.star, sql, deletes)
        for query in (quarantine.accepted_rows, quarantine.rejected_rows):
            to_spark(query(model.star, checked), batched=[*batched, "_deleted"])


REFUSED = {
    "select cast(_at as varchar) as x, _at from t": "may only be selected as _at",
    "select _at || '' as x, _at from t": "may only be selected as _at",
    "select cast(x as varchar) as x from (select _at as x from t) as u": "may only be selected",
    "select x from t where X = '1'": "in the case of its definition",
    "select upper(x) from t": r"UPPER\(x\) \(Upper\) has no tested equivalent",
    "select reverse(x) from t": r"REVERSE\(x\)",
    "select no_such_function(x) from t": r"NO_SUCH_FUNCTION\(x\)",
    "select random() from t": r"RANDOM\(\)",
    "select current_date from t": "CURRENT_DATE",
    "select a / b from t": "a / b",
    "select a % b from t": "a % b",
    "select 1e3 from t": "floating point",
    "select d + interval 1 day from t": "INTERVAL",
    "select x[1] from t": r"x\[1\]",
    "select [x] from t": r"\[x\]",
    "select x ilike 'a' from t": "ILIKE",
    "select x like y from t": "needs a string literal",
    "select x like 'a!%' escape '!' from t": "ESCAPE",
    "select any_value(x) from t group by y": "ANY_VALUE",
    "select string_agg(x, ',') from t group by y": "GroupConcat",
    "select trim(x) from t": "needs a string literal",
    "select left(x, -1) from t": "needs a number of characters that is a literal",
    "select left(x, n) from t": "needs a number of characters that is a literal",
    "select substr(x, 2, n) from t": "needs a length that is a literal",
    "select split_part(x, '', 1) from t": "needs literals",
    "select split_part(x, y, 1) from t": "needs literals",
    "select split_part(x, ' ', 0) from t": "needs literals",
    "select chr(n) from t": "ASCII",
    "select lpad(x, 2, '') from t": "to fill up with",
    "select try_cast(x as integer) from t": "accepts different texts in the two engines",
    "select cast(x as time) from t": "TIME",
    "select cast(x as double) from t": "DOUBLE",
    "select cast(x as timestamptz) from t": "TIMESTAMP",
    "select strftime(d, '%c') from t": "STRFTIME",
    "select extract(week from d) from t": "WEEK",
    "select extract(second from d) from t": "SECOND",
    "select regexp_matches(x, y) from t": "needs a string literal",
    "select regexp_matches(x, '(?i)a') from t": "pattern that is not supported",
    r"select regexp_matches(x, '\bword') from t": "pattern that is not supported",
    "select regexp_matches(x, 'a++') from t": "pattern that is not supported",
    "select regexp_matches(x, '[[:alpha:]]') from t": "pattern that is not supported",
    "select regexp_matches(x, '[a&&b]') from t": "pattern that is not supported",
    "select regexp_matches(x, 'a', 'i') from t": "has options",
    "select regexp_replace(x, 'a', 'b', 'gi') from t": "has options other than 'g'",
    "select regexp_replace(x, 'a*', '-', 'g') from t": "replaces an empty text",
    r"select regexp_replace(x, 'a', '\x') from t": "backslash in its replacement",
    "select regexp_extract(x, 'a', n) from t": "needs the number of a group",
    "select x from t limit 1": "has LIMIT",
    "select x from t order by x offset 1": "has OFFSET",
    "select distinct on (x) x, y from t": "has ON",
    "select x from t using sample 10": "SAMPLE",
    "select x from a natural join b": "has METHOD",
    "select x from a positional join b": "has METHOD",
    "select x from a asof join b on a.t >= b.t": "has METHOD",
    "select x from read_parquet('f.parquet')": "READ_PARQUET",
    "select x from generate_series(1, 2) as t (x)": "GENERATE_SERIES",
    "select x from s.t": "has DB",
    "select x from (values (1)) as t (x)": "Values",
    "select unnest(x) from t": "UNNEST",
    "with recursive t as (select 1 as x) select x from t": "has RECURSIVE",
    "with t (x) as (select 1) select x from t": "has COLUMNS",
    "select * replace (1 as x) from t": "has REPLACE",
    "select x from t qualify rank() over (order by x) = 1": "has QUALIFY",
    "select x, sum(y) from t group by rollup (x)": r"ROLLUP \(x\)",
    "select x = any (select y from t) from t": "Any",
    "select x from t where x in y": "has FIELD",
    "pivot t on x using sum(y)": "Pivot",
    "select ? from t": "Placeholder",
    "select 'x": "can't be translated",
}


@pytest.mark.parametrize("sql", REFUSED)
def test_sql_without_an_equivalent_is_refused_by_name(sql: str) -> None:
    with pytest.raises(ModelError, match=REFUSED[sql]):
        to_spark(sql)
