"""Find the tables and columns that a model reads, by parsing its SQL with SQLGlot."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from totes.errors import ModelError
from totes.lake.line import AT

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.optimizer.scope import Scope

CHANGED = "_changed"
"""The flag column that every relation has in addition to the source table's columns."""

ISO_CURRENCY = "iso_currency"
"""A supplied relation: `code` and `name` of the currencies of ISO 4217."""

CALENDAR = "calendar"
"""A supplied relation: every `day` that the contract accepts, as DATE."""

SUPPLIED = frozenset({ISO_CURRENCY, CALENDAR})
"""Relations that models may read and that are no source tables."""


class RowIdentity(BaseModel):
    """The source table and columns that a model selects unaltered as its natural key."""

    model_config = ConfigDict(frozen=True)

    table: str
    columns: tuple[str, ...]


class Lineage(BaseModel):
    """The tables and columns that a model reads.

    `sources` are columns by source table, `stars` are star tables, `supplied` are members of
    SUPPLIED, `joins` are source tables that are joined with other source tables. `key` is None if
    the natural key is computed.
    `selects_at` is true if the model selects `_at` and so gets every version of a row.
    """

    model_config = ConfigDict(frozen=True)

    sources: dict[str, tuple[str, ...]]
    stars: tuple[str, ...]
    supplied: tuple[str, ...]
    joins: tuple[str, ...]
    key: RowIdentity | None
    selects_at: bool = False


def find_lineage(model: str, sql: str, *, key: Sequence[str], stars: Collection[str]) -> Lineage:
    """Return the tables and columns that a model's SQL reads.

    `key` are the columns of its star table's natural key, `stars` the names of all star tables.
    Raises ModelError if the SQL can't be parsed or is ambiguous, or reads `_at` in another way than
    a fact can.
    """
    # Importing SQLGlot takes most of a second; lineage.json avoids it for the packaged models.
    from sqlglot import parse_one  # noqa: PLC0415
    from sqlglot.errors import SqlglotError  # noqa: PLC0415
    from sqlglot.optimizer.scope import traverse_scope  # noqa: PLC0415

    try:
        scopes = traverse_scope(parse_one(sql, dialect="duckdb"))
    except SqlglotError as error:
        raise ModelError(f"Model {model} can't be parsed: {error}.") from error
    if not scopes:
        raise ModelError(f"Model {model} is not a SELECT.")
    reads: dict[str, set[str]] = {}
    joins: set[str] = set()
    for scope in scopes:
        tables = _tables_by_alias(scope)
        for name in tables.values():
            reads.setdefault(name, set())
        if len(joined := set(tables.values()) - SUPPLIED - set(stars)) > 1:
            joins |= joined
        if tables and scope.expression.is_star:
            raise ModelError(f"Model {model} selects * from a table: name the columns it needs.")
        for column in scope.columns:
            if table := tables.get(column.table or _only_source(scope, model)):
                reads[table].add(column.name)
    sources = {
        name: tuple(sorted(columns - {CHANGED, AT}))
        for name, columns in sorted(reads.items())
        if name not in stars and name not in SUPPLIED
    }
    reads_at = any(AT in columns for columns in reads.values())
    if reads_at and (len(reads.keys() - SUPPLIED) > 1 or not _selects_at(scopes[-1], model)):
        raise ModelError(
            f"Model {model} can't read {AT} like this: only a model that reads one source table "
            f"can, and it must select {AT} unaltered under that name."
        )
    origins = [_find_origin(scopes[-1], column, model) for column in key]
    tables_of_key = {origin[0] for origin in origins if origin}
    is_unaltered = None not in origins and len(tables_of_key) == 1
    return Lineage(
        sources=sources,
        stars=tuple(sorted(reads.keys() & set(stars))),
        supplied=tuple(sorted(reads.keys() & SUPPLIED)),
        joins=tuple(sorted(joins)),
        key=RowIdentity(
            table=tables_of_key.pop(), columns=tuple(origin[1] for origin in origins if origin)
        )
        if is_unaltered
        else None,
        selects_at=reads_at,
    )


def _selects_at(scope: "Scope", model: str) -> bool:
    origin = _find_origin(scope, AT, model)
    return origin is not None and origin[1] == AT


def _tables_by_alias(scope: "Scope") -> dict[str, str]:
    """Return the tables in FROM and JOIN of this scope by alias."""
    from sqlglot import exp  # noqa: PLC0415

    return {
        alias: source.name
        for alias, source in sources_of(scope).items()
        if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier)
    }


def sources_of(scope: "Scope") -> dict[str, "exp.Expr | Scope"]:
    """Return what this scope has in FROM and JOIN by alias, also in SEMI JOIN and ANTI JOIN."""
    query = scope.expression
    if not (clause := query.args.get("from_")):
        return {}
    aliases = [one.this.alias_or_name for one in (clause, *(query.args.get("joins") or ()))]
    return {alias: scope.sources[alias] for alias in aliases if alias in scope.sources}


def _only_source(scope: "Scope", model: str) -> str:
    """Return the alias that an unqualified column belongs to."""
    if len(scope.selected_sources) > 1:
        raise ModelError(f"Model {model} joins tables: write every column as table.column.")
    return next(iter(scope.selected_sources), "")


def _find_origin(scope: "Scope", name: str, model: str) -> tuple[str, str] | None:
    """Return the source table and column that an output column selects unaltered, or None."""
    from sqlglot import exp  # noqa: PLC0415
    from sqlglot.optimizer.scope import Scope  # noqa: PLC0415

    query = scope.expression
    if not isinstance(query, exp.Select) or query.args.get("distinct") or query.args.get("group"):
        return None  # output rows do not correspond to rows of one table
    selected = {item.alias_or_name: item.unalias() for item in query.selects}
    column = selected.get(name)
    if not isinstance(column, exp.Column):
        return None
    alias = column.table or _only_source(scope, model)
    _, source = scope.selected_sources[alias]
    if isinstance(source, Scope):
        return _find_origin(source, column.name, model)
    return (
        (_tables_by_alias(scope)[alias], column.name) if alias in _tables_by_alias(scope) else None
    )


def column_sources(sql: str, column: str, stars: Collection[str]) -> tuple[str, ...]:
    """Return the source columns that a model's output column is computed from: `table.column`."""
    import sqlglot.lineage  # noqa: PLC0415
    from sqlglot import exp  # noqa: PLC0415

    sources = set()
    for step in sqlglot.lineage.lineage(column, sql, {}, dialect="duckdb").walk():
        if step.downstream or not isinstance(step.source, exp.Table):
            continue
        table = step.source.name
        if table and table not in stars and table not in SUPPLIED:
            sources.add(f"{table}.{exp.to_column(step.name).name}")
    return tuple(sorted(sources))


def returns_each_row(sql: str) -> bool:
    """Return whether a query has exactly one row for each changed row of the one table it reads.

    False if that is not certain.
    """
    from sqlglot import exp, parse_one  # noqa: PLC0415
    from sqlglot.optimizer.scope import traverse_scope  # noqa: PLC0415

    keeping = {"with_", "expressions", "from_", "where", "order"}
    filters = 0
    for scope in traverse_scope(parse_one(sql, dialect="duckdb")):
        query = scope.expression
        if not isinstance(query, exp.Select) or len(scope.selected_sources) != 1:
            return False
        if any(query.args[clause] for clause in query.args.keys() - keeping):
            return False
        if any(scope.find_all(exp.AggFunc, exp.UDTF)) or scope.subquery_scopes:
            return False
        if where := query.args.get("where"):
            if not (isinstance(where.this, exp.Column) and where.this.name == CHANGED):
                return False
            filters += 1
    return filters > 0
