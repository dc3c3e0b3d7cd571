"""What PostgreSQL's errors mean for source and warehouse alike: one table, by SQLSTATE.

What is not in the table nobody foresaw. A connection that fails has no SQLSTATE: there libpq's or
the server's words decide.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import psycopg


@dataclass(frozen=True)
class Meaning:
    """`advice` is what a person does about the error; `passes`: it may go away by itself."""

    advice: str
    passes: bool = False


_RETRY = "try again"
_ALTERED = "somebody altered or dropped what the platform needs there: restore it"
_EXISTS = "drop or rename what has that name, or use a database or schema without it"
_ADDED = "drop that constraint or trigger if it was added to the platform's tables, or mend the row"
_POOLER = "connect directly, or through a pooler in session mode"
_SHORT = "raise that timeout for this role, database or server"
_UTF8 = "use a database with ENCODING 'UTF8', which holds every character"
_DAMAGED = "the server's files are damaged: check its disk, and restore them from a backup"

MEANINGS: Mapping[str, Meaning] = MappingProxyType(
    {
        "08": Meaning("check the network, the server, and a pooler before it", passes=True),
        "0A": Meaning("the server doesn't support this for what is there: change that"),
        "22021": Meaning(_UTF8),
        "22P05": Meaning(_UTF8),
        "23": Meaning(_ADDED),
        "25006": Meaning(
            "it is read-only or a standby: name the primary server, or set "
            "default_transaction_read_only = off"
        ),
        "25P03": Meaning(_SHORT),
        "25P04": Meaning(_SHORT),
        "26000": Meaning(_POOLER),
        "28": Meaning("check user and password"),
        "2BP01": Meaning("change or drop the object that depends on it"),
        "3D000": Meaning("create the database, or correct its name"),
        "3F000": Meaning("create the schema, or correct search_path"),
        "40": Meaning(_RETRY, passes=True),
        "42501": Meaning("`totes check` says which role or GRANT helps"),
        "42703": Meaning(_ALTERED),
        "42704": Meaning(_ALTERED),
        "42804": Meaning(_ALTERED),
        "42809": Meaning(_ALTERED),
        "42883": Meaning(_ALTERED),
        "42P01": Meaning(_ALTERED),
        "42P05": Meaning(_POOLER),
        "42P06": Meaning(_EXISTS),
        "42P07": Meaning(_EXISTS),
        "42710": Meaning(_EXISTS),
        "42723": Meaning(_EXISTS),
        "53100": Meaning("make room on the server's disk"),
        "53200": Meaning("give the server more memory, or raise max_locks_per_transaction"),
        "53300": Meaning("end some sessions, or raise max_connections", passes=True),
        "53400": Meaning("raise the limit that is named, such as temp_file_limit"),
        "54": Meaning("the value or object is beyond what PostgreSQL can hold: shorten it"),
        "55000": Meaning("end what keeps the object from this, such as a publication"),
        "55006": Meaning("end what uses the object", passes=True),
        "55P03": Meaning(
            "another session holds the tables (a schema change, a replay): try again later",
            passes=True,
        ),
        "57014": Meaning("somebody or a timeout cancelled it: run it again"),
        "57P01": Meaning(_RETRY, passes=True),
        "57P02": Meaning(_RETRY, passes=True),
        "57P03": Meaning(_RETRY, passes=True),
        "57P04": Meaning("create the database, or correct its name"),
        "57P05": Meaning(_SHORT),
        "58": Meaning("look into the server's log: its disk or files fail"),
        "XX001": Meaning(_DAMAGED),
        "XX002": Meaning("REINDEX that index, and check the server's disk"),
    }
)
"""By SQLSTATE, or by its class alone: the first two characters."""

_FUNCTION = re.compile(r"^PL/\w+ function .*", re.MULTILINE)
"""How an error's context names a function: not the platform's, which are in SQL."""

_HIDDEN = Meaning("rows would be hidden from the platform: give its role BYPASSRLS")

_RAISED = Meaning("mend or drop that function or its trigger")

_UNREACHED = (
    ("password authentication failed|no password supplied", "check user and password"),
    ("CONNECT privilege|permission denied for database", "GRANT CONNECT on it to this user"),
    ("database .* does not exist", "create the database, or correct its name"),
    ("role .* does not exist", "create the role, or correct the user's name"),
    ("not permitted to log in", "ALTER ROLE … LOGIN, or name another user"),
    ("not currently accepting connections", "ALTER DATABASE … ALLOW_CONNECTIONS true"),
    ("no pg_hba.conf entry", "allow this user, database and address in pg_hba.conf"),
    (
        "too many (clients|connections)|remaining connection slots",
        "end some sessions, or raise the limit of the server, database or role",
    ),
    ("invalid value for parameter", "correct it in the DSN or the PG… variables"),
    ("unsupported startup parameter", "leave it out of the DSN and the PG… variables"),
    ("could not translate host name|resolve", "check the host's name"),
    ("refused|timeout|timed out|No such file|unreachable", "check host and port, and start it"),
    ("connection is (lost|closed)|server closed", "check that the server runs, then try again"),
)
"""What a person does about a connection that failed, by what the server or libpq said."""

_PASSING_WORDS = re.compile(
    "refused|No such file|timeout|timed out|unreachable|No route to host|reset by peer|Broken pipe"
    "|Temporary failure in name resolution|SSL SYSCALL error|SSL connection has been closed"
    "|server closed|connection is (lost|closed)|consuming input|sending (query|copy)"
    "|flushing failed|starting up|shutting down|not yet accepting|in recovery mode"
    "|terminating connection|too many (clients|connections)|remaining connection slots"
)
"""How libpq says that it passes: before a session is open, or once it is gone."""

_WHOLE_ROW = ("23502", "23514")
"""Whose detail quotes a whole row: people's data have no business in a log."""


def meaning(error: psycopg.Error) -> Meaning | None:
    """What the table says of an error; None where nobody foresaw it."""
    if _function(error):
        return _RAISED
    if error.sqlstate == "42501" and "row-level security" in str(error):
        return _HIDDEN
    if error.sqlstate is not None:
        return MEANINGS.get(error.sqlstate) or MEANINGS.get(error.sqlstate[:2])
    if not isinstance(error, psycopg.OperationalError):
        return None
    said = str(error)
    advice = next((advice for words, advice in _UNREACHED if re.search(words, said)), "")
    return Meaning(advice, passes=bool(_PASSING_WORDS.search(said)))


def passes(error: psycopg.Error) -> bool:
    """Whether an error is of the kind that goes away by itself."""
    known = meaning(error)
    return known is not None and known.passes


def line(error: psycopg.Error) -> str:
    """What the server or libpq said, with table and function, in one line without its end."""
    said = error.diag.message_primary or str(error) or type(error).__name__
    said = re.sub(r"\n\t.*", "", said)  # libpq's guesses at the cause
    said = re.sub(r"\n(DETAIL|HINT):.*", "", said)
    said = re.sub(r"^.*(FATAL|failed|error):\s+", "", said.strip().splitlines()[-1]).rstrip(". ")
    table, detail, function = error.diag.table_name, error.diag.message_detail, _function(error)
    if table and table not in said:
        said = f"{said} in table {table}"
    if detail and error.sqlstate not in _WHOLE_ROW:
        said = f"{said} ({' '.join(detail.split()).rstrip('.')})"
    return f"{said}, raised by {function}" if function else said


def _function(error: psycopg.Error) -> str | None:
    found = _FUNCTION.search(error.diag.context or "")
    return found and found[0]


def told(error: psycopg.Error) -> str:
    """What was said, and what a person does about it."""
    known = meaning(error)
    return f"{line(error)}: {known.advice}" if known and known.advice else line(error)
