"""Change a query over one batch so that it runs over all batches at once, each by itself.

In the changed query, everything that relates rows to each other does so within a batch: joins,
groups, DISTINCT, set operations, windows, and subqueries of EXISTS and IN. A query that must return
a row even for a batch without rows, such as an aggregate without GROUP BY, can't be changed.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.optimizer.scope import Scope, traverse_scope

from totes.errors import ModelError
from totes.star.lineage import sources_of
from totes.star.portable import refuse

BATCH = "_batch"
"""The column with the number of the batch."""


def add_batch(tree: exp.Expr, batched: Collection[str]) -> None:
    """Change a query over one batch so that it runs over all batches.

    Each of the tables `batched` has the column BATCH. If the query reads any of them, its result
    gets BATCH as the last column, and the rows of each batch are those that the query returned over
    the rows of this batch. Also replaces UNION BY NAME, which Spark does not have, by UNION.

    Raises ModelError, which names the construct, if that is not possible.
    """
    if batched and any(name.name == BATCH for name in tree.find_all(exp.Identifier)):
        raise ModelError(f"Spark can't run this SQL: the column name {BATCH} is reserved.")
    scopes = [(scope, sources_of(scope)) for scope in traverse_scope(tree)]
    queries: dict[int, _Query] = {}
    for scope, selected in scopes:
        query = scope.expression
        if isinstance(query, exp.SetOperation):
            sides = [queries[id(side.unnest())] for side in (query.left, query.right)]
            queries[id(query)] = _set_operation(query, *sides)
            continue
        if not isinstance(query, exp.Select):
            refuse(query)
        sources = {
            alias: queries[id(source.expression)]
            if isinstance(source, Scope)
            else _Query(None, source.name in batched)
            for alias, source in selected.items()
        }
        names = [*_output_names(query, sources)]
        named = [name for name in names if name is not None]
        batch = _batch_of(query, sources)
        for subquery in scope.subquery_scopes:
            if (inner := queries[id(subquery.expression)]).is_batched:
                _restrict(subquery, inner.batch, batch)
        if batch is not None:
            _group_by_batch(scope, query, batch)
            _return_batch(query, sources, batch)
        queries[id(query)] = _Query(
            named if len(named) == len(names) else None, batch is not None, batch
        )


@dataclass(frozen=True)
class _Query:
    """What a query returns, without BATCH: the names of its columns, None if they are not known.

    `is_batched`: whether it also returns BATCH; in a SELECT, that is the expression `batch`.
    """

    names: list[str] | None
    is_batched: bool
    batch: exp.Expr | None = None


def _set_operation(query: exp.SetOperation, left: _Query, right: _Query) -> _Query:
    """Return what a set operation returns; UNION BY NAME becomes a UNION by position."""
    if left.is_batched != right.is_batched:
        refuse(query, "has one side that reads tables with batches and one side that does not")
    if not query.args.get("by_name"):
        return _Query(left.names, left.is_batched)
    if left.names is None or right.names is None:
        refuse(query, "is BY NAME, but the names of the columns are not known")
    names = [*dict.fromkeys([*left.names, *right.names])]
    for side, columns in (("this", left.names), ("expression", right.names)):
        selected: list[exp.Expr] = [
            exp.column(name, quoted=True)
            if name in columns
            else exp.alias_(exp.null(), name, quoted=True)
            for name in names
        ]
        if left.is_batched:
            selected.append(exp.column(BATCH))
        inner = query.args[side].unnest()
        query.set(side, exp.select(*selected).from_(exp.Subquery(this=inner, alias="side")))
    query.set("by_name", None)
    return _Query(names, left.is_batched)


def _output_names(query: exp.Select, sources: Mapping[str, _Query]) -> Iterator[str | None]:
    """Yield the names of a query's columns; None stands for one or more that are not known."""
    for item in query.selects:
        if not item.is_star:
            yield item.alias_or_name or None
            continue
        star = item if isinstance(item, exp.Star) else item.this
        excluded = {name.name for name in star.args.get("except_") or ()}
        aliases = [item.table] if isinstance(item, exp.Column) else _shown(query)
        for source in map(sources.__getitem__, aliases):
            if source.names is None:
                yield None
            else:
                yield from (name for name in source.names if name not in excluded)


def _batch_of(query: exp.Select, sources: Mapping[str, _Query]) -> exp.Expr | None:
    """Return the expression of BATCH of a SELECT, None if there is none; join within batches."""
    if query.args.get("from_") is None:
        return None
    first = query.args["from_"].this.alias_or_name
    batch: exp.Expr | None = _column(first) if sources[first].is_batched else None
    joins = query.args.get("joins") or []
    if not all([first, *(join.this.alias_or_name for join in joins)]) and joins:
        refuse(query, "joins a subquery without an alias")
    for join in joins:
        alias = join.this.alias_or_name
        is_batched = sources[alias].is_batched
        keeps_left, keeps_right = join.side in {"LEFT", "FULL"}, join.side in {"RIGHT", "FULL"}
        is_filter = join.kind in {"SEMI", "ANTI"}
        if (keeps_left or is_filter) and is_batched and batch is None:
            refuse(join, "keeps rows without a batch")
        if keeps_right and batch is not None and not is_batched:
            refuse(join, "keeps rows without a batch")
        if not is_batched:
            continue
        if batch is not None:
            _join_within_batch(join, batch, alias, joins)
        if batch is None or join.side == "RIGHT":
            batch = _column(alias)
        elif join.side == "FULL":
            batch = exp.func("coalesce", batch, _column(alias))
    return batch


def _column(table: str) -> exp.Column:
    return exp.column(BATCH, table=exp.to_identifier(table, quoted=True) if table else None)


def _join_within_batch(join: exp.Join, batch: exp.Expr, alias: str, joins: list[exp.Join]) -> None:
    if using := join.args.get("using"):
        if not isinstance(batch, exp.Column):
            refuse(join, "follows a FULL JOIN; write ON instead of USING")
        join.set("using", [*using, exp.to_identifier(BATCH)])
        return
    is_comma = not (join.side or join.kind or join.args.get("on"))
    if is_comma and any(other.side in {"RIGHT", "FULL"} for other in joins):
        refuse(join, "is joined by a comma; write CROSS JOIN")
    if join.kind == "CROSS":
        join.set("kind", None)
    join.on(exp.EQ(this=batch.copy(), expression=_column(alias)), copy=False)


def _group_by_batch(scope: Scope, query: exp.Select, batch: exp.Expr) -> None:
    """Keep the groups and windows of a SELECT within a batch."""
    group = query.args.get("group")
    for call in scope.find_all(exp.AggFunc):
        if group is None and not isinstance(call.find_ancestor(exp.Window, exp.Select), exp.Window):
            refuse(call, "is an aggregate without GROUP BY, which needs a row for empty batches")
    if group is not None and not group.args.get("all"):
        group.append("expressions", batch.copy())
    for window in scope.find_all(exp.Window):
        if not window.args.get("alias"):
            window.set("partition_by", [*(window.args.get("partition_by") or ()), batch.copy()])


def _return_batch(query: exp.Select, sources: Mapping[str, _Query], batch: exp.Expr) -> None:
    """Return BATCH as the last column, and only there."""
    items = [part for item in query.selects for part in _without_batch(item, query, sources)]
    query.set("expressions", [*items, exp.alias_(batch.copy(), BATCH)])


def _without_batch(
    item: exp.Expr, query: exp.Select, sources: Mapping[str, _Query]
) -> Iterator[exp.Expr]:
    """Yield what replaces an item of a SELECT: a star must not return BATCH."""
    if not item.is_star:
        yield item
        return
    if isinstance(item, exp.Column):
        excluded, aliases = item.this.args.get("except_"), [item.table]
    else:
        excluded, aliases = item.args.get("except_"), _shown(query)
    if len(aliases) > 1 and (
        excluded or any(join.args.get("using") for join in query.args["joins"])
    ):
        refuse(query, "selects * of tables joined by USING, or without some columns")
    for alias in aliases:
        names = [*(excluded or ())]
        if sources[alias].is_batched:
            names.append(exp.to_identifier(BATCH))
        star = exp.Star(except_=names)
        qualify = alias and (len(aliases) > 1 or isinstance(item, exp.Column))
        yield exp.Column(this=star, table=exp.to_identifier(alias)) if qualify else star


def _shown(query: exp.Select) -> list[str]:
    """Return the aliases of the relations whose columns `*` stands for."""
    joins = [join for join in query.args.get("joins") or () if join.kind not in {"SEMI", "ANTI"}]
    return [one.this.alias_or_name for one in (query.args["from_"], *joins)]


def _restrict(subquery: Scope, batch: exp.Expr | None, outer: exp.Expr | None) -> None:
    """Restrict a subquery of EXISTS or IN to the batch of the row that it is evaluated for."""
    query = subquery.expression
    parent = query.parent
    while isinstance(parent, exp.Subquery):
        parent = parent.parent
    if not (isinstance(parent, exp.In | exp.Exists) and isinstance(query, exp.Select) and batch):
        refuse(query, "is a subquery of a kind that can't be restricted to a batch")
    if outer is None:
        refuse(query, "reads tables with batches in a query without them")
    outer_tables = {column.table for column in outer.find_all(exp.Column)}
    if outer_tables & {"", *sources_of(subquery)}:
        refuse(query, "needs an alias in the outer query that the subquery does not use")
    query.set("expressions", query.expressions[:-1])
    query.where(exp.EQ(this=batch.copy(), expression=outer.copy()), copy=False)
