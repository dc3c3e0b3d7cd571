"""The stream of a replication slot: PostgreSQL's replication protocol, over psycopg's libpq.

The server sends the messages of its plug-in pgoutput, a transaction at a time in the order of the
commits, and keepalives. It keeps the log until a status message confirms that it is not needed.
See the chapters Streaming Replication Protocol and Logical Streaming Replication Protocol of
PostgreSQL's documentation.
"""

import select
import struct
import time
from collections.abc import Iterator

import psycopg
from psycopg import pq, sql

from totes.config.dsn import Dsn
from totes.postgres.session import SOURCE, open_replication_session
from totes.source.session import SETTINGS

_SESSION = {
    name: value for name, value in SETTINGS.items() if name in {"search_path", "lock_timeout"}
} | {
    # A server that shuts down waits this long for a client that does not answer, as during a load.
    "wal_sender_timeout": "10s",
}

_EPOCH_SECONDS = 946_684_800
"""2000-01-01 UTC, from which PostgreSQL counts microseconds."""

_STATUS_SECONDS = 0.05

_LOG_DATA, _KEEPALIVE = b"wk"


class LogStream:
    """An open stream; it starts at the position that the slot has confirmed.

    Methods raise psycopg.Error if the server ends the stream.
    """

    def __init__(self, dsn: Dsn, slot: str, publication: str) -> None:
        self._session = open_replication_session(
            dsn, SOURCE, _SESSION, application_name="totes log"
        )
        self._connection = self._session.pgconn
        self.position = 0
        """All transactions that end before it have been received."""
        self._confirmed = 0
        self._asked_at = 0.0
        try:
            self._start(slot, publication)
        except BaseException:
            self.close()
            raise
        self._readable = select.poll()
        self._readable.register(self._connection.socket, select.POLLIN)

    def _start(self, slot: str, publication: str) -> None:
        command = sql.SQL(
            "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '1', publication_names {})"
        ).format(
            sql.Identifier(slot),
            sql.Literal(sql.Identifier(publication).as_string(self._session)),
        )
        result = self._connection.exec_(command.as_bytes(self._session))
        if result.status != pq.ExecStatus.COPY_BOTH:
            raise self._error(result)

    def messages(self, seconds: float, ask_seconds: float = _STATUS_SECONDS) -> Iterator[bytes]:
        """Yield pgoutput's messages until there was no message and no progress for `seconds`.

        An empty message is a keepalive, which may have advanced `position`. While there is no
        message, the server is asked for a keepalive every `ask_seconds`.
        """
        quiet_since = time.monotonic()
        while True:
            size, data = self._connection.get_copy_data(1)
            if size > 0:
                is_progress = True
                if data[0] == _KEEPALIVE:
                    is_progress = self._read_keepalive(data)
                if is_progress:
                    quiet_since = time.monotonic()
                yield bytes(data[25:]) if data[0] == _LOG_DATA else b""
            elif size == 0:
                now = time.monotonic()
                if now - self._asked_at >= ask_seconds:
                    self._send_status(ask=True)
                remaining = seconds - (now - quiet_since)
                if self._readable.poll(max(min(ask_seconds, remaining), 0) * 1000):
                    self._connection.consume_input()
                elif remaining <= 0:
                    return
            else:
                raise self._error(self._connection.get_result())

    def _read_keepalive(self, data: memoryview) -> bool:
        """Answer a keepalive if it asks for that; return whether it advances the position."""
        position, _, must_reply = struct.unpack_from("!Qqb", data, 1)
        if must_reply:
            self._send_status()
        is_progress = bool(position > self.position)
        self.position = max(self.position, position)
        return is_progress

    def confirm(self, position: int) -> None:
        """Let the server remove the log up to a position."""
        if position > self._confirmed:
            self._confirmed = position
            self._send_status()

    def _send_status(self, *, ask: bool = False) -> None:
        """Send the confirmed position; with `ask`, the server answers with a keepalive."""
        clock = int((time.time() - _EPOCH_SECONDS) * 1_000_000)
        position = self._confirmed
        status = struct.pack("!cQQQqb", b"r", position, position, position, clock, ask)
        self._connection.put_copy_data(status)
        self._connection.flush()
        self._asked_at = time.monotonic()

    def _error(self, result: pq.abc.PGresult | None) -> psycopg.Error:
        error: psycopg.Error
        # A lost connection is a fatal error without a code.
        if result is not None and result.error_field(pq.DiagnosticField.SQLSTATE):
            error = psycopg.errors.error_from_result(result)
        elif result is not None and result.status == pq.ExecStatus.COMMAND_OK:
            error = psycopg.errors.AdminShutdown("the server has ended the stream")
        else:
            error = psycopg.OperationalError(self._connection.get_error_message())
        error.__dict__["side"] = SOURCE
        return error

    def close(self) -> None:
        """End the stream."""
        self._session.close()
