"""Whatever transactions do and however the stages are run, the warehouse holds what was there.

A machine of random steps drives a real totesys by several open transactions at once, captures,
transforms and loads in between, and in the end compares the warehouse with a naive oracle.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import ClassVar, LiteralString

import psycopg
import pytest
from depth import DEEP, drawn
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from psycopg import errors, sql
from rollup_check import assert_totals_equal_the_facts
from warehouse_oracle import DIMENSIONS, FACTS, Oracle, Row, Sight, look

from conftest import EmptyWarehouse, Totesys
from totes import failpoint
from totes.lake.folder import FolderStore
from totes.source.catalogue import Scope
from totes.stages.ingest import ingest
from totes.stages.load import load
from totes.stages.transform import transform
from totes.star.definition import TOTESYS
from totes.warehouse import dependents
from totes.warehouse.connection import connect

EXAMPLES, PARTS = drawn(60, 400), 2
STEPS = 11

MUST_HAPPEN = (
    "captures",
    "captures that found nothing new",
    "captures beside an open transaction",
    "captures beside an open delete",
    "captures beside an open key change",
    "captures that a commit overtook",
    "captures of a delete",
    "captures of a key change",
    "captures of a row written as it was",
    "captures of work that survived a savepoint rolled back",
)

TABLES: LiteralString = (
    "sales_order, purchase_order, transaction, payment, staff, department, counterparty, address,"
    " design, currency, payment_type"
)

REFERENCE: LiteralString = """
INSERT INTO currency (currency_code, last_updated)
SELECT code, '2022-11-03' FROM unnest(ARRAY['GBP', 'USD', 'EUR']) AS code;
INSERT INTO payment_type (payment_type_name, last_updated)
SELECT name, '2022-11-03' FROM unnest(enum_range(NULL::"PaymentTypeName")) AS name;
INSERT INTO department (department_name, location, manager, last_updated)
VALUES ('Sales', 'Leeds', 'Ann', '2022-11-03'), ('Purchasing', NULL, NULL, '2022-11-03');
INSERT INTO staff (first_name, last_name, department_id, email_address, last_updated)
VALUES ('Irving', 'O''Keefe', 1, 'irving.o''keefe@totes.example', '2022-11-03'),
       ('Jané', 'Ω', 2, 'jane@totes.example', '2022-11-03');
INSERT INTO address (
    address_line_1, address_line_2, city, postal_code, country, phone, last_updated
)
VALUES ('1 "A" Street', NULL, 'Leds', '00123', 'Côte d''Ivoire', '0044', '2022-11-03'),
       ('2 \\ Street', '', '東京', '99999-0001', 'Japan', '+81', '2022-11-03');
INSERT INTO counterparty (counterparty_legal_name, legal_address_id, last_updated)
VALUES ('Fahey & Sons, (Ltd)', 1, '2022-11-03'), ('München GmbH', 2, '2022-11-03');
INSERT INTO design (design_name, file_location, file_name, last_updated)
VALUES ('Wooden', '/usr', 'wooden.json', '2022-11-03'), ('Bronze', '/lib', 'b.json', '2022-11-03'),
       ('Unused', '/tmp', 'u.json', '2022-11-03');
"""
"""Two or three of each, in an empty totesys."""

DATES = ("2022-11-03", "2024-02-29", "2024-12-31", "2026-01-01")
TEXTS = ("", "plain", "O'Keefe \\N", 'a "b",\tc', "Ünïcødé 東京\u2028", "null")

CHANGES: Mapping[str, tuple[tuple[str, Callable[[int], object]], ...]] = {
    "sales_order": (
        ("units_sold", lambda m: 1001 + m),
        ("unit_price", lambda m: f"{2 + m}.{m}0"),
        ("agreed_delivery_date", lambda m: DATES[m % 4]),
        ("staff_id", lambda m: 1 + m % 2),
        ("design_id", lambda m: 1 + m % 2),
    ),
    "purchase_order": (
        ("item_code", lambda m: TEXTS[m]),
        ("item_unit_price", lambda m: f"{m}.05"),
        ("agreed_payment_date", lambda m: DATES[m % 4]),
    ),
    "payment": (
        ("paid", lambda m: m % 2 == 0),
        ("payment_amount", lambda m: f"{m * 1000}.99"),
        ("company_ac_number", lambda m: m),  # the star has no such column
    ),
    "design": (("file_location", lambda m: TEXTS[m]),),
    "department": (
        ("department_name", lambda m: TEXTS[m]),
        ("location", lambda m: TEXTS[m] or None),
    ),
    "address": (("city", lambda m: TEXTS[m]), ("district", lambda m: TEXTS[m] or None)),
    "staff": (("last_name", lambda m: TEXTS[m]), ("department_id", lambda m: 1 + m % 2)),
    "counterparty": (("counterparty_legal_name", lambda m: TEXTS[m]),),
}
"""What may be updated, and to which of six values."""

KEYED = (*CHANGES, "transaction")


class Session:
    """One of the application's connections: a transaction, perhaps open, with savepoints."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.levels: list[Counter[str]] = [Counter()]
        """What was done since the beginning, as of each savepoint and now."""

    @property
    def done(self) -> Counter[str]:
        return self.levels[-1]

    def act(self, kind: str, query: str, **values: object) -> int | None:
        """Run one statement; its first value, or None where it found no row it could have.

        Where another session or a constraint is in the way, the transaction is rolled back.
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
        """What was done in it."""
        self.connection.commit()
        done, self.levels = self.done, [Counter()]
        return done

    def roll_back(self) -> None:
        self.connection.rollback()
        self.levels = [Counter()]


class World:
    """The servers, set up once, and how often what happened."""

    def __init__(self, totesys: Totesys, warehouse: EmptyWarehouse, stack: ExitStack) -> None:
        self.source = totesys.dsn
        self.warehouse = warehouse.dsn
        self.counts = Counter[str]()
        self.onlooker = stack.enter_context(
            psycopg.connect(
                totesys.owner.reveal(),
                autocommit=True,
                options="-cTimeZone=UTC -clock_timeout=30s",  # whatever hangs, fails
            )
        )
        self.sessions = [
            Session(
                stack.enter_context(
                    psycopg.connect(
                        totesys.owner.reveal(),
                        options="-clock_timeout=20ms",
                        # Simple queries end with their statement. An open portal would pin a page
                        # until the session's next statement, and VACUUM (FREEZE) wait for it.
                        cursor_factory=psycopg.ClientCursor,
                    )
                )
            )
            for _ in range(3)
        ]
        for table in TABLES.split(", "):  # whose locks come and go
            self.onlooker.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)".encode())

    def renew(self) -> None:
        for session in self.sessions:
            session.roll_back()
        self.onlooker.execute(f"TRUNCATE {TABLES} RESTART IDENTITY; {REFERENCE}".encode())
        with connect(self.warehouse) as connection:
            dependents.empty(connection, TOTESYS)


def nth(table: str, key: str = "") -> str:
    """SQL: the key of the n-th row, None where another transaction holds it."""
    key = key or f"{table}_id"
    return (
        f'(SELECT {key} FROM "{table}" ORDER BY 1 LIMIT 1'
        f' OFFSET mod(%(n)s, (SELECT nullif(count(*), 0) FROM "{table}")) FOR UPDATE SKIP LOCKED)'
    )


WHO = st.integers(0, 2)
NTH = st.integers(0, 5)
VALUE = st.integers(0, 5)


class History(RuleBasedStateMachine):
    """A totesys at work and a platform that looks at it; ends with the comparison."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.world.renew()
        self.lake = tempfile.TemporaryDirectory(prefix="totes-")
        self.ingestion = FolderStore(Path(self.lake.name) / "ingestion")
        self.processed = FolderStore(Path(self.lake.name) / "processed")
        self.oracle = Oracle()
        self.committed = Counter[str]()
        """What was committed since the last capture."""

    @initialize(early=st.booleans(), whose=st.permutations(range(3)))
    def begin(self, whose: list[int], *, early: bool) -> None:
        """Two orders of each kind; each session has begun more, and a capture may have been."""
        for m in range(2):
            self.sell(0, m)
            self.purchase(0, m)
        self.commit(0)
        self.think_again(whose[0], 2)
        self.rewrite(whose[0], 0, "sales_order")
        self.cancel(whose[1], 0)
        self.change_key(whose[2], 1, "payment", reuse=False)
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
        """Order, transaction and payment in one go."""
        act = self.world.sessions[who].act
        if (order := act("insert", insert, m=m)) is None:
            return
        act(
            "insert",
            f"""WITH made AS (
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
            FROM made RETURNING payment_id""",
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
        stamp = "" if silent else ", last_updated = '2024-06-01 07:55:11'"
        self.world.sessions[who].act(
            "update",
            f'UPDATE "{table}" SET {column} = %(value)s{stamp} WHERE {table}_id = {nth(table)}'
            f" RETURNING {table}_id",
            n=n,
            value=value(m),
        )

    @rule(who=WHO, n=NTH, table=st.sampled_from(["sales_order", "purchase_order", "payment"]))
    def rewrite(self, who: int, n: int, table: str) -> None:
        """Write a row as it is: no new version."""
        self.world.sessions[who].act(
            "rewrite",
            f"UPDATE {table} SET last_updated = last_updated WHERE {table}_id = {nth(table)}"
            f" RETURNING {table}_id",
            n=n,
        )

    @rule(who=WHO, n=NTH)
    def cancel(self, who: int, n: int) -> None:
        """Delete a payment, its transaction and its order."""
        act = self.world.sessions[who].act
        gone = act(
            "delete",
            f"DELETE FROM payment WHERE payment_id = {nth('payment')} RETURNING transaction_id",
            n=n,
        )
        if gone is None:
            return
        for order in ("sales_order", "purchase_order"):
            act(
                "delete",
                f"DELETE FROM {order} WHERE {order}_id = (SELECT {order}_id FROM transaction"
                f" WHERE transaction_id = %(gone)s) RETURNING {order}_id",
                gone=gone,
            )
        act(
            "delete",
            "DELETE FROM transaction WHERE transaction_id = %(gone)s RETURNING transaction_id",
            gone=gone,
        )

    @rule(who=WHO, n=NTH, table=st.sampled_from(["sales_order", "purchase_order"]))
    def delete(self, who: int, n: int, table: str) -> None:
        """Delete an order and keep what was paid for it."""
        self.world.sessions[who].act(
            "delete",
            f"DELETE FROM {table} WHERE {table}_id = {nth(table)} RETURNING {table}_id",
            n=n,
        )

    @rule(who=WHO, m=VALUE)
    def come_and_go(self, who: int, m: int) -> None:
        """A design that no order has is deleted, or drawn once more under its old key."""
        act = self.world.sessions[who].act
        gone = act("delete", "DELETE FROM design WHERE design_id = 3 RETURNING design_id")
        if gone is None:
            act(
                "insert",
                "INSERT INTO design VALUES (3, '2024-03-01', %(name)s, '/', '', '2024-03-01')"
                " RETURNING design_id",
                name=TEXTS[m],
            )

    @rule(who=WHO, n=NTH, table=st.sampled_from(KEYED), reuse=st.booleans())
    def change_key(self, who: int, n: int, table: str, *, reuse: bool) -> None:
        """To a new one, or one that was free; what refers to it follows."""
        free = (
            f"(SELECT min(i) FROM generate_series(1, 1000) AS i"
            f' WHERE i NOT IN (SELECT {table}_id FROM "{table}"))'
        )
        new = free if reuse else f"nextval('{table}_{table}_id_seq')"
        self.world.sessions[who].act(
            "key change",
            f'UPDATE "{table}" SET {table}_id = {new} WHERE {table}_id = {nth(table)}'
            f" RETURNING {table}_id",
            n=n,
        )

    @rule(who=WHO, n=NTH, table=st.sampled_from(["payment", "sales_order", "staff", "address"]))
    def swap_keys(self, who: int, n: int, table: str) -> None:
        """Of two rows."""
        act = self.world.sessions[who].act
        query = (
            f"UPDATE {table} SET {table}_id = %(new)s WHERE {table}_id = %(old)s"
            f" RETURNING {table}_id"
        )
        one, other = (
            act("lock", f"SELECT * FROM {nth(table)} AS found ({table}_id)", n=number)
            for number in (n, n + 1)
        )
        if one is None or other is None or one == other:
            return
        for old, new in ((one, -one), (other, one), (-one, other)):
            if act("key change", query, old=old, new=new) is None:
                return

    @rule(who=WHO, m=VALUE)
    def think_again(self, who: int, m: int) -> None:
        """Take an order back, to a savepoint, and make another one."""
        session = self.world.sessions[who]
        session.save()
        self.sell(who, m)
        if len(session.levels) > 1:  # it was not in another's way
            session.roll_back_to_savepoint()
        self.purchase(who, m)

    @rule(who=WHO)
    def save(self, who: int) -> None:
        self.world.sessions[who].save()

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
        self.world.sessions[who].roll_back()

    def _sessions(self, who: int, fit: Callable[[Session], bool]) -> list[Session]:
        """The first session from `who` on that is fit for it, if there is one."""
        sessions = self.world.sessions
        return list(filter(fit, sessions[who:] + sessions[:who]))[:1]

    @rule(table=st.sampled_from(["payment", "sales_order", "staff"]))
    def freeze(self, table: str) -> None:
        self.world.onlooker.execute(f"VACUUM (FREEZE, TRUNCATE off) {table}".encode())

    # The platform

    @rule(overtaken_by=st.none() | WHO)
    def capture(self, overtaken_by: int | None) -> None:
        """A transaction may commit when the snapshot has just been taken."""
        sessions, counts = self.world.sessions, self.world.counts
        counts["captures"] += 1
        counts["captures beside an open transaction"] += any(s.done for s in sessions)
        counts["captures beside an open delete"] += any(s.done["delete"] for s in sessions)
        counts["captures beside an open key change"] += any(s.done["key change"] for s in sessions)
        brought, self.committed = self.committed, Counter()
        sights: list[Sight] = []

        def at_snapshot() -> None:
            sights.append(look(self.world.onlooker))
            if overtaken_by is not None and any(s.done for s in sessions):
                self.commit(overtaken_by)
                counts["captures that a commit overtook"] += 1

        failpoint.actions["source.snapshot-taken"] = at_snapshot
        try:
            batch = ingest(self.world.source, self.ingestion, Scope()).batch
        finally:
            del failpoint.actions["source.snapshot-taken"]
        if batch is None:
            assert sights[-1] == self.oracle.seen
            counts["captures that found nothing new"] += 1
            return
        assert brought, "a batch of nothing but repeats"
        self.oracle.record(sights[-1], batch.captured_at)
        counts["captures of a delete"] += brought["delete"] > 0
        counts["captures of a key change"] += brought["key change"] > 0
        counts["captures of a row written as it was"] += brought["rewrite"] > 0
        counts["captures of work that survived a savepoint rolled back"] += brought["savepoint"] > 0

    @rule()
    def transform(self) -> None:
        for _ in transform(self.ingestion, self.processed):
            pass

    @rule()
    def load(self) -> None:
        for _ in load(self.processed, self.world.warehouse):
            pass

    def teardown(self) -> None:
        """What is still open at the last capture: the warehouse shows what is committed."""
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
        assert_totals_equal_the_facts(self.world.warehouse)
        with psycopg.connect(self.world.warehouse.reveal(), options="-cTimeZone=UTC") as warehouse:

            def rows(query: LiteralString, relation: str) -> list[Row]:
                return list(warehouse.execute(sql.SQL(query).format(sql.Identifier(relation))))

            source = look(self.world.onlooker)
            for fact in FACTS:
                found = [row[1:] for row in rows("SELECT * FROM {}", fact)]
                assert set(found) == self.oracle.history(fact)
                assert len(found) == len(set(found))
                current = rows("SELECT * FROM {}", fact.replace("fact", "current"))
                assert {row[1]: row[1:] for row in current} == source[fact]
            for dimension in DIMENSIONS:
                found = rows("SELECT * FROM {}", dimension)
                assert {row[0]: row for row in found} == self.oracle.latest[dimension]
                deleted = warehouse.execute(
                    "SELECT key FROM totes.deleted_dimension_rows WHERE table_name = %s",
                    [dimension],
                )
                assert {key for (key,) in deleted} == self.oracle.gone(dimension)
            days = {day for (day,) in warehouse.execute("SELECT date_id FROM dim_date")}
            assert days == set(_calendar(self.oracle.years))


def _calendar(years: set[int]) -> Iterator[date]:
    for year in years:
        first = date(year, 1, 1).toordinal()
        yield from map(date.fromordinal, range(first, date(year + 1, 1, 1).toordinal()))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_the_warehouse_holds_every_version_that_a_capture_saw(
    totesys: Totesys,
    warehouse: EmptyWarehouse,
    part: int,
    record_property: Callable[[str, object], None],
) -> None:
    if settings().derandomize:  # as in CI, where every part would draw the same examples
        seed(part)(History)
    with ExitStack() as stack:
        world = History.world = World(totesys, warehouse, stack)
        run_state_machine_as_test(
            History,
            settings=settings(
                max_examples=EXAMPLES // PARTS,
                stateful_step_count=STEPS,
                suppress_health_check=list(HealthCheck),
            ),
        )
    counted = ", ".join(f"{world.counts[name]} {name}" for name in MUST_HAPPEN)
    record_property(f"History, part {part + 1} of {PARTS}", counted)
    if DEEP:  # a few examples need not contain all of them
        assert not [name for name in MUST_HAPPEN if not world.counts[name]]
