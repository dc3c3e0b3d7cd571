"""What PostgreSQL's errors mean, by SQLSTATE: advice, whether to retry, whether a value caused it.

SQLSTATEs that are not in the table are unexpected, and treated as bugs. An error of libpq has no
SQLSTATE; the text of its message decides.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import psycopg


@dataclass(frozen=True)
class Meaning:
    """`advice` says what to do about the error, `can_retry` whether a retry may help."""

    advice: str
    can_retry: bool = False


_RETRY = "try again"
_ALTERED = "the object was altered or dropped, and the platform needs it: restore it"
_EXISTS = "drop or rename the object with that name, or use a database or schema without it"
_ADDED = "drop the constraint or trigger if it was added to the platform's tables, or fix the row"
_POOLER = "connect directly, or through a pooler in session mode"
_SHORT_TIMEOUT = "increase this timeout for the role, database or server"
_UTF8 = "use a database with ENCODING 'UTF8', which holds every character"
_DAMAGED = "the server's files are damaged: check its disk, and restore them from a backup"

MEANINGS: Mapping[str, Meaning] = MappingProxyType(
    {
        "08": Meaning("check the network, the server, and a pooler before it", can_retry=True),
        "0A": Meaning("the server doesn't support this for the object: alter the object"),
        "22021": Meaning(_UTF8),
        "22P05": Meaning(_UTF8),
        "23": Meaning(_ADDED),
        "25006": Meaning(
            "it is read-only or a standby: use the primary server's address, or set "
            "default_transaction_read_only = off"
        ),
        "25P03": Meaning(_SHORT_TIMEOUT),
        "25P04": Meaning(_SHORT_TIMEOUT),
        "26000": Meaning(_POOLER),
        "28": Meaning("check user and password"),
        "2BP01": Meaning("change or drop the object that depends on it"),
        "3D000": Meaning("create the database, or correct its name"),
        "3F000": Meaning("create the schema, or correct search_path"),
        "40": Meaning(_RETRY, can_retry=True),
        "42501": Meaning("`totes check` prints the role or GRANT that is needed"),
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
        "53100": Meaning("free space on the server's disk"),
        "53200": Meaning("give the server more memory, or raise max_locks_per_transaction"),
        "53300": Meaning(
            "end some sessions, raise max_connections, or lower TOTES_CONNECTIONS", can_retry=True
        ),
        "53400": Meaning("raise the limit in the message, such as temp_file_limit"),
        "54": Meaning("the value or object exceeds a limit of PostgreSQL: make it smaller"),
        "55000": Meaning("remove the cause, such as a publication of the table"),
        "55006": Meaning("end the sessions that use the object", can_retry=True),
        "55P03": Meaning(
            "another session has locked the tables (a schema change, a replay): try again later",
            can_retry=True,
        ),
        "57014": Meaning("a user or a timeout cancelled the statement: run it again"),
        "57P01": Meaning(_RETRY, can_retry=True),
        "57P02": Meaning(_RETRY, can_retry=True),
        "57P03": Meaning(_RETRY, can_retry=True),
        "57P04": Meaning("create the database, or correct its name"),
        "57P05": Meaning(_SHORT_TIMEOUT),
        "58": Meaning("read the server's log: its disk or files fail"),
        "72000": Meaning("increase old_snapshot_threshold, or set it to -1", can_retry=True),
        "XX001": Meaning(_DAMAGED),
        "XX002": Meaning("REINDEX that index, and check the server's disk"),
    }
)
"""By SQLSTATE, or by its class: the first two characters."""

_FUNCTION = re.compile(r"^PL/\w+ function (?!totes\.record_changes\().*", re.MULTILINE)
"""How an error's context names a function in a procedural language, other than the platform's."""

_ROW_SECURITY = Meaning("rows would be hidden from the platform: give its role BYPASSRLS")

_USER_FUNCTION = Meaning("fix or drop the function or its trigger")

_CONNECTION_ADVICE = (
    ("password authentication failed|no password supplied", "check user and password"),
    ("CONNECT privilege|permission denied for database", "GRANT CONNECT on it to this user"),
    ("database .* does not exist", "create the database, or correct its name"),
    ("role .* does not exist", "create the role, or correct the user's name"),
    ("start (WAL sender|walsender)", "`totes check` prints how to permit the role to replicate"),
    ("not permitted to log in", "run ALTER ROLE … LOGIN, or use another user"),
    ("not currently accepting connections", "run ALTER DATABASE … ALLOW_CONNECTIONS true"),
    ("no pg_hba.conf entry", "allow this user, database and address in pg_hba.conf"),
    (
        "too many (clients|connections)|remaining connection slots",
        "end some sessions, or raise the limit of the server, database or role",
    ),
    ("invalid value for parameter", "correct it in the DSN or the PG… variables"),
    ("unsupported startup parameter", "remove it from the DSN and the PG… variables"),
    ("conversion between UTF8", "use a database whose encoding PostgreSQL can convert to UTF8"),
    ("root certificate file", "correct sslrootcert, a path relative to the working directory"),
    ("certificate verify failed", "sslrootcert must have the root of the server's certificate"),
    ("does not match host name", "connect to a name in the server's certificate"),
    ("could not translate host name|resolve", "check the host's name"),
    (
        "refused|timeout|timed out|No such file|unreachable",
        "check host and port, and that the server runs",
    ),
    ("connection is (lost|closed)|server closed", "check that the server runs, then try again"),
)
"""Advice about a failed connection: a pattern of the message, and the advice."""

_TEMPORARY = re.compile(
    "refused|No such file|timeout|timed out|unreachable|No route to host|reset by peer|Broken pipe"
    "|Temporary failure in name resolution|SSL SYSCALL error|SSL connection has been closed"
    "|server closed|connection is (lost|closed)|consuming input|sending (query|copy)"
    "|flushing failed|starting up|shutting down|not yet accepting|in recovery mode"
    "|terminating connection|too many (clients|connections)|remaining connection slots"
)
"""Messages of errors without a SQLSTATE after which a retry may help."""

_DETAIL_QUOTES_ROW = ("23502", "23514")
"""Errors whose detail quotes a whole row, which may be personal data: it must not be logged."""

_VALUE_CLASSES = ("22", "38", "39", "54", "P0", "XX")
"""Classes of errors that a value causes each time it is read: data exceptions (encoding, division
by zero), external routines, program limits (1 GB), RAISE, corruption and internal errors.
"""


def meaning(error: psycopg.Error) -> Meaning | None:
    """Return what an expected error means; None for an unexpected one."""
    if _user_function(error):
        return _USER_FUNCTION
    if is_row_security(error):
        return _ROW_SECURITY
    if error.sqlstate is not None:
        return MEANINGS.get(error.sqlstate) or MEANINGS.get(error.sqlstate[:2])
    if not isinstance(error, psycopg.OperationalError):
        return None
    text = str(error)
    advice = next(
        (advice for pattern, advice in _CONNECTION_ADVICE if re.search(pattern, text)), ""
    )
    return Meaning(advice, can_retry=bool(_TEMPORARY.search(text)))


def can_retry(error: psycopg.Error) -> bool:
    """Whether a retry may help."""
    expected = meaning(error)
    return expected is not None and expected.can_retry


def is_row_security(error: psycopg.Error) -> bool:
    """Whether row-level security would hide rows from this role."""
    return error.sqlstate == "42501" and "row-level security" in str(error)


def is_caused_by_value(error: psycopg.Error) -> bool:
    """Whether a value caused the error, so that reading the value again would raise it again."""
    return (error.sqlstate or "").startswith(_VALUE_CLASSES)


def is_caused_by_encoding(error: psycopg.Error) -> bool:
    """Whether the error is a text that can't be converted to UTF-8."""
    return error.sqlstate in {"22021", "22P05"}


def may_pass_with_fewer_rows(error: psycopg.Error) -> bool:
    """Whether a read of fewer rows may succeed: without the bad value, or with less memory."""
    return is_caused_by_value(error) or error.sqlstate == "53200"


def primary_message(error: psycopg.Error) -> str:
    """Return PostgreSQL's or libpq's message, of one or more lines, without detail and context."""
    return error.diag.message_primary or str(error) or type(error).__name__


def message(error: psycopg.Error) -> str:
    """Return PostgreSQL's or libpq's message, on one line without a full stop.

    It includes the table, the detail, and the user's function that raised the error.
    """
    # Possible causes, and advice about a missing certificate, which libpq appends:
    text = re.sub(r"\n(\t|Either ).*", "", primary_message(error))
    text = re.sub(r"\n(DETAIL|HINT):.*", "", text)
    text = re.sub(r"^.*(FATAL|failed|error):\s+", "", text.strip().splitlines()[-1]).rstrip(". ")
    table, detail = error.diag.table_name, error.diag.message_detail
    function = _user_function(error)
    if table and table not in text:
        text = f"{text} in table {table}"
    if detail and error.sqlstate not in _DETAIL_QUOTES_ROW:
        text = f"{text} ({', '.join(detail.split('\n')).rstrip('.')})"
    return f"{text}, raised by {function}" if function else text


def _user_function(error: psycopg.Error) -> str | None:
    match = _FUNCTION.search(error.diag.context or "")
    return match and match[0]


def message_with_advice(error: psycopg.Error) -> str:
    """Return the message, and what to do about it."""
    expected = meaning(error)
    if expected is None or not expected.advice:
        return message(error)
    return f"{message(error)}: {expected.advice}"
