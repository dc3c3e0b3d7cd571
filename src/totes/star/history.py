"""The parts of the statements that place versions in a history: `statements` of this package.

The warehouse executes these statements in PostgreSQL and `totes.lakehouse` in DuckDB, which both
understand them. Each has the relations that they name:

- `staged`: the rows to place: the declared columns, `valid_from`, `valid_to` and `_op`. `valid_to`
  is set for versions from quarantine that have ended.
- `star`: the versions in the table, each with a number, the surrogate key.
- `actions`: what changes: `_action`, surrogate key, natural key, `valid_from` and `valid_to`.
- `quarantine`: rejected and waiting versions, also released ones.

The result depends on the versions only: it does not matter in how many batches, files or steps they
arrive. test_iceberg_history.py compares the histories of warehouse and Iceberg tables.
"""

from collections.abc import Iterable

from psycopg import sql

from totes.star.contract import StarTable


def history_parts(star: StarTable) -> dict[str, object]:
    """Return the parts that name the columns of a star table."""
    columns = [column.name for column in star.columns]
    return {
        "name": star.name,
        "columns": sql.SQL(", ").join(map(sql.Identifier, columns)),
        "key": sql.SQL(", ").join(map(sql.Identifier, star.key_names)),
        "fact_and_first": same_key(star, "f", "first"),
        "fact_and_staged": same_key(star, "f", "s"),
        "later_and_staged": same_key(star, "later", "s"),
        "action_and_staged": same_key(star, "a", "s"),
        "dimension_and_staged": same_key(star, "d", "s"),
        "keys_of_fact": qualified("f", star.key_names),
        "keys_of_staged": qualified("s", star.key_names),
        "columns_of_fact": qualified("f", columns),
        "columns_of_staged": qualified("s", columns),
        "columns_of_dimension": qualified("d", columns),
    }


def same_key(star: StarTable, one: str, other: str) -> sql.Composed:
    """Return SQL that is true if two relations' rows have the same natural key."""
    equal = sql.SQL("{} = {}")
    return sql.SQL(" AND ").join(
        equal.format(sql.Identifier(one, name), sql.Identifier(other, name))
        for name in star.key_names
    )


def qualified(relation: str, columns: Iterable[str]) -> sql.Composed:
    """Return SQL: columns of a relation, with its name."""
    return sql.SQL(", ").join(sql.Identifier(relation, column) for column in columns)
