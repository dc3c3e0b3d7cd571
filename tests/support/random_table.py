"""A table of a scratch source, and random statements that change its rows."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from random import Random
from types import MappingProxyType

from scratch_source import ScratchSource

CREATE: Mapping[str, str] = MappingProxyType(
    {
        "int": "CREATE TABLE item (id int PRIMARY KEY, n int, note text)",
        "uuid": "CREATE TABLE item (id uuid PRIMARY KEY, n int, note text)",
        "two columns": """
            CREATE TABLE item (id int, part text, n int, note text, PRIMARY KEY (part, id))""",
        "partitions": """
            CREATE TABLE item (id int, n int, note text, PRIMARY KEY (id, n)) PARTITION BY LIST (n);
            CREATE TABLE item_0 PARTITION OF item FOR VALUES IN (0);
            CREATE TABLE item_1 PARTITION OF item FOR VALUES IN (1);
            CREATE TABLE item_2 PARTITION OF item DEFAULT""",
    }
)
"""Statements that create the table, by its kind."""

_KEYS = {"uuid": "md5(i::text)::uuid", "two columns": "i, 'part ' || i % 3"}


class RandomTable:
    """A table `item` of a kind with about `rows` rows, of which 33 with long notes fill a block."""

    def __init__(  # noqa: PLR0913  what the table is like
        self,
        source: ScratchSource,
        chance: Random,
        kind: str,
        create: str,
        *,
        rows: int,
        note_lengths: Sequence[int] = (200,),
    ) -> None:
        self.source, self.chance, self.kind = source, chance, kind
        self._rows, self._note_lengths, self._next_id = rows, note_lengths, 1
        source.run(create)
        source.run(self.insert(rows))

    def insert(self, rows: int) -> str:
        """Return a statement that inserts rows with new keys."""
        first, self._next_id = self._next_id, self._next_id + rows
        note = f"repeat('x', {self.chance.choice(self._note_lengths)})"
        return (
            f"INSERT INTO item SELECT {_KEYS.get(self.kind, 'i')}, i % 3, {note}"
            f" FROM generate_series({first}, {self._next_id - 1}) i"
        )

    def some_rows(self) -> str:
        """Return a condition: one row, scattered rows, or all rows of some blocks."""
        blocks = self._rows // 33
        first_block = self.chance.randint(0, blocks)
        return self.chance.choice(
            [
                "ctid = (SELECT max(ctid) FROM item)",
                f"hashtext(id::text) % {self.chance.randint(5, self._rows // 10)} = 0",
                f"(ctid::text::point)[0] BETWEEN {first_block} AND {blocks // 3}",
            ]
        )

    def other_id(self) -> str:
        """Return an expression: another key."""
        return "md5(id::text)::uuid" if self.kind == "uuid" else "id + 100000"

    def leave_open(self, stack: ExitStack, rows: int) -> None:
        """Delete and insert in a transaction that is committed at the end of `stack`."""
        connection = stack.enter_context(self.source.open())
        connection.execute(f"DELETE FROM item WHERE {self.some_rows()}".encode())
        connection.execute(self.insert(rows).encode())
