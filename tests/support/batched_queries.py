"""Queries with every construct that relates rows to each other, over small random relations.

`a` (k, v, s) and `b` (k, w) have batches, `c` (k, name) has none.
"""

from collections.abc import Mapping
from random import Random

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "a": ("k text", "v int", "s text"),
    "b": ("k text", "w int"),
    "c": ("k text", "name text"),
}
BATCHES = (1, 2, 3)

QUERIES = (
    "select k, v from a where v > 0",
    "select a.k, b.w from a join b on a.k = b.k",
    "select a.k, b.w from a left join b on a.k = b.k",
    "select a.k, b.w from a right join b on a.k = b.k",
    "select a.k, b.w from a full join b on a.k = b.k",
    "select x.v, y.v as z, b.w from a as x full join a as y on x.v = y.v left join b on b.k = y.k",
    "select a.v, b.w from a cross join b",
    "select a.v, b.w from a, b where a.k < b.k",
    "select k, a.v, b.w from a join b using (k)",
    "select k, a.v, b.w from a left join b using (k)",
    "select x.k, y.v, b.w from a as x join a as y using (k) join b on b.k = y.k",
    "select a.k from a semi join b on a.k = b.k",
    "select a.k from a anti join b on a.k = b.k",
    "select a.k from a semi join b using (k)",
    "select a.k, c.name from a left join c on a.k = c.k",
    "select a.k, c.name from c join a on a.k = c.k",
    "select a.k, c.name from c right join a on a.k = c.k",
    "select * from a",
    "select * exclude (s), v + 1 as next from a",
    "select * from a cross join (select k as other, w from b) as x",
    "select * from a semi join b on a.k = b.k",
    "select * from (select k, v from a) as x anti join b using (k) union by name select w from b",
    "select * from c join (select k as other, v from a) as x on x.other = c.k",
    "select x.*, b.w from a as x join b on x.k = b.k",
    "select * from (select k, v from a) where v = 1",
    "select k, count(*) as n, sum(v) as total, min(s) as least from a group by k",
    "select k, count(distinct v) as n from a group by 1 having count(*) > 1",
    "select k, max(v) as newest from a group by all",
    "select distinct k from a",
    "select k from a union select k from b",
    "select k, v from a union all select k, w from b",
    "select k from a except select k from b",
    "select k from a intersect select k from b",
    "select k from a except all select k from b",
    "(select k from a union select k from b) except select k from b where w = 1",
    "select k, v from a union all by name select w as v, k, 1 as one from b",
    "select k, v from a union by name select k from b union all by name select s from a",
    (
        "select * from (select k, v from a) union all by name"
        " select * exclude (w) from (select * from (select k, w from b))"
    ),
    "select k, row_number() over (order by v, k, s) as place from a",
    (
        "select k, sum(v) over (partition by k) as total, lag(v) over w as before from a"
        " window w as (partition by s order by v, k)"
    ),
    "select k, v + 1 as v, v * 2 as w, row_number() over (order by v, k, s) as place from a",
    "select k, v + 1 as v from a where v > 0 group by k, v having v = 1",
    "select s || 'x' as s, sum(v) as v from a group by s having sum(v) > 0",
    "select k from a where exists (select 1 from b where b.k = a.k and b.w > a.v)",
    "select k from a where not exists (select 1 from b where b.k = a.k)",
    "select k from a where v in (select w from b)",
    "select k from a where v not in (select w from b)",
    "select k from a where k in (select k from c)",
    "select k from a as x where v in (select v from a as y where y.s = x.s and y.k <> x.k)",
    "select k from a where v in (select max(w) from b group by k)",
    (
        "with one as (select k, v from a), two as (select k, count(*) as n from one group by k)"
        " select one.k, one.v, two.n from one join two on one.k = two.k"
    ),
    (
        "with kept as (select k from a union select k from b), used as (select distinct k from kept"
        ") select used.k, c.name from c join used on c.k <= used.k"
    ),
    "select k, sum(v) filter (where s = 'x') as total from a group by k",
    "select case when v > 1 then 'many' else 'few' end as size, count(*) as n from a group by 1",
)
"""The unqualified columns and the columns with the table's name are both used."""


ONLY_IN_SPARK = ("select k from a where (k, v) in (select k, w from b)",)
"""DuckDB can't run what becomes of these."""


def random_rows(chance: Random) -> dict[str, str]:
    """Return a query of DuckDB for each relation, with few values, so that they often meet."""

    def value(kind: str) -> str:
        if chance.random() < 0.15:
            return "null"
        return (
            chance.choice(("'x'", "'y'", "'X'", "''")) if kind == "text" else chance.choice("012")
        )

    queries = {}
    for name, columns in COLUMNS.items():
        kinds = [column.split()[1] for column in columns]
        names = [column.split()[0] for column in columns]
        if name != "c":
            kinds.append("batch")
            names.append("_batch")
        rows = [
            ", ".join(
                f"cast({chance.choice(BATCHES) if kind == 'batch' else value(kind)} as"
                f" {'bigint' if kind == 'batch' else kind})"
                for kind in kinds
            )
            for _ in range(chance.choice((0, 1, 5, 12)))
        ]
        nulls = ", ".join(
            f"cast(null as {'bigint' if kind == 'batch' else kind}) as {column}"
            for column, kind in zip(names, kinds, strict=True)
        )
        queries[name] = " union all ".join(
            [f"select {nulls} where false", *(f"select {row}" for row in rows)]
        )
    return queries
