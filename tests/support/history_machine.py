"""A machine of random steps over a real totesys, captures and loads, beside an oracle."""

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import ClassVar

import psycopg
from history_rows import CHANGEABLE_KEYS, CHANGES, REFERENCE, TABLES, TEXTS
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from psycopg import errors
from warehouse_oracle import (
    DIMENSIONS,
    FACTS,
    Oracle,
    SourceRows,
    read_rows,
    read_source,
    read_versions,
)

from conftest import EmptyWarehouse, Totesys
from totes import failpoint
from totes.lake.folder import FolderStore
from totes.source.catalogue import CaptureScope
from totes.stages.ingest import ingest
from totes.stages.load import load
from totes.stages.transform import transform
from totes.star.folder import TOTESYS
from totes.warehouse import dependents
from totes.warehouse.connection import connect

COUNTED = (
    "captures",
    "captures without changes",
    "captures during an open transaction",
    "captures during an open delete",
    "captures during an open key change",
    "captures with a commit after the snapshot",
    "captures of a delete",
    "captures of a key change",
    "captures of a row updated without a change",
    "captures of changes before a savepoint that was rolled back",
)


class Session:
    """A connection of the application, and what its open transaction has done."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.levels: list[Counter[str]] = [Counter()]
        """The numbers of changes of each kind at each savepoint, and now."""

    @property
    def done(self) -> Counter[str]:
        return self.levels[-1]

    def act(self, kind: str, query: str, **values: object) -> int | None:
        """Execute a statement; return its first value, or None if it returned no row.

        If another session's lock or a constraint prevents it, the transaction is rolled back.
        """
        try:
            found = self.connection.execute(query.encode(), values).fetchone()
        except (errors.LockNotAvailable, errors.IntegrityError, errors.DeadlockDetected):
            self.roll_back()
            return None
        if found is None:
            return None
        self.done[kind] += 1
        return int(found[0])

    def save(self) -> None:
        self.connection.execute(f"SAVEPOINT s{len(self.levels)}".encode())
        self.levels.append(self.done.copy())

    def roll_back_to_savepoint(self) -> None:
        self.connection.execute(f"ROLLBACK TO s{len(self.levels) - 1}".encode())
        self.levels[-1] = self.levels[-2] + Counter({"savepoint": 1})

    def release(self) -> None:
        self.connection.execute(f"RELEASE s{len(self.levels) - 1}".encode())
        self.levels.pop(-2)

    def commit(self) -> Counter[str]:
        """Commit; return the numbers of changes."""
        self.connection.commit()
        done, self.levels = self.done, [Counter()]
        return done

    def roll_back(self) -> None:
        self.connection.rollback()
        self.levels = [Counter()]


class Environment:
    """The databases, the sessions, and counts of what happened in all examples."""

    def __init__(self, totesys: Totesys, warehouse: EmptyWarehouse, stack: ExitStack) -> None:
        self.source = totesys.dsn
        self.warehouse = warehouse.dsn
        self.counts = Counter[str]()
        self.observer = stack.enter_context(
            psycopg.connect(
                totesys.owner.reveal(),
                autocommit=True,
                options="-cTimeZone=UTC -clock_timeout=30s",  # a blocked statement fails
            )
        )
        self.sessions = [
            Session(
                stack.enter_context(
                    psycopg.connect(
                        totesys.owner.reveal(),
                        options="-clock_timeout=20ms",
                        # Uses the simple query protocol. A portal that stays open would pin a page
                        # until the next statement, and VACUUM (FREEZE) would wait for it.
                        cursor_factory=psycopg.ClientCursor,
                    )
                )
            )
            for _ in range(3)
        ]
        for table in TABLES.split(", "):  # its locks would make examples irreproducible
            self.observer.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)".encode())

    def reset(self) -> None:
        for session in self.sessions:
            session.roll_back()
        self.observer.execute(f"TRUNCATE {TABLES} RESTART IDENTITY; {REFERENCE}".encode())
        with connect(self.warehouse) as connection:
            dependents.delete_all_rows(connection, TOTESYS)


def nth_key(table: str, key: str = "") -> str:
    """Return SQL for the key of the n-th row; NULL if another transaction has locked it."""
    key = key or f"{table}_id"
    return (
        f'(SELECT {key} FROM "{table}" ORDER BY 1 LIMIT 1'
        f' OFFSET mod(%(n)s, (SELECT nullif(count(*), 0) FROM "{table}")) FOR UPDATE SKIP LOCKED)'
    )


WHO = st.integers(0, 2)
NTH = st.integers(0, 5)
VALUE = st.integers(0, 5)


class History(RuleBasedStateMachine):
    """Transactions in totesys and runs of the stages; at the end the warehouse is checked."""

    environment: ClassVar[Environment]

    def __init__(self) -> None:
        super().__init__()
        self.environment.reset()
        self.lake = tempfile.TemporaryDirectory(prefix="totes-")
        self.ingestion = FolderStore(Path(self.lake.name) / "ingestion")
        self.processed = FolderStore(Path(self.lake.name) / "processed")
        self.oracle = Oracle()
        self.committed = Counter[str]()
        """The numbers of changes committed since the last capture."""

    @initialize(early=st.booleans(), session_order=st.permutations(range(3)))
    def start_transactions(self, session_order: list[int], *, early: bool) -> None:
        """Commit two orders of each kind, and change rows in each session; capture if `early`."""
        for m in range(2):
            self.sell(0, m)
            self.purchase(0, m)
        self.commit(0)
        self.insert_after_rollback_to_savepoint(session_order[0], 2)
        self.rewrite(session_order[0], 0, "sales_order")
        self.cancel(session_order[1], 0)
        self.change_key(session_order[2], 1, "payment", reuse=False)
        if early:
            self.capture(0)

    # The application

    @rule(who=WHO, m=VALUE)
    def sell(self, who: int, m: int) -> None:
        self._order(
            who,
            """INSERT INTO sales_order (
                created_at, last_updated, design_id, staff_id, counterparty_id, units_sold,
                unit_price, currency_id, agreed_delivery_date, agreed_payment_date,
                agreed_delivery_location_id
            )
            SELECT at, at, (SELECT min(design_id) FROM design),
                   (SELECT max(staff_id) FROM staff),
                   (SELECT max(counterparty_id) FROM counterparty),
                   1001, 2.50, 1 + mod(%(m)s, 3), '2024-03-01', '2024-03-02',
                   (SELECT max(address_id) FROM address)
            FROM (VALUES (timestamp '2024-02-29 23:59:59.999')) AS now (at)
            RETURNING sales_order_id""",
            "'SALE', %(order)s, NULL",
            m,
        )

    @rule(who=WHO, m=VALUE)
    def purchase(self, who: int, m: int) -> None:
        self._order(
            who,
            """INSERT INTO purchase_order (
                created_at, last_updated, staff_id, counterparty_id, item_code, item_quantity,
                item_unit_price, currency_id, agreed_delivery_date, agreed_payment_date,
                agreed_delivery_location_id
            )
            SELECT at, at, (SELECT min(staff_id) FROM staff),
                   (SELECT min(counterparty_id) FROM counterparty),
                   '0815', 999, 1000.10, 1 + mod(%(m)s, 3), '2024-03-01', '2024-03-02',
                   (SELECT min(address_id) FROM address)
            FROM (VALUES (timestamp '2022-12-31 00:00:00')) AS now (at)
            RETURNING purchase_order_id""",
            "'PURCHASE', NULL, %(order)s",
            m,
        )

    def _order(self, who: int, insert: str, transaction: str, m: int) -> None:
        """Insert an order with its transaction and payment."""
        act = self.environment.sessions[who].act
        if (order := act("insert", insert, m=m)) is None:
            return
        act(
            "insert",
            f"""WITH new_transaction AS (
                INSERT INTO "transaction" (
                    transaction_type, sales_order_id, purchase_order_id, last_updated
                ) VALUES ({transaction}, '2024-03-01') RETURNING transaction_id
            )
            INSERT INTO payment (
                last_updated, transaction_id, counterparty_id, payment_amount, currency_id,
                payment_type_id, paid, payment_date, company_ac_number, counterparty_ac_number
            )
            SELECT '2024-03-01', transaction_id, (SELECT min(counterparty_id) FROM counterparty),
                   99.99, 1, 1 + mod(%(m)s, 4), false, '2024-03-02', 1, 2
            FROM new_transaction RETURNING payment_id""",
            order=order,
            m=m,
        )

    @rule(
        who=WHO,
        table=st.sampled_from([*CHANGES, "sales_order", "purchase_order", "payment"]),
        which=VALUE,
        n=NTH,
        m=VALUE,
        silent=st.booleans(),
    )
    def update(self, who: int, table: str, which: int, n: int, m: int, *, silent: bool) -> None:  # noqa: PLR0913
        column, value = CHANGES[table][which % len(CHANGES[table])]
        set_last_updated = "" if silent else ", last_updated = '2024-06-01 07:55:11'"
        self.environment.sessions[who].act(
            "update",
            f'UPDATE "{table}" SET {column} = %(value)s{set_last_updated}'
            f" WHERE {table}_id = {nth_key(table)} RETURNING {table}_id",
            n=n,
            value=value(m),
        )

    @rule(who=WHO, n=NTH, table=st.sampled_from(["sales_order", "purchase_order", "payment"]))
    def rewrite(self, who: int, n: int, table: str) -> None:
        """Update a row without a change, which makes no new version."""
        self.environment.sessions[who].act(
            "rewrite",
            f"UPDATE {table} SET last_updated = last_updated WHERE {table}_id = {nth_key(table)}"
            f" RETURNING {table}_id",
            n=n,
        )

    @rule(who=WHO, n=NTH)
    def cancel(self, who: int, n: int) -> None:
        """Delete a payment, its transaction and its order."""
        act = self.environment.sessions[who].act
        transaction_id = act(
            "delete",
            f"DELETE FROM payment WHERE payment_id = {nth_key('payment')} RETURNING transaction_id",
            n=n,
        )
        if transaction_id is None:
            return
        for order in ("sales_order", "purchase_order"):
            act(
                "delete",
                f"DELETE FROM {order} WHERE {order}_id = (SELECT {order}_id FROM transaction"
                f" WHERE transaction_id = %(id)s) RETURNING {order}_id",
                id=transaction_id,
            )
        act(
            "delete",
            "DELETE FROM transaction WHERE transaction_id = %(id)s RETURNING transaction_id",
            id=transaction_id,
        )

    @rule(who=WHO, n=NTH, table=st.sampled_from(["sales_order", "purchase_order"]))
    def delete(self, who: int, n: int, table: str) -> None:
        """Delete an order, but not its payment."""
        self.environment.sessions[who].act(
            "delete",
            f"DELETE FROM {table} WHERE {table}_id = {nth_key(table)} RETURNING {table}_id",
            n=n,
        )

    @rule(who=WHO, m=VALUE)
    def delete_or_insert_design(self, who: int, m: int) -> None:
        """Delete an unused design, or insert it again with the same key."""
        act = self.environment.sessions[who].act
        design_id = act("delete", "DELETE FROM design WHERE design_id = 3 RETURNING design_id")
        if design_id is None:
            act(
                "insert",
                "INSERT INTO design VALUES (3, '2024-03-01', %(name)s, '/', '', '2024-03-01')"
                " RETURNING design_id",
                name=TEXTS[m],
            )

    @rule(who=WHO, n=NTH, table=st.sampled_from(CHANGEABLE_KEYS), reuse=st.booleans())
    def change_key(self, who: int, n: int, table: str, *, reuse: bool) -> None:
        """Change a key to a new one or an unused one; foreign keys cascade."""
        free = (
            f"(SELECT min(i) FROM generate_series(1, 1000) AS i"
            f' WHERE i NOT IN (SELECT {table}_id FROM "{table}"))'
        )
        new = free if reuse else f"nextval('{table}_{table}_id_seq')"
        self.environment.sessions[who].act(
            "key change",
            f'UPDATE "{table}" SET {table}_id = {new} WHERE {table}_id = {nth_key(table)}'
            f" RETURNING {table}_id",
            n=n,
        )

    @rule(who=WHO, n=NTH, table=st.sampled_from(["payment", "sales_order", "staff", "address"]))
    def swap_keys(self, who: int, n: int, table: str) -> None:
        """Swap the keys of two rows."""
        act = self.environment.sessions[who].act
        query = (
            f"UPDATE {table} SET {table}_id = %(new)s WHERE {table}_id = %(old)s"
            f" RETURNING {table}_id"
        )
        one, other = (
            act("lock", f"SELECT * FROM {nth_key(table)} AS nth_row ({table}_id)", n=number)
            for number in (n, n + 1)
        )
        if one is None or other is None or one == other:
            return
        for old, new in ((one, -one), (other, one), (-one, other)):
            if act("key change", query, old=old, new=new) is None:
                return

    @rule(who=WHO, m=VALUE)
    def insert_after_rollback_to_savepoint(self, who: int, m: int) -> None:
        """Insert an order, roll back to a savepoint, and insert another one."""
        session = self.environment.sessions[who]
        session.save()
        self.sell(who, m)
        if len(session.levels) > 1:  # the transaction was not rolled back
            session.roll_back_to_savepoint()
        self.purchase(who, m)

    @rule(who=WHO)
    def save(self, who: int) -> None:
        self.environment.sessions[who].save()

    @rule(who=WHO)
    def roll_back_to_savepoint(self, who: int) -> None:
        for session in self._sessions(who, lambda session: len(session.levels) > 1):
            session.roll_back_to_savepoint()

    @rule(who=WHO)
    def release(self, who: int) -> None:
        for session in self._sessions(who, lambda session: len(session.levels) > 1):
            session.release()

    @rule(who=WHO)
    def commit(self, who: int) -> None:
        for session in self._sessions(who, lambda session: bool(session.done)):
            self.committed += session.commit()

    @rule(who=WHO)
    def roll_back(self, who: int) -> None:
        self.environment.sessions[who].roll_back()

    def _sessions(self, who: int, is_suitable: Callable[[Session], bool]) -> list[Session]:
        """Return the first suitable session, beginning with `who`, or nothing."""
        sessions = self.environment.sessions
        return list(filter(is_suitable, sessions[who:] + sessions[:who]))[:1]

    @rule(table=st.sampled_from(["payment", "sales_order", "staff"]))
    def freeze(self, table: str) -> None:
        self.environment.observer.execute(f"VACUUM (FREEZE, TRUNCATE off) {table}".encode())

    # The platform

    @rule(committing=st.none() | WHO)
    def capture(self, committing: int | None) -> None:
        """Run ingest; a transaction may commit directly after the snapshot."""
        sessions, counts = self.environment.sessions, self.environment.counts
        counts["captures"] += 1
        counts["captures during an open transaction"] += any(s.done for s in sessions)
        counts["captures during an open delete"] += any(s.done["delete"] for s in sessions)
        counts["captures during an open key change"] += any(s.done["key change"] for s in sessions)
        changes, self.committed = self.committed, Counter()
        snapshots: list[SourceRows] = []

        def at_snapshot() -> None:
            snapshots.append(read_source(self.environment.observer))
            if committing is not None and any(s.done for s in sessions):
                self.commit(committing)
                counts["captures with a commit after the snapshot"] += 1

        failpoint.actions["source.snapshot-taken"] = at_snapshot
        try:
            batch = ingest(self.environment.source, self.ingestion, CaptureScope()).batch
        finally:
            del failpoint.actions["source.snapshot-taken"]
        if batch is None:
            assert snapshots[-1] == self.oracle.rows
            counts["captures without changes"] += 1
            return
        assert changes, "a batch without new changes"
        self.oracle.record(snapshots[-1], batch.captured_at)
        counts["captures of a delete"] += changes["delete"] > 0
        counts["captures of a key change"] += changes["key change"] > 0
        counts["captures of a row updated without a change"] += changes["rewrite"] > 0
        counts["captures of changes before a savepoint that was rolled back"] += (
            changes["savepoint"] > 0
        )

    @rule()
    def transform(self) -> None:
        for _ in transform(self.ingestion, self.processed):
            pass

    @rule()
    def load(self) -> None:
        for _ in load(self.processed, self.environment.warehouse):
            pass

    def teardown(self) -> None:
        """Capture while a transaction is open; compare with what was committed."""
        try:
            if sys.exc_info() == (None, None, None):  # no step has failed
                self.commit(1)
                self.roll_back(2)
                self.capture(None)
                self.transform()
                self.load()
                self._compare()
        finally:
            self.lake.cleanup()

    def _compare(self) -> None:
        with psycopg.connect(
            self.environment.warehouse.reveal(), options="-cTimeZone=UTC"
        ) as warehouse:
            source = read_source(self.environment.observer)
            for fact in FACTS:
                found = read_versions(warehouse, fact)
                assert set(found) == self.oracle.history(fact)
                assert len(found) == len(set(found))
                view = TOTESYS.tables[fact].current_view
                assert view is not None
                current = read_rows(warehouse, fact, view.name)
                assert {row[0]: row for row in current} == source[fact]
            for dimension in DIMENSIONS:
                found = read_rows(warehouse, dimension)
                assert {row[0]: row for row in found} == self.oracle.latest[dimension]
                deleted = warehouse.execute(
                    "SELECT key FROM totes.deleted_dimension_rows WHERE table_name = %s",
                    [dimension],
                )
                assert {key for (key,) in deleted} == self.oracle.deleted_keys(dimension)
            days = {day for (day,) in warehouse.execute("SELECT date_id FROM dim_date")}
            assert days == set(_calendar(self.oracle.years))


def _calendar(years: set[int]) -> Iterator[date]:
    for year in years:
        first = date(year, 1, 1).toordinal()
        yield from map(date.fromordinal, range(first, date(year + 1, 1, 1).toordinal()))
