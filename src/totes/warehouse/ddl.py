"""The DDL of a declared star, and what an existing warehouse lacks of it.

A warehouse is only ever added to: tables, nullable columns, indexes, views, functions. Comments are
set when an object is created, so that those which users wrote since then are kept.
Whatever else differs from the declaration is a `Mismatch`, which a person must resolve.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import LiteralString

from psycopg import sql

from totes.star.contract import StarTable

VALID_FROM = "When the platform first saw this version in the source."
VALID_TO = (
    "When it stopped being true: the next version's valid_from, or the moment the row was seen "
    "deleted; NULL while it is true."
)
MOMENT = "timestamp with time zone"


@dataclass(frozen=True)
class WarehouseColumn:
    """A column as the declaration wants it, or as the warehouse's catalogue has it."""

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
    """A table as the catalogue has it: columns in their order, and its primary key."""

    columns: dict[str, WarehouseColumn]
    key: tuple[str, ...]


@dataclass(frozen=True)
class Addition:
    """Something the warehouse lacks: its name, and the statements that add it."""

    what: str
    statements: tuple[sql.Composed, ...]

    @property
    def is_loaded(self) -> bool:
        """Whether loads write to it: a table or a column, and no index, view or function."""
        return self.what.startswith(("table ", "column "))

    @property
    def name(self) -> str:
        """The last word of `what`."""
        return self.what.rpartition(" ")[2]


@dataclass(frozen=True)
class Mismatch:
    """Something that the warehouse has in another way than declared."""

    found: str
    expected: str


def compare(
    star: StarTable, table: WarehouseTable | None, names: frozenset[str], reader: str
) -> Iterator[Addition | Mismatch]:
    """What the warehouse lacks of a star table, in the order to add it, and where it differs.

    `table` is what the warehouse has of this name, `names` are those of its indexes, views and
    functions. `reader` is the role that may read everything.
    """
    declared = {column.name: column for column in warehouse_columns(star)}
    if table is None:
        parts = [
            *_create(star, declared.values(), reader),
            *indexes(star).values(),
            *chain.from_iterable(
                view.statements for view in _derived(star, declared.values(), reader)
            ),
        ]
        yield Addition(f"table {star.name}", tuple(parts))
        return
    yield from _compare_columns(star, declared, table)
    for name, definition in indexes(star).items():
        if name not in names:
            yield Addition(f"index {name}", (definition,))
    # A view that exists can only get further columns at its end, as a table does.
    in_order = dict.fromkeys(name for name in (*table.columns, *declared) if name in declared)
    grown = not declared.keys() <= table.columns.keys()
    for addition in _derived(star, [declared[name] for name in in_order], reader):
        if grown or addition.name not in names:
            yield addition


def _compare_columns(
    star: StarTable, declared: Mapping[str, WarehouseColumn], table: WarehouseTable
) -> Iterator[Addition | Mismatch]:
    if table.key != primary_key(star):
        yield Mismatch(
            *(f"PRIMARY KEY ({', '.join(key)})" for key in (table.key, primary_key(star)))
        )
    for name, want in declared.items():
        have = table.columns.get(name)
        if have is None and want.nullable:
            yield Addition(f"column {star.name}.{name}", tuple(_add_column(star, want)))
        elif have != want:
            yield Mismatch(str(have or f"no column {name}"), str(want))


def warehouse_columns(star: StarTable) -> Iterator[WarehouseColumn]:
    """All columns of a star table in the warehouse, those that the platform adds among them."""
    if star.surrogate:
        name, comment = star.surrogate
        yield WarehouseColumn(name, "integer", nullable=False, comment=comment)
    for column in star.columns:
        yield WarehouseColumn(
            column.name,
            column.type.postgres,
            column.nullable,
            column.references,
            comment=column.comment,
        )
    if star.surrogate:
        yield WarehouseColumn("valid_from", MOMENT, nullable=False, comment=VALID_FROM)
        yield WarehouseColumn("valid_to", MOMENT, nullable=True, comment=VALID_TO)


def primary_key(star: StarTable) -> tuple[str, ...]:
    """The primary key's columns in the warehouse: a fact's surrogate, a dimension's own key."""
    return (star.surrogate.name,) if star.surrogate else star.key_names


def indexes(star: StarTable) -> dict[str, sql.Composed]:
    """CREATE INDEX statements by the index's name."""
    found: dict[str, sql.Composed] = {}
    if star.surrogate:
        keys = _identifiers(star.key_names)
        for suffix, definition in (
            ("version", sql.SQL("({}, valid_from)").format(keys)),
            ("current", sql.SQL("({}) WHERE valid_to IS NULL").format(keys)),
        ):
            name = f"{star.name}_{suffix}"
            found[name] = _index("CREATE UNIQUE INDEX", name, star, definition)
    for name, text in star.indexes:
        found[name] = _index("CREATE INDEX", name, star, _trusted(text))
    return found


def _index(
    create: LiteralString, name: str, star: StarTable, definition: sql.Composable
) -> sql.Composed:
    return sql.SQL("{} {} ON {} {}").format(
        sql.SQL(create), sql.Identifier(name), sql.Identifier(star.name), definition
    )


def _create(
    star: StarTable, columns: Collection[WarehouseColumn], reader: str
) -> Iterator[sql.Composed]:
    """CREATE TABLE with its key and references, and who may read it."""
    lines = [_definition(star, column) for column in columns]
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
        sql.Identifier(star.name), _definition(star, column)
    )
    yield _column_comment(star.name, column)


def _definition(star: StarTable, column: WarehouseColumn) -> sql.Composed:
    surrogate = star.surrogate is not None and column.name == star.surrogate.name
    return sql.SQL("{} {}{}{}").format(
        sql.Identifier(column.name),
        sql.SQL("serial") if surrogate else _trusted(column.type),
        sql.SQL("" if column.nullable else " NOT NULL"),
        sql.SQL(" REFERENCES {}").format(sql.Identifier(column.reference))
        if column.reference
        else sql.SQL(""),
    )


def _derived(
    star: StarTable, columns: Iterable[WarehouseColumn], reader: str
) -> Iterator[Addition]:
    """A fact's views and function, with the columns of the table in their order there."""
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
    """SQL out of the declaration, which whoever runs the program has written."""
    return sql.SQL(text)
