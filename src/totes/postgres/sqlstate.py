"""What PostgreSQL's errors mean, by SQLSTATE: advice, whether to try again, whether a value is bad.

SQLSTATEs that are not in the table are unexpected, and treated as bugs. A connection that fails has
no SQLSTATE: the text of the message decides.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import psycopg


@dataclass(frozen=True)
class Meaning:
    """`advice` says what to do about the error; `passes` whether trying again may help."""

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
"""How an error's context names a function. It is a user's: the platform's are in SQL."""

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
    ("conversion between UTF8", "use a database whose encoding PostgreSQL can convert to UTF8"),
    ("could not translate host name|resolve", "check the host's name"),
    ("refused|timeout|timed out|No such file|unreachable", "check host and port, and start it"),
    ("connection is (lost|closed)|server closed", "check that the server runs, then try again"),
)
"""Advice about a connection that failed, by the text of the message."""

_PASSING_WORDS = re.compile(
    "refused|No such file|timeout|timed out|unreachable|No route to host|reset by peer|Broken pipe"
    "|Temporary failure in name resolution|SSL SYSCALL error|SSL connection has been closed"
    "|server closed|connection is (lost|closed)|consuming input|sending (query|copy)"
    "|flushing failed|starting up|shutting down|not yet accepting|in recovery mode"
    "|terminating connection|too many (clients|connections)|remaining connection slots"
)
"""Messages of errors without a SQLSTATE after which trying again may help."""

_DETAIL_QUOTES_ROW = ("23502", "23514")
"""Errors whose detail quotes a whole row, which may be personal data: it must not be logged."""

_CAUSED_BY_VALUE = ("22", "38", "39", "54", "P0", "XX")
"""Classes of errors that a value causes, whoever reads it and whenever: data exceptions (encoding,
division by zero), external routines, program limits (1 GB), RAISE, corruption and internal errors.
"""


def meaning(error: psycopg.Error) -> Meaning | None:
    """What the table says of an error; None where it is unexpected."""
    if _function(error):
        return _RAISED
    if is_row_security(error):
        return _HIDDEN
    if error.sqlstate is not None:
        return MEANINGS.get(error.sqlstate) or MEANINGS.get(error.sqlstate[:2])
    if not isinstance(error, psycopg.OperationalError):
        return None
    text = str(error)
    advice = next((advice for words, advice in _UNREACHED if re.search(words, text)), "")
    return Meaning(advice, passes=bool(_PASSING_WORDS.search(text)))


def passes(error: psycopg.Error) -> bool:
    """Whether trying again may help."""
    known = meaning(error)
    return known is not None and known.passes


def is_row_security(error: psycopg.Error) -> bool:
    """Whether row-level security would hide rows from this role."""
    return error.sqlstate == "42501" and "row-level security" in str(error)


def is_caused_by_value(error: psycopg.Error) -> bool:
    """Whether a value that was read caused the error: reading it again would raise it again."""
    return (error.sqlstate or "").startswith(_CAUSED_BY_VALUE)


def is_caused_by_encoding(error: psycopg.Error) -> bool:
    """Whether a text can't be converted to UTF-8."""
    return error.sqlstate in {"22021", "22P05"}


def may_pass_with_fewer_rows(error: psycopg.Error) -> bool:
    """Whether reading fewer rows at once may succeed: others have the bad value, or need memory."""
    return is_caused_by_value(error) or error.sqlstate == "53200"


def message(error: psycopg.Error) -> str:
    """PostgreSQL's or libpq's message with table and function, on one line without a full stop."""
    text = error.diag.message_primary or str(error) or type(error).__name__
    text = re.sub(r"\n\t.*", "", text)  # libpq's guesses at the cause
    text = re.sub(r"\n(DETAIL|HINT):.*", "", text)
    text = re.sub(r"^.*(FATAL|failed|error):\s+", "", text.strip().splitlines()[-1]).rstrip(". ")
    table, detail, function = error.diag.table_name, error.diag.message_detail, _function(error)
    if table and table not in text:
        text = f"{text} in table {table}"
    if detail and error.sqlstate not in _DETAIL_QUOTES_ROW:
        text = f"{text} ({' '.join(detail.split()).rstrip('.')})"
    return f"{text}, raised by {function}" if function else text


def _function(error: psycopg.Error) -> str | None:
    found = _FUNCTION.search(error.diag.context or "")
    return found and found[0]


def message_with_advice(error: psycopg.Error) -> str:
    """The message, and what to do about it."""
    known = meaning(error)
    return f"{message(error)}: {known.advice}" if known and known.advice else message(error)
