"""The SQL that may be translated: constructs that have the same result in both engines."""

from collections.abc import Collection, Mapping
from typing import NoReturn

from sqlglot import exp

from totes.errors import ModelError
from totes.lake.line import AT

_MAX_EXCERPT = 80


def refuse(node: exp.Expr, reason: str = "has no tested equivalent in Spark") -> NoReturn:
    """Raise ModelError, which names the construct; `reason` is its predicate."""
    text = node.sql("duckdb", comments=False)
    excerpt = text if len(text) <= _MAX_EXCERPT else f"{text[:_MAX_EXCERPT]}…"
    raise ModelError(
        f"Spark can't run this SQL: {excerpt} ({type(node).__name__}) {reason}. Use SQL that "
        "docs/your-own-database.md lists for both engines, or the engine duckdb."
    )


_CLAUSES: Mapping[type[exp.Expr], frozenset[str]] = {
    exp.Select: frozenset(
        {"with_", "expressions", "distinct", "from_", "joins", "where", "group", "having"}
        | {"windows", "order"}
    ),
    **dict.fromkeys(
        (exp.Union, exp.Except, exp.Intersect),
        frozenset({"with_", "this", "expression", "distinct", "by_name", "order"}),
    ),
    exp.With: frozenset({"expressions"}),
    exp.CTE: frozenset({"this", "alias"}),
    exp.From: frozenset({"this"}),
    exp.Join: frozenset({"this", "on", "using", "side", "kind"}),
    exp.Table: frozenset({"this", "alias"}),
    exp.Subquery: frozenset({"this", "alias", "with_"}),
    exp.TableAlias: frozenset({"this"}),
    exp.Group: frozenset({"expressions", "all"}),
    exp.Distinct: frozenset({"expressions"}),
    exp.Star: frozenset({"except_"}),
    exp.In: frozenset({"this", "expressions", "query"}),
}
"""The clauses of a query, with their parts."""

_PLAIN = (
    *(exp.Alias, exp.Column, exp.Identifier, exp.Where, exp.Having, exp.Order),
    *(exp.Ordered, exp.Window, exp.WindowSpec, exp.Filter, exp.Null, exp.Boolean, exp.Paren),
    *(exp.Tuple, exp.Case, exp.If, exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.LT, exp.LTE),
    *(exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Is, exp.Between, exp.Exists),
    *(exp.Add, exp.Mul, exp.Neg, exp.DPipe, exp.DataType, exp.DataTypeParam, exp.Var),
    *(exp.Coalesce, exp.Nullif, exp.Greatest, exp.Least, exp.ConcatWs, exp.Contains),
    *(exp.StartsWith, exp.EndsWith, exp.Length, exp.StrPosition, exp.Replace, exp.Translate),
    *(exp.Abs, exp.MD5, exp.SHA2, exp.Count, exp.Sum, exp.Min, exp.Max, exp.LogicalAnd),
    *(exp.LogicalOr, exp.RowNumber, exp.Rank, exp.DenseRank, exp.Lag, exp.Lead, exp.JSONKeyValue),
    *(exp.Year, exp.Month, exp.Day, exp.Quarter),
)
"""Constructs that are the same in both engines in every form, or that SQLGlot translates."""


def check(node: exp.Expr, translated: Collection[type[exp.Expr]]) -> None:
    """Raise ModelError unless both engines have the construct, or it is one of `translated`."""
    kind = type(node)
    if allowed := _CLAUSES.get(kind):
        for name in node.args.keys() - allowed:
            if node.args[name]:
                refuse(node, f"has {name.strip('_').upper()}, which is not supported")
    elif kind not in _PLAIN and kind not in translated:
        refuse(node)
    if isinstance(node, exp.Column) and node.name == AT and not _is_selected(node):
        refuse(node, f"may only be selected as {AT}: its text is different in Spark")
    if isinstance(node, exp.Table) and not isinstance(node.this, exp.Identifier):
        refuse(node)
    if isinstance(node, exp.Array) and not is_call(node.parent, "to_json"):
        refuse(node)


def _is_selected(node: exp.Column) -> bool:
    item = node.parent if isinstance(node.parent, exp.Alias) else node
    return (
        isinstance(item.parent, exp.Select)
        and item.arg_key == "expressions"
        and (item.alias_or_name in {AT, "valid_from"})
    )


def check_names(tree: exp.Expr) -> None:
    """Raise ModelError if a name is written in two cases: DuckDB takes them for one name."""
    spelled: dict[str, str] = {}
    for node in tree.find_all(exp.Identifier):
        if (other := spelled.setdefault(node.name.lower(), node.name)) != node.name:
            raise ModelError(
                f"Spark can't run this SQL: {other} and {node.name} are two names in Spark. Write "
                "a name in the case of its definition, or use the engine duckdb."
            )


def is_call(node: exp.Expr | None, name: str) -> bool:
    """Return whether the node is a call of a function that SQLGlot has no class for."""
    return isinstance(node, exp.Anonymous) and node.name.lower() == name
