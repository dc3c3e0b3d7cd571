"""The DDL of a declared star, and the comparison of a warehouse with the declaration.

Upgrades only add objects: tables, nullable columns, indexes, views, functions. Comments are set
when an object is created, so comments that users change later are kept.
Any other difference from the declaration is a `Mismatch`, which a person must resolve.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import LiteralString

from psycopg import sql

from totes.star.contract import StarTable

VALID_FROM = (
    "Capture time of the first batch that had this version; time of its commit if it was read from "
    "the write-ahead log."
)
VALID_TO = (
    "End of the version: valid_from of the next version, or time of the deletion; NULL in the "
    "current version."
)
TIMESTAMPTZ = "timestamp with time zone"


@dataclass(frozen=True)
class WarehouseColumn:
    """A column, from the declaration or from the warehouse's catalogue."""

    name: str
    type: str
    nullable: bool
    reference: str | None = None
    comment: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        null = "NULL" if self.nullable else "NOT NULL"
        reference = f" REFERENCES {self.reference}" if self.reference else ""
        return f"{self.name} {self.type} {null}{reference}"


@dataclass(frozen=True)
class WarehouseTable:
    """A table from the warehouse's catalogue: its columns in order, and its primary key."""

    columns: dict[str, WarehouseColumn]
    key: tuple[str, ...]


@dataclass(frozen=True)
class Addition:
    """An object that the warehouse lacks: kind and name, and the statements that add it."""

    what: str
    statements: tuple[sql.Composed, ...]

    @property
    def is_loaded(self) -> bool:
        """Whether loads write to it: true for a table or column."""
        return self.what.startswith(("table ", "column "))

    @property
    def name(self) -> str:
        """The last word of `what`."""
        return self.what.rpartition(" ")[2]


@dataclass(frozen=True)
class Mismatch:
    """A difference between warehouse and declaration that an upgrade does not resolve."""

    actual: str
    declared: str


def compare(
    star: StarTable, table: WarehouseTable | None, names: frozenset[str], reader: str
) -> Iterator[Addition | Mismatch]:
    """Yield the differences between the declaration and the warehouse, additions in order.

    `table` is the warehouse's table of this name, `names` are all its indexes, views and functions.
    `reader` is the role that gets SELECT.
    """
    declared = {column.name: column for column in warehouse_columns(star)}
    if table is None:
        parts = [
            *_create_table(star, declared.values(), reader),
            *indexes(star).values(),
            *triggers(star).values(),
            *chain.from_iterable(
                view.statements for view in _views_and_function(star, declared.values(), reader)
            ),
        ]
        yield Addition(f"table {star.name}", tuple(parts))
        return
    yield from _compare_columns(star, declared, table)
    for name, definition in indexes(star).items():
        if name not in names:
            yield Addition(f"index {name}", (definition,))
    for name, definition in triggers(star).items():
        if name not in names:
            yield Addition(f"trigger {name}", (definition,))
    # As in a table, columns can be added to an existing view only at its end.
    in_order = dict.fromkeys(name for name in (*table.columns, *declared) if name in declared)
    has_new_columns = not declared.keys() <= table.columns.keys()
    for addition in _views_and_function(star, [declared[name] for name in in_order], reader):
        if has_new_columns or addition.name not in names:
            yield addition


def _compare_columns(
    star: StarTable, declared: Mapping[str, WarehouseColumn], table: WarehouseTable
) -> Iterator[Addition | Mismatch]:
    if table.key != primary_key(star):
        yield Mismatch(
            *(f"PRIMARY KEY ({', '.join(key)})" for key in (table.key, primary_key(star)))
        )
    for name, column in declared.items():
        actual = table.columns.get(name)
        if actual is None and column.nullable:
            yield Addition(f"column {star.name}.{name}", tuple(_add_column(star, column)))
        elif actual != column:
            yield Mismatch(str(actual or f"no column {name}"), str(column))


def warehouse_columns(star: StarTable) -> Iterator[WarehouseColumn]:
    """Yield all columns of a star table in the warehouse, including those the platform adds."""
    if star.surrogate:
        name, comment = star.surrogate
        yield WarehouseColumn(name, "bigint", nullable=False, comment=comment)
    for column in star.columns:
        yield WarehouseColumn(
            column.name,
            column.type.postgres,
            column.nullable,
            column.references,
            comment=column.comment,
        )
    if star.surrogate:
        yield WarehouseColumn("valid_from", TIMESTAMPTZ, nullable=False, comment=VALID_FROM)
        yield WarehouseColumn("valid_to", TIMESTAMPTZ, nullable=True, comment=VALID_TO)


def primary_key(star: StarTable) -> tuple[str, ...]:
    """Return the primary key in the warehouse: a fact's surrogate, or a dimension's natural key."""
    return (star.surrogate.name,) if star.surrogate else star.key_names


def indexes(star: StarTable) -> dict[str, sql.Composed]:
    """Return CREATE INDEX statements by name of the index."""
    statements: dict[str, sql.Composed] = {}
    if star.surrogate:
        keys = _identifiers(star.key_names)
        for suffix, definition in (
            ("version", sql.SQL("({}, valid_from)").format(keys)),
            ("current", sql.SQL("({}) WHERE valid_to IS NULL").format(keys)),
        ):
            name = f"{star.name}_{suffix}"
            statements[name] = _index("CREATE UNIQUE INDEX", name, star, definition)
    for name, text in star.indexes:
        statements[name] = _index("CREATE INDEX", name, star, _trusted(text))
    return statements


def _index(
    create: LiteralString, name: str, star: StarTable, definition: sql.Composable
) -> sql.Composed:
    return sql.SQL("{} {} ON {} {}").format(
        sql.SQL(create), sql.Identifier(name), sql.Identifier(star.name), definition
    )


def triggers(star: StarTable) -> dict[str, sql.Composed]:
    """Return CREATE TRIGGER statements by `table.trigger`: triggers record keys of changed rows."""
    return {
        f"{star.name}.totes_{event.lower()}": sql.SQL(
            "CREATE OR REPLACE TRIGGER {trigger} AFTER {event} ON {table} REFERENCING {rows}"
            " FOR EACH STATEMENT EXECUTE FUNCTION totes.record_changes({key});"
            # a loader may set session_replication_role = replica, which disables other triggers
            " ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}"
        ).format(
            trigger=sql.Identifier(f"totes_{event.lower()}"),
            event=sql.SQL(event),
            table=sql.Identifier(star.name),
            rows=sql.SQL(rows),
            key=key_text(primary_key(star)).as_string(),
        )
        for event, rows in _CHANGED_ROWS.items()
    }


_CHANGED_ROWS: Mapping[LiteralString, LiteralString] = {
    "INSERT": "NEW TABLE AS changed",
    "UPDATE": "OLD TABLE AS previous NEW TABLE AS changed",
    "DELETE": "OLD TABLE AS changed",
}


def key_text(columns: Iterable[str], relation: str | None = None) -> sql.Composed:
    """Return SQL for a key as the bookkeeping stores it: text; a JSON array if it is composite."""
    qualifier = (relation,) if relation else ()
    parts = [sql.SQL("{}::text").format(sql.Identifier(*qualifier, name)) for name in columns]
    if len(parts) == 1:
        return sql.Composed(parts)
    return sql.SQL("jsonb_build_array({})::text").format(sql.SQL(", ").join(parts))


def _create_table(
    star: StarTable, columns: Collection[WarehouseColumn], reader: str
) -> Iterator[sql.Composed]:
    """Yield CREATE TABLE with keys, and its comments and grant."""
    lines = [_column_definition(star, column) for column in columns]
    lines.append(sql.SQL("PRIMARY KEY ({})").format(_identifiers(primary_key(star))))
    yield sql.SQL("CREATE TABLE {} ({})").format(
        sql.Identifier(star.name), sql.SQL(", ").join(lines)
    )
    yield _comment("TABLE", sql.Identifier(star.name), star.comment)
    for column in columns:
        yield _column_comment(star.name, column)
    yield _grant(star.name, reader)


def _add_column(star: StarTable, column: WarehouseColumn) -> Iterator[sql.Composed]:
    yield sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(
        sql.Identifier(star.name), _column_definition(star, column)
    )
    yield _column_comment(star.name, column)


def _column_definition(star: StarTable, column: WarehouseColumn) -> sql.Composed:
    surrogate = star.surrogate is not None and column.name == star.surrogate.name
    return sql.SQL("{} {}{}{}").format(
        sql.Identifier(column.name),
        sql.SQL("bigserial") if surrogate else _trusted(column.type),
        sql.SQL("" if column.nullable else " NOT NULL"),
        sql.SQL(" REFERENCES {}").format(sql.Identifier(column.reference))
        if column.reference
        else sql.SQL(""),
    )


def _views_and_function(
    star: StarTable, columns: Iterable[WarehouseColumn], reader: str
) -> Iterator[Addition]:
    """Yield a fact's views and function; `columns` are in the order of the table."""
    if star.current_view is None or star.as_of_function is None:
        return
    shown = [column for column in columns if column.name not in {"valid_from", "valid_to"}]
    parts = {
        "columns": _identifiers(column.name for column in shown),
        "fact": sql.Identifier(star.name),
        "current": sql.Identifier(star.current_view.name),
        "function": sql.Identifier(star.as_of_function.name),
    }
    views = [(star.current_view, sql.SQL(" WHERE valid_to IS NULL"))]
    if star.all_view:
        views.append((star.all_view, sql.SQL("")))
    for view, condition in views:
        name = sql.Identifier(view.name)
        yield Addition(
            f"view {view.name}",
            (
                sql.SQL("CREATE OR REPLACE VIEW {name} AS SELECT {columns} FROM {fact}").format(
                    name=name, **parts
                )
                + condition,
                _comment("VIEW", name, view.comment),
                *(_column_comment(view.name, column) for column in shown),
                _grant(view.name, reader),
            ),
        )
    yield Addition(
        f"function {star.as_of_function.name}",
        (
            sql.SQL(
                "CREATE OR REPLACE FUNCTION {function}(moment timestamptz) RETURNS SETOF {current}"
                " LANGUAGE sql STABLE PARALLEL SAFE BEGIN ATOMIC SELECT {columns} FROM {fact}"
                " WHERE valid_from <= moment AND (valid_to IS NULL OR valid_to > moment); END"
            ).format(**parts),
            _comment(
                "FUNCTION",
                sql.SQL("{}(timestamptz)").format(parts["function"]),
                star.as_of_function.comment,
            ),
        ),
    )


def _column_comment(relation: str, column: WarehouseColumn) -> sql.Composed:
    return _comment("COLUMN", sql.Identifier(relation, column.name), column.comment)


def _comment(kind: LiteralString, name: sql.Composable, text: str | None) -> sql.Composed:
    return sql.SQL("COMMENT ON {} {} IS {}").format(sql.SQL(kind), name, text)


def _grant(relation: str, reader: str) -> sql.Composed:
    return sql.SQL("GRANT SELECT ON {} TO {}").format(
        sql.Identifier(relation), sql.Identifier(reader)
    )


def _identifiers(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _trusted(text: str) -> sql.SQL:
    """Return SQL from the declaration, which is as trusted as the program itself."""
    return sql.SQL(text)
