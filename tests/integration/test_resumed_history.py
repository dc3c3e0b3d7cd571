"""A capture of large tables that is killed at random, with random changes, equals the source."""

import logging
from contextlib import ExitStack
from dataclasses import replace
from random import Random

import pytest
from depth import drawn, seeded_random
from resumed_capture import ACCEPT_DELETES, FAILPOINTS, capture_killed
from scratch_source import ScratchSource

CREATE = {
    "int": "CREATE TABLE item (id int PRIMARY KEY, n int, note text)",
    "uuid": "CREATE TABLE item (id uuid PRIMARY KEY, n int, note text)",
    "two columns": """
        CREATE TABLE item (id int, part text, n int, note text, PRIMARY KEY (part, id))""",
    "partitions": """
        CREATE TABLE item (id int, n int, note text, PRIMARY KEY (id, n)) PARTITION BY LIST (n);
        CREATE TABLE item_0 PARTITION OF item FOR VALUES IN (0);
        CREATE TABLE item_1 PARTITION OF item DEFAULT""",
    "no key": "CREATE TABLE item (id int, n int, note text)",
}

KEYS = {"uuid": "md5(i::text)::uuid", "two columns": "i, 'part ' || i % 3"}


pytestmark = pytest.mark.usefixtures("small_pieces")


class RandomTable:
    """A table of about 2,000 rows in 60 blocks, and random changes of it."""

    def __init__(self, source: ScratchSource, kind: str, chance: Random) -> None:
        self.source, self.kind, self.chance = source, kind, chance
        self.next_id = 1
        source.run(CREATE[kind])
        source.run(self.insert(2000))

    def insert(self, rows: int) -> str:
        first, self.next_id = self.next_id, self.next_id + rows
        return (
            f"INSERT INTO item SELECT {KEYS.get(self.kind, 'i')}, i % 3, repeat('x', 200)"
            f" FROM generate_series({first}, {self.next_id - 1}) i"
        )

    def some_rows(self) -> str:
        return self.chance.choice(
            [
                "ctid = (SELECT max(ctid) FROM item)",
                f"hashtext(id::text) % {self.chance.randint(5, 200)} = 0",
                f"(ctid::text::point)[0] BETWEEN {self.chance.randint(0, 40)} AND 20",
            ]
        )

    def change(self) -> str:
        """Return statements that change, move, delete, insert again or rewrite rows."""
        rows = self.some_rows()
        again = (
            f"CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM item WHERE {rows};"
            f"DELETE FROM item WHERE {rows}; INSERT INTO item SELECT * FROM kept"
        )
        other_id = "md5(id::text)::uuid" if self.kind == "uuid" else "id + 100000"
        usual = [
            self.insert(self.chance.choice([1, 100])),
            f"DELETE FROM item WHERE {rows}",
            f"UPDATE item SET note = note || 'y' WHERE {rows}",
            f"UPDATE item SET n = (n + 1) % 3 WHERE {rows}",
            f"UPDATE item SET id = {other_id} WHERE {rows}",
            again,
            "VACUUM (FREEZE) item",
        ]
        rare = [
            f"VACUUM FULL {'item_1' if self.kind == 'partitions' else 'item'}",
            f"TRUNCATE item; {self.insert(1000)}",
            "ALTER TABLE item ADD COLUMN IF NOT EXISTS added int DEFAULT 7",
            "ALTER TABLE item DROP COLUMN IF EXISTS added",
        ]
        return self.chance.choice(usual if self.chance.random() < 0.85 else rare)


@pytest.mark.few(3)
@pytest.mark.parametrize("kind", CREATE)
def test_a_capture_that_is_killed_anywhere_is_continued_and_equals_the_source(
    scratch_source: ScratchSource, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also killed again, with changes in between and transactions left open, and afterwards."""
    caplog.set_level(logging.WARNING)
    chance = seeded_random()
    for _ in range(drawn(1, 20)):
        scratch_source = replace(
            scratch_source,
            lake=scratch_source.lake.with_name(f"lake-{chance.random()}"),
            scope=replace(scratch_source.scope, connections=chance.choice([1, 2])),
        )
        table = RandomTable(scratch_source, kind, chance)
        done: list[str] = []
        for _ in range(chance.randint(2, 5)):
            with ExitStack() as stack:
                if chance.random() < 0.3:
                    late = stack.enter_context(scratch_source.open())
                    late.execute(f"DELETE FROM item WHERE {table.some_rows()}".encode())
                    late.execute(table.insert(3).encode())
                name, nth = chance.choice(FAILPOINTS), chance.randint(1, 12)
                done.append(f"killed at {name} {nth}")
                if not capture_killed(scratch_source, name, nth):
                    break
            for _ in range(chance.randint(0, 3)):
                done.append(table.change())
                scratch_source.run(done[-1])
        batch = scratch_source.capture(ACCEPT_DELETES)
        assert scratch_source.lake_equals_source(), done
        done.append(f"then {table.change()}")
        scratch_source.run(done[-1].removeprefix("then "))
        scratch_source.capture(ACCEPT_DELETES)
        assert scratch_source.lake_equals_source(), done
        assert batch is None or batch.batch > 0
        assert [record.message for record in caplog.records] == []
        scratch_source.run("DROP TABLE item")
