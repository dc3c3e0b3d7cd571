"""A query over all batches at once returns what it returns batch by batch. DuckDB runs both."""

from collections import Counter
from functools import cache
from random import Random

import duckdb
import pytest
from batched_queries import BATCHES, QUERIES, random_rows
from depth import drawn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlglot import parse_one

from totes.errors import ModelError
from totes.star.all_batches import BATCH, add_batch

ENGINE = duckdb.connect(config={"threads": 1})


@cache
def over_all_batches(query: str) -> str:
    tree = parse_one(query, dialect="duckdb")
    add_batch(tree, ["a", "b"])
    return tree.sql("duckdb")


@settings(max_examples=drawn(4, 100))
@given(st.integers())
@example(0)
def test_all_batches_at_once_give_the_rows_of_each_batch(seed: int) -> None:
    for name, rows in random_rows(Random(seed)).items():  # noqa: S311  not for secrets
        ENGINE.execute(f"create or replace temp table all_{name} as {rows}")
    for query in QUERIES:
        for name in ("a", "b", "c"):
            ENGINE.execute(f"create or replace temp view {name} as from all_{name}")
        at_once = Counter(ENGINE.execute(over_all_batches(query)).fetchall())
        one_by_one: Counter[tuple[object, ...]] = Counter()
        for batch in BATCHES:
            for name in ("a", "b"):
                ENGINE.execute(
                    f"create or replace temp view {name} as select * exclude ({BATCH})"
                    f" from all_{name} where {BATCH} = {batch}"
                )
            one_by_one.update((*row, batch) for row in ENGINE.execute(query).fetchall())
        assert at_once == one_by_one, query


REFUSED = {
    "select count(*) as n from a": "aggregate without GROUP BY",
    "select k from a having max(v) > 1": "aggregate without GROUP BY",
    "select c.k from c left join a on a.k = c.k": "keeps rows without a batch",
    "select c.k from c anti join a on a.k = c.k": "keeps rows without a batch",
    "select c.k from a right join c on a.k = c.k": "keeps rows without a batch",
    "select c.k from a full join c on a.k = c.k": "keeps rows without a batch",
    "select k from a union select k from c": "one side that reads tables with batches",
    "select k from c where exists (select 1 from a where a.k = c.k)": "in a query without them",
    "select k, (select w from b) as w from a": "can't be restricted",
    "select k from a where k in (select k from b union select k from b)": "can't be restricted",
    "select k from a where v in (select v from a where v > 1)": "needs an alias in the outer query",
    "select a.k from a, b right join c on b.k = c.k": "is joined by a comma",
    "select k from a full join b using (k) join a as x using (k)": "write ON instead of USING",
    "select * from a join b using (k)": "selects \\* of tables joined by USING",
    "select * exclude (v) from a cross join b": "or without some columns",
    "select k from (select * from a join b using (k)) union by name select k from b": "USING",
    "select * from a union by name select k from b": "the names of the columns are not known",
    "select k from (select k from a) where k in (select k from b)": "needs an alias in the outer",
    "select 1 as one from (select k from a) cross join b": "joins a subquery without an alias",
    "select k, 1 as _batch from a": "the column name _batch is reserved",
}


@pytest.mark.parametrize("query", REFUSED)
def test_a_query_that_would_give_other_rows_is_refused(query: str) -> None:
    with pytest.raises(ModelError, match=REFUSED[query]):
        over_all_batches(query)
