"""The lines of ingestion files: a JSON object per row, which begins with these fields.

`_op` is `upsert`, with all columns of the row, or `delete`, with the columns of the key. `_xid` is
the 64-bit id of the transaction that wrote the row, as a string; null where there is none.

The files of a table that was read from the log (`of_log` in the manifest) have every version of a
row, and two more fields. `_at` is the moment of the transaction's commit, in UTC with six fraction
digits, and different for each transaction. `_seq` is an integer that orders the changes of one
transaction.

Writers print UPSERT or DELETE, then `_xid`, `_at` and `_seq`, then the columns, without spaces in
between. Readers count lines by their first bytes, so every line begins like this.

The writers are source/json_sql.py (SQL by which the source prints its rows), `write_deletes` in
source/keys.py, source/log/transactions.py (rows of the write-ahead log) and rates/__init__.py.
"""

from collections.abc import Mapping
from typing import Any

OPERATION = "_op"
XID = "_xid"
AT = "_at"
SEQUENCE = "_seq"

RESERVED_NAMES = frozenset({OPERATION, XID, AT, SEQUENCE})
"""Names that no column of the source may have."""

_UPSERT, _DELETE = "upsert", "delete"

UPSERT = f'{{"{OPERATION}":"{_UPSERT}"'
DELETE = f'{{"{OPERATION}":"{_DELETE}"'
"""The first bytes of a line."""

DELETE_WITHOUT_XID = f'{DELETE},"{XID}":null,'
UPSERT_WITHOUT_XID = f'{UPSERT},"{XID}":null,'
"""The same with `_xid`, up to the first column."""

IS_UPSERT = f"{OPERATION} = '{_UPSERT}'"
IS_DELETE = f"{OPERATION} = '{_DELETE}'"
"""SQL conditions, also on the rows of star tables, whose files have `_op` too."""

AS_UPSERT = f"'{_UPSERT}' as {OPERATION}"
AS_DELETE = f"'{_DELETE}' as {OPERATION}"
"""SQL expressions for the same column."""


def is_delete(line: Mapping[str, object]) -> bool:
    """Whether a line has only the key of a deleted row."""
    return line[OPERATION] == _DELETE


def order_in_log(line: Mapping[str, Any]) -> tuple[str, int]:
    """Return a value that orders the lines of one key; equal for lines that are not of the log."""
    return line.get(AT, ""), line.get(SEQUENCE, 0)


def is_upsert(line: Mapping[str, object]) -> bool:
    """Whether a line has all columns of an inserted or updated row."""
    return line[OPERATION] == _UPSERT
