"""What a model reads, found in its SQL with SQLGlot.

SQLGlot takes most of a second to import, so what was found in the models that ship lies beside
them in `lineage.json`; `python -m totes.star.lineage` writes it again after a model has changed.
"""

from pathlib import Path

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, traverse_scope

from totes.batch import digest
from totes.errors import ModelError
from totes.star.contract import STARS, Star
from totes.star.models import CHANGED, ISO_CURRENCY, LINEAGE, NOTES, Lineage


def find_lineage(star: Star, sql: str) -> Lineage:
    """What the model of `star` reads; ModelError where its SQL can't be understood."""
    try:
        query = parse_one(sql, dialect="duckdb")
        scopes = traverse_scope(query)
    except SqlglotError as error:
        raise ModelError(f"Model {star.name} can't be read: {error}.") from error
    if not scopes:
        raise ModelError(f"Model {star.name} is not a SELECT.")
    reads: dict[str, set[str]] = {}
    joins: set[str] = set()
    for scope in scopes:
        tables = _tables(scope)
        for name in tables.values():
            reads.setdefault(name, set())
        if len(joined := set(tables.values()) - {ISO_CURRENCY} - STARS.keys()) > 1:
            joins |= joined
        if tables and scope.expression.is_star:
            raise ModelError(
                f"Model {star.name} selects * from a table: name the columns it needs."
            )
        for column in scope.columns:
            if table := tables.get(column.table or _only_source(scope, star)):
                reads[table].add(column.name)
    return Lineage(
        reads={name: tuple(sorted(columns - {CHANGED})) for name, columns in sorted(reads.items())},
        joins=tuple(sorted(joins)),
        key=_origin(scopes[-1], star.key.name, star),
    )


def _tables(scope: Scope) -> dict[str, str]:
    """The tables of the scope's own FROM and JOINs, by the names they have there."""
    return {
        alias: source.name
        for alias, (_, source) in scope.selected_sources.items()
        if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier)
    }


def _only_source(scope: Scope, star: Star) -> str:
    """Where an unqualified column comes from."""
    if len(scope.selected_sources) > 1:
        raise ModelError(f"Model {star.name} joins tables: write every column as table.column.")
    return next(iter(scope.selected_sources), "")


def _origin(scope: Scope, name: str, star: Star) -> tuple[str, str] | None:
    """The source table and column that an output column is handed through from, unaltered."""
    if not isinstance(scope.expression, exp.Select):
        return None
    selected = {item.alias_or_name: item.unalias() for item in scope.expression.selects}
    column = selected.get(name)
    if not isinstance(column, exp.Column):
        return None
    alias = column.table or _only_source(scope, star)
    _, source = scope.selected_sources[alias]
    if isinstance(source, Scope):
        return _origin(source, column.name, star)
    return (_tables(scope)[alias], column.name) if alias in _tables(scope) else None


def write_lineage(folder: Path) -> None:
    """Write down what the models in `folder` read, each under the digest of its SQL."""
    found = {}
    for star in STARS.values():
        sql = (folder / f"{star.name}.sql").read_text()
        found[digest(sql.encode())] = find_lineage(star, sql)
    (folder / LINEAGE).write_bytes(NOTES.dump_json(found, indent=1) + b"\n")


if __name__ == "__main__":
    write_lineage(Path(__file__).parent / "models")
