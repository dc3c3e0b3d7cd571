"""The business of a soak: the simulator's, and what no simulator of a sane one would do.

Two sessions hold transactions open over captures, with deletions, changed keys and savepoints, on
orders that are too old for the simulator to touch: nobody ever waits for another.
"""

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import LiteralString

import psycopg
from faults import restart
from psycopg import errors, sql

from totes.demo.simulator import HOSTILE, Simulator, bulk
from totes.demo.simulator.actions import RECENT
from totes.embedded.servers import EmbeddedServer, Source

ORDERS = RECENT + 200
"""Of each kind, to begin with."""

_OLD = RECENT + 100
"""So far behind the newest id, the simulator touches nothing."""

MEDDLING = 0.2
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

type Act = Callable[[Random, str, str, str], None]
"""With an order's table and its columns of a price and a quantity."""


class Business:
    """`server` is the source's; the same seed makes the same events in the same order."""

    def __init__(self, server: EmbeddedServer, source: Source, seed: str) -> None:
        self._server, self._source, self._seed = server, source, seed
        self._owner = source.owner.replace(options="-clock_timeout=20s")  # whatever hangs, fails
        self._chance = Random(seed)  # noqa: S311  not for secrets
        self.events = 0
        self._restarts = 0
        bulk(self._owner, orders=ORDERS, purchases=ORDERS)
        self._open()

    def _open(self) -> None:
        seed = Random(f"{self._seed}, {self._restarts}").getrandbits(32)  # noqa: S311  no secret
        self._simulator = Simulator(self._owner, seed=seed, mix=HOSTILE)
        self._meddlers = [_Meddler(self._source, self._chance) for _ in range(2)]

    def run(self, events: int) -> None:
        for _ in range(events):
            self.events += 1
            if self._chance.random() < MEDDLING:
                self._chance.choice(self._meddlers).step()
            elif self._chance.random() < 0.02:
                self._freeze()
            else:
                self._simulator.step()

    def restart(self, mode: str) -> None:
        """Restart the source's server; whatever was open is lost."""
        restart(self._server, mode)
        self.close()
        self._restarts += 1
        self._open()

    def close(self) -> None:
        with suppress(psycopg.OperationalError):
            self._simulator.close()
        for meddler in self._meddlers:
            meddler.close()

    def _freeze(self) -> None:
        """Rows lose the mark of the transaction that wrote them, for the server's own use."""
        table = self._chance.choice(["payment", "sales_order", "staff", "transaction"])
        with (
            psycopg.connect(self._source.superuser.reveal(), autocommit=True) as connection,
            suppress(errors.QueryCanceled),  # a page was in use
        ):
            connection.execute("SET statement_timeout = '1s'")
            connection.execute(
                sql.SQL("VACUUM (FREEZE, TRUNCATE off) {}").format(sql.Identifier(table))
            )


class _Meddler:
    """One session; each step is a statement in a transaction that goes on for some more."""

    def __init__(self, source: Source, chance: Random) -> None:
        self._chance = chance
        self._connection = psycopg.connect(
            source.owner.reveal(),
            options="-clock_timeout=20ms",  # the other one has it
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
        acts: list[Act] = [self._change_key, self._cancel, self._correct, self._rewrite]
        act = self._chance.choice(acts)
        chance = Random(self._chance.random())  # noqa: S311  what it draws depends on the rows
        undone = self._chance.random() < 0.2
        self._connection.execute("SELECT")  # the transaction is begun, what follows a savepoint
        try:
            with self._connection.transaction():
                act(chance, *deal)
                if undone:
                    raise psycopg.Rollback
        except (errors.LockNotAvailable, errors.IntegrityError):
            self._connection.rollback()

    def _end(self) -> None:
        if self._chance.random() < 0.75:
            self._connection.commit()
        else:
            self._connection.rollback()

    def _deal(self, chance: Random, table: str) -> tuple[int | None, ...] | None:
        """Keys of an old order, its transaction and its payment, as far as there are such."""
        return self._do(_OLD_DEAL, table, recent=_OLD, n=chance.randrange(60)).fetchone()

    def _change_key(self, chance: Random, order: str, _price: str, _quantity: str) -> None:
        """To a new one or one that was free; what refers to it follows."""
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
        if keys is None or chance.random() < 0.5:  # they must last
            return
        order, transaction, payment = keys
        for part, key in (("payment", payment), ("transaction", transaction), (table, order)):
            if key is not None:
                self._do("DELETE FROM {table} WHERE {id} = {key}", part, key=key)

    def _correct(self, chance: Random, table: str, price: str, quantity: str) -> None:
        """Without a word in last_updated."""
        if keys := self._deal(chance, table):
            self._do(
                "UPDATE {table} SET {column} = {value} WHERE {id} = {key}",
                table,
                column=sql.Identifier(chance.choice([price, quantity])),
                value=chance.randint(1, 9999),
                key=keys[0],
            )

    def _rewrite(self, chance: Random, table: str, _price: str, _quantity: str) -> None:
        """As it is: no new version."""
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
