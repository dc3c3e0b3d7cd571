"""A capture of large tables that is killed at random, with random changes, equals the source."""

import logging
from contextlib import ExitStack
from dataclasses import replace

import pytest
from depth import drawn, seeded_random
from random_table import CREATE, RandomTable
from resumed_capture import ACCEPT_DELETES, FAILPOINTS, capture_killed
from scratch_source import ScratchSource

KINDS = {**CREATE, "no key": "CREATE TABLE item (id int, n int, note text)"}


pytestmark = pytest.mark.usefixtures("small_pieces")


def random_change(table: RandomTable) -> str:
    """Return statements that change, move, delete, insert again or rewrite rows."""
    rows, chance = table.some_rows(), table.chance
    again = (
        f"CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM item WHERE {rows};"
        f"DELETE FROM item WHERE {rows}; INSERT INTO item SELECT * FROM kept"
    )
    usual = [
        table.insert(chance.choice([1, 100])),
        f"DELETE FROM item WHERE {rows}",
        f"UPDATE item SET note = note || 'y' WHERE {rows}",
        f"UPDATE item SET n = (n + 1) % 3 WHERE {rows}",
        f"UPDATE item SET id = {table.other_id()} WHERE {rows}",
        again,
        "VACUUM (FREEZE) item",
    ]
    rare = [
        f"VACUUM FULL {'item_1' if table.kind == 'partitions' else 'item'}",
        f"TRUNCATE item; {table.insert(1000)}",
        "ALTER TABLE item ADD COLUMN IF NOT EXISTS added int DEFAULT 7",
        "ALTER TABLE item DROP COLUMN IF EXISTS added",
    ]
    return chance.choice(usual if chance.random() < 0.85 else rare)


@pytest.mark.few(3)
@pytest.mark.parametrize("kind", KINDS)
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
        table = RandomTable(scratch_source, chance, kind, KINDS[kind], rows=2000)
        done: list[str] = []
        for _ in range(chance.randint(2, 5)):
            with ExitStack() as stack:
                if chance.random() < 0.3:
                    table.leave_open(stack, 3)
                name, nth = chance.choice(FAILPOINTS), chance.randint(1, 12)
                done.append(f"killed at {name} {nth}")
                if not capture_killed(scratch_source, name, nth):
                    break
            for _ in range(chance.randint(0, 3)):
                done.append(random_change(table))
                scratch_source.run(done[-1])
        batch = scratch_source.capture(ACCEPT_DELETES)
        assert scratch_source.lake_equals_source(), done
        done.append(f"then {random_change(table)}")
        scratch_source.run(done[-1].removeprefix("then "))
        scratch_source.capture(ACCEPT_DELETES)
        assert scratch_source.lake_equals_source(), done
        assert batch is None or batch.batch > 0
        assert [record.message for record in caplog.records] == []
        scratch_source.run("DROP TABLE item")
