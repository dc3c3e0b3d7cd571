"""The business of a soak: the simulator's events, and long transactions with unusual changes.

Two sessions keep transactions open across captures, with deletions, changed keys and savepoints.
They change orders that are too old for the simulator to change, so no session waits for another.
"""

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import LiteralString

import psycopg
from faults import restart
from psycopg import errors, sql

from totes.demo.simulator import HOSTILE, Simulator, bulk
from totes.demo.simulator.actions import RECENT_ORDERS
from totes.embedded.servers import EmbeddedServer, Source

ORDERS = RECENT_ORDERS + 200
"""Number of initial orders of each kind."""

_OLD = RECENT_ORDERS + 100
"""Orders so far behind the newest id are not changed by the simulator."""

SESSION_SHARE = 0.2
"""The share of events that are not the simulator's."""

_DEALS: tuple[tuple[LiteralString, LiteralString, LiteralString], ...] = (
    ("sales_order", "unit_price", "units_sold"),
    ("purchase_order", "item_unit_price", "item_quantity"),
)

_OLD_DEAL: LiteralString = """
SELECT {id}, transaction_id, payment_id
FROM {table} LEFT JOIN "transaction" USING ({id}) LEFT JOIN payment USING (transaction_id)
WHERE {id} <= (SELECT max({id}) FROM {table}) - {recent}
ORDER BY {id} OFFSET {n} LIMIT 1 FOR UPDATE OF {table} SKIP LOCKED
"""

_FREE: LiteralString = (
    "SELECT min(key) FROM generate_series(1, (SELECT max({id}) FROM {table}) - {recent}) AS key"
    " WHERE NOT EXISTS (SELECT FROM {table} WHERE {id} = key)"
)


_NEXT: LiteralString = "SELECT nextval(pg_get_serial_sequence({name}, {column}))"

_CHANGE_KEY: LiteralString = (
    "UPDATE {table} SET {id} = {new} WHERE {id} = {key} AND {new} IS NOT NULL"
)

type Change = Callable[[Random, str, str, str], None]
"""Takes an order's table and its columns of a price and a quantity."""


class Business:
    """A business in `source` on `server`; the same seed makes the same events in the same order."""

    def __init__(self, server: EmbeddedServer, source: Source, seed: str) -> None:
        self._server, self._source, self._seed = server, source, seed
        self._owner = source.owner.replace(
            options="-clock_timeout=20s"
        )  # a statement that hangs fails
        self._chance = Random(seed)  # noqa: S311  not for secrets
        self.events = 0
        self._restarts = 0
        bulk(self._owner, orders=ORDERS, purchases=ORDERS)
        self._open()

    def _open(self) -> None:
        seed = Random(f"{self._seed}, {self._restarts}").getrandbits(32)  # noqa: S311  no secret
        self._simulator = Simulator(self._owner, seed=seed, mix=HOSTILE)
        self._sessions = [_LongSession(self._source, self._chance) for _ in range(2)]

    def run(self, events: int) -> None:
        for _ in range(events):
            self.events += 1
            if self._chance.random() < SESSION_SHARE:
                self._chance.choice(self._sessions).step()
            elif self._chance.random() < 0.02:
                self._freeze()
            else:
                self._simulator.step()

    def restart(self, mode: str) -> None:
        """Restart the source's server; open transactions are lost."""
        restart(self._server, mode)
        self.close()
        self._restarts += 1
        self._open()

    def close(self) -> None:
        with suppress(psycopg.OperationalError):
            self._simulator.close()
        for session in self._sessions:
            session.close()

    def _freeze(self) -> None:
        """Freeze a table's rows, which replaces the transaction ids that wrote them."""
        table = self._chance.choice(["payment", "sales_order", "staff", "transaction"])
        with (
            psycopg.connect(self._source.superuser.reveal(), autocommit=True) as connection,
            suppress(errors.QueryCanceled),  # a page was in use
        ):
            connection.execute("SET statement_timeout = '1s'")
            connection.execute(
                sql.SQL("VACUUM (FREEZE, TRUNCATE off) {}").format(sql.Identifier(table))
            )


class _LongSession:
    """A session with transactions of several steps, one statement each."""

    def __init__(self, source: Source, chance: Random) -> None:
        self._chance = chance
        self._connection = psycopg.connect(
            source.owner.reveal(),
            options="-clock_timeout=20ms",  # the other session may hold the lock
            cursor_factory=psycopg.ClientCursor,  # no portal stays open that VACUUM would wait for
        )
        self._left = 0

    def close(self) -> None:
        self._connection.close()

    def step(self) -> None:
        if self._left == 0:
            self._end()
            self._left = self._chance.randint(1, 12)
        self._left -= 1
        deal = self._chance.choice(_DEALS)
        changes: list[Change] = [self._change_key, self._cancel, self._correct, self._rewrite]
        change = self._chance.choice(changes)
        chance = Random(self._chance.random())  # noqa: S311  the number of draws depends on the rows
        is_undone = self._chance.random() < 0.2
        self._connection.execute("SELECT")  # begins the transaction; the next is a savepoint
        try:
            with self._connection.transaction():
                change(chance, *deal)
                if is_undone:
                    raise psycopg.Rollback
        except (errors.LockNotAvailable, errors.IntegrityError):
            self._connection.rollback()

    def _end(self) -> None:
        if self._chance.random() < 0.75:
            self._connection.commit()
        else:
            self._connection.rollback()

    def _deal(self, chance: Random, table: str) -> tuple[int | None, ...] | None:
        """Return the keys of an old order, its transaction and its payment (None if missing)."""
        return self._do(_OLD_DEAL, table, recent=_OLD, n=chance.randrange(60)).fetchone()

    def _change_key(self, chance: Random, order: str, _price: str, _quantity: str) -> None:
        """Change a key to a new or an unused one; references follow."""
        keys = self._deal(chance, order)
        if keys is None:
            return
        which = chance.randrange(3)
        table, key = (order, "transaction", "payment")[which], keys[which]
        if key is None:
            return
        query = chance.choice([_FREE, _NEXT])
        parts = {"recent": _OLD, "name": table, "column": f"{table}_id"}
        for (new,) in self._do(query, table, **parts).fetchall():
            self._do(_CHANGE_KEY, table, new=new, key=key)

    def _cancel(self, chance: Random, table: str, _price: str, _quantity: str) -> None:
        keys = self._deal(chance, table)
        if keys is None or chance.random() < 0.5:  # keep enough orders
            return
        order, transaction, payment = keys
        for part, key in (("payment", payment), ("transaction", transaction), (table, order)):
            if key is not None:
                self._do("DELETE FROM {table} WHERE {id} = {key}", part, key=key)

    def _correct(self, chance: Random, table: str, price: str, quantity: str) -> None:
        """Change a value without changing last_updated."""
        if keys := self._deal(chance, table):
            self._do(
                "UPDATE {table} SET {column} = {value} WHERE {id} = {key}",
                table,
                column=sql.Identifier(chance.choice([price, quantity])),
                value=chance.randint(1, 9999),
                key=keys[0],
            )

    def _rewrite(self, chance: Random, table: str, _price: str, _quantity: str) -> None:
        """Write a row unchanged, which is no new version."""
        if keys := self._deal(chance, table):
            self._do(
                "UPDATE {table} SET last_updated = last_updated WHERE {id} = {key}",
                table,
                key=keys[0],
            )

    def _do(self, statement: LiteralString, table: str, **values: object) -> psycopg.Cursor:
        return self._connection.execute(
            sql.SQL(statement).format(
                table=sql.Identifier(table), id=sql.Identifier(f"{table}_id"), **values
            )
        )
