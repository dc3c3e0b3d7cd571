"""Random transactions of several writers at once, and an audit of them that triggers keep."""

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from log_source import LogSource
from psycopg import sql
from psycopg.pq import TransactionStatus

TABLES = ("a", "b", "c")

_SCHEMA = """
CREATE TABLE audit.changes (
    seq bigserial PRIMARY KEY, xid xid8 DEFAULT pg_current_xact_id(), relation text, key jsonb,
    row jsonb
);
CREATE TABLE a (id int PRIMARY KEY, v text, n int, w text NOT NULL DEFAULT '');
CREATE TABLE b (k1 int, k2 text, payload text, PRIMARY KEY (k1, k2));
ALTER TABLE b REPLICA IDENTITY FULL, ALTER payload SET STORAGE EXTERNAL;
CREATE TABLE c (
    id int PRIMARY KEY, a_id int REFERENCES a ON UPDATE CASCADE ON DELETE CASCADE, flag boolean
);
CREATE FUNCTION audit.key(relation text, r jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT CASE WHEN relation = 'b' THEN jsonb_build_array(r -> 'k1', r -> 'k2')
        ELSE jsonb_build_array(r -> 'id') END
$$;
CREATE FUNCTION audit.write_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    old_key jsonb := audit.key(TG_TABLE_NAME, to_jsonb(OLD));
    new_key jsonb := audit.key(TG_TABLE_NAME, to_jsonb(NEW));
BEGIN
    IF TG_OP <> 'INSERT' AND (TG_OP = 'DELETE' OR old_key <> new_key) THEN
        INSERT INTO audit.changes (relation, key) VALUES (TG_TABLE_NAME, old_key);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO audit.changes (relation, key, row)
        VALUES (TG_TABLE_NAME, new_key, to_jsonb(NEW));
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION audit.write_truncation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO audit.changes (relation, key)'
        ' SELECT %L, audit.key(%L, to_jsonb(t)) FROM %I.%I AS t',
        TG_TABLE_NAME, TG_TABLE_NAME, TG_TABLE_SCHEMA, TG_TABLE_NAME);
    RETURN NULL;
END $$;
"""

_TRIGGERS: LiteralString = """
CREATE TRIGGER write_row AFTER INSERT OR UPDATE OR DELETE ON {0}
FOR EACH ROW EXECUTE FUNCTION audit.write_row();
CREATE TRIGGER write_truncation BEFORE TRUNCATE ON {0}
FOR EACH STATEMENT EXECUTE FUNCTION audit.write_truncation();
"""

_STATEMENTS: tuple[tuple[float, LiteralString], ...] = (
    (
        11,
        (
            "INSERT INTO a VALUES (%(k)s, %(text)s, %(n)s, 'w')"
            " ON CONFLICT (id) DO UPDATE SET v = excluded.v, n = a.n + 1"
        ),
    ),
    (6, "UPDATE a SET n = coalesce(n, 0) + 1 WHERE id BETWEEN %(k)s AND %(k)s + %(n)s"),
    (3, "DELETE FROM a WHERE id = %(k)s"),
    (4, "UPDATE a SET id = id + 100 * %(sign)s WHERE id = %(k)s"),
    (2, "UPDATE a SET n = n WHERE id = %(k)s"),
    (
        7,
        (
            "INSERT INTO b VALUES (%(k)s %% 9, coalesce(%(text)s, '0'), %(long)s)"
            " ON CONFLICT (k1, k2) DO UPDATE SET payload = excluded.payload"
        ),
    ),
    (3, "UPDATE b SET k2 = k2 || '+' WHERE k1 = %(k)s %% 9 AND length(k2) < 60"),
    (2, "UPDATE b SET payload = payload WHERE k1 = %(k)s %% 9"),
    (2, "DELETE FROM b WHERE k1 = %(k)s %% 9"),
    (
        7,
        (
            "INSERT INTO c SELECT %(k)s, id, %(flag)s FROM a WHERE id = %(k)s"
            " ON CONFLICT (id) DO UPDATE SET flag = NOT coalesce(c.flag, false)"
        ),
    ),
    (5, "UPDATE c SET flag = NOT flag WHERE id BETWEEN %(k)s AND %(k)s + 8"),
)

_TRUNCATIONS: tuple[tuple[float, LiteralString], ...] = (
    (0.5, "TRUNCATE a, c"),
    (0.5, "TRUNCATE b"),
    (0.3, "TRUNCATE a CASCADE"),
)

_EXPECTED = (
    psycopg.errors.IntegrityError,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.ObjectInUse,  # TRUNCATE in a transaction with pending trigger events
)


@dataclass(frozen=True)
class Change:
    """A change in the audit: the new row, or None for a deletion."""

    xid: int
    row: dict[str, Any] | None


def create_audited_tables(source: LogSource) -> None:
    """Create and publish the tables, with triggers that keep the audit."""
    database = source.admin.parts["dbname"]
    source.administer(
        "CREATE SCHEMA audit AUTHORIZATION totesys_app",
        f"ALTER DATABASE {database} SET deadlock_timeout = '50ms'",
    )
    source.run(_SCHEMA)
    for table in TABLES:
        source.run(_TRIGGERS.format(table))
    source.publish(*TABLES)


def audited_changes(source: LogSource, table: str) -> dict[tuple[object, ...], list[Change]]:
    """Return all changes of a table by key, in their order."""
    changes: dict[tuple[object, ...], list[Change]] = defaultdict(list)
    with source.open() as connection:
        rows = connection.execute(
            "SELECT key, xid::text::bigint, row FROM audit.changes WHERE relation = %s"
            " ORDER BY seq",
            [table],
        )
        for key, xid, row in rows:
            changes[tuple(key)].append(Change(xid, row))
    return changes


class Writers:
    """Threads that each run so many random transactions."""

    def __init__(self, source: LogSource, seed: str, writers: int, transactions: int) -> None:
        self._source = source
        self._transactions = transactions
        self._errors: list[BaseException] = []
        self.counts = Counter[str]()
        """The numbers of what happened."""
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(random.Random(f"{seed} {number}"), number))  # noqa: S311  not for secrets
            for number in range(writers)
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the writers; all have ended after the block."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        except BaseException:
            self._stop.set()
            raise
        finally:
            for thread in self._threads:
                thread.join()
        for error in self._errors:
            raise error

    @property
    def are_running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _write(self, chance: random.Random, number: int) -> None:
        try:
            with self._source.open() as connection:
                connection.execute("SET lock_timeout = '1s'")
                commit = chance.choice(("on", "on", "off"))
                connection.execute(
                    sql.SQL("SET synchronous_commit = {}").format(sql.Literal(commit))
                )
                connection.commit()
                for transaction in range(self._transactions):
                    if self._stop.is_set():
                        break
                    try:
                        self._run_transaction(connection, chance, f"{number} {transaction}")
                    except _EXPECTED as error:
                        self.counts[type(error).__name__] += 1
                        connection.rollback()
        except BaseException as error:  # noqa: BLE001  reported by `running`
            self._errors.append(error)

    def _run_transaction(
        self, connection: psycopg.Connection, chance: random.Random, name: str
    ) -> None:
        for _ in range(chance.randint(1, 6)):
            if chance.random() < 0.25:
                try:
                    with connection.transaction(force_rollback=chance.random() < 0.4):
                        # A table that was truncated after a savepoint is scanned.
                        self._run_statement(connection, chance, _STATEMENTS)
                        self._run_statement(connection, chance, _STATEMENTS)
                        self.counts["savepoint"] += 1
                except _EXPECTED:
                    pass
            else:
                self._run_statement(connection, chance, (*_STATEMENTS, *_TRUNCATIONS))
            if chance.random() < 0.03:  # a long transaction
                self._stop.wait(chance.random() / 2)
                self.counts["long"] += 1
        ending = chance.random()
        is_open = connection.info.transaction_status == TransactionStatus.INTRANS
        if ending < 0.15:
            connection.rollback()
            self.counts["rollback"] += 1
        elif ending < 0.22 and is_open:
            self._end_in_two_phases(connection, chance, name)
        else:
            connection.commit()
            self.counts["commit"] += 1
        if chance.random() < 0.3:
            self._stop.wait(chance.random() / 100)

    def _end_in_two_phases(
        self, connection: psycopg.Connection, chance: random.Random, name: str
    ) -> None:
        identifier = sql.Literal(f"{self._source.slot} {name}")
        connection.execute(sql.SQL("PREPARE TRANSACTION {}").format(identifier))
        connection.commit()
        self._stop.wait(chance.random() / 5)
        connection.autocommit = True
        ending = sql.SQL("ROLLBACK" if chance.random() < 0.3 else "COMMIT")
        connection.execute(ending + sql.SQL(" PREPARED {}").format(identifier))
        connection.autocommit = False
        self.counts["two phases"] += 1

    def _run_statement(
        self,
        connection: psycopg.Connection,
        chance: random.Random,
        weighted: Sequence[tuple[float, LiteralString]],
    ) -> None:
        weights, statements = zip(*weighted, strict=True)
        [statement] = chance.choices(statements, weights)
        text = chance.choice(("x", 'é"\\\n\x01', "", None, "lorem " * chance.randint(0, 9)))
        long = "".join(chance.choices("abcdefgh", k=chance.choice((10, 10, 9000))))
        parameters = {
            "k": chance.randint(1, 60),
            "n": chance.randint(0, 9),
            "sign": chance.choice((1, -1)),
            "text": text,
            "long": chance.choice((None, "p", long)),
            "flag": chance.choice((True, False, None)),
        }
        connection.execute(statement, parameters)
        if statement.startswith("TRUNCATE"):
            self.counts["truncate"] += 1
