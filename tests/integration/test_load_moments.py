"""A batch with many moments: all are merged at once, with the result of one after another."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from database import fetch_rows
from depth import drawn, seeded_random
from loading import load_all
from moment_by_moment import MomentByMoment
from processed_lake import (
    ALL,
    DIMENSIONS,
    ProcessedLake,
    Row,
    moment,
    read_versions,
    rejected_row,
    sale,
    staff,
)

from conftest import EmptyWarehouse
from totes.config.dsn import Dsn
from totes.errors import LakeError
from totes.stages.load import load
from totes.star.folder import TOTESYS
from totes.warehouse import dependents, merge

SALES, STAFF = "fact_sales_order", "dim_staff"
KEYS = {SALES: range(1, 61), STAFF: range(3, 9)}
BATCHES = 6
RESULTS = {
    "facts": "SELECT sales_order_id, units_sold, sales_staff_id, valid_from, valid_to"
    " FROM fact_sales_order",
    "quarantine": "SELECT star_table, key, reason, valid_from, superseded_at, released_at"
    " FROM totes.quarantine",
    "dimension": "SELECT staff_id, first_name FROM dim_staff",
    "deletions": "SELECT table_name, key, deleted_at FROM totes.deleted_dimension_rows",
}


@dataclass
class History:
    """Publishes batches of random versions and deletions at several moments, and releases."""

    chance: Random
    lake: ProcessedLake
    rejected: list[tuple[str, Row]] = field(default_factory=list)
    """The rejected versions with their tables, also released ones."""

    def publish(self) -> None:
        captured_at = moment(self.lake.batches + 1)
        count, releases = self.chance.choice(((1, 0), (1, 0), (1, 0.3), (2, 0.3), (6, 0), (6, 0.3)))
        moments = [captured_at - timedelta(minutes=ago) for ago in reversed(range(count))]
        upserts: dict[str, list[Row]] = {SALES: [], STAFF: []}
        for table, row in self.chance.sample(self.rejected, int(len(self.rejected) * releases)):
            upserts[table].append(row)
        rejected = []
        for table, keys in KEYS.items():
            for key in keys:
                for at in moments:
                    row = {**self._version(table, key), "valid_from": at}
                    match self.chance.choices(
                        ("accept", "reject", "delete", "nothing"), (4, 2, 1, 3)
                    ):
                        case ["accept"]:
                            upserts[table].append(row)
                        case ["reject"]:
                            rejected.append((table, row))
                        case ["delete"]:
                            keys_only = {name: row[name] for name in (*row,)[:1]}
                            upserts[table].append({**keys_only, "valid_from": at, "_op": "delete"})
        self.rejected += rejected
        self.lake.publish(
            upserts,
            rejected=[
                rejected_row(table, next(iter(row.values())), valid_from=row["valid_from"])
                for table, row in rejected
            ],
        )

    def _version(self, table: str, key: int) -> Row:
        if table == STAFF:
            return staff(key, first_name=self.chance.choice("AB"))
        who = self.chance.choice((1, 1, 1, *KEYS[STAFF]))
        return sale(key, units_sold=self.chance.randint(1, 2), sales_staff_id=who)


def results(dsn: Dsn) -> dict[str, list[Any]]:
    return {name: sorted(fetch_rows(dsn, query), key=repr) for name, query in RESULTS.items()}


def test_many_moments_are_merged_as_if_one_after_another(
    warehouse: EmptyWarehouse,
    copied: Callable[[Dsn], Dsn],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    expected_at, chance = copied(warehouse.dsn), seeded_random()
    for number in range(drawn(1, 10)):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        history = History(chance, ProcessedLake(folder))
        for dsn in (warehouse.dsn, expected_at):
            with psycopg.connect(dsn.reveal()) as connection:
                dependents.delete_all_rows(connection, TOTESYS)
        history.lake.publish(DIMENSIONS)
        for _ in range(BATCHES):
            history.publish()
            load_all(history.lake, warehouse)
            with monkeypatch.context() as patched:
                patched.setattr(merge, "_BatchLoad", MomentByMoment)
                list(load(history.lake.store, expected_at))
            assert results(warehouse.dsn) == results(expected_at)


def test_a_batch_may_have_several_versions_of_a_row(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    times = [moment(2) - timedelta(minutes=ago) for ago in (5, 4, 3, 2, 1, 0)]
    units = (42972, 7, 7, None, 7, 8)  # the first equals the version in the warehouse
    lake.publish(
        {
            SALES: [
                {"sales_order_id": 1, "_op": "delete", "valid_from": at}
                if number is None
                else {**sale(units_sold=number), "valid_from": at}
                for at, number in zip(times, units, strict=True)
            ]
        }
    )
    load_all(lake, warehouse)
    assert read_versions(warehouse.dsn, SALES, "units_sold") == [
        (42972, moment(1), times[1]),
        (7, times[1], times[3]),
        (7, times[4], times[5]),
        (8, times[5], None),
    ]


@pytest.mark.parametrize("batch", [1, 2], ids=["late", "latest"])
@pytest.mark.parametrize(
    ("table", "row"), [(SALES, sale(2)), (STAFF, staff(2))], ids=["fact", "dimension"]
)
def test_two_versions_of_a_row_at_one_moment_are_named(
    lake: ProcessedLake, warehouse: EmptyWarehouse, batch: int, table: str, row: Row
) -> None:
    lake.publish(ALL)
    lake.publish({table: [{**row, "valid_from": moment(batch)}] * 2})
    key = rf"{next(iter(row))} 2\."
    with pytest.raises(
        LakeError, match=f"Batch 2 has two versions of one row of {table} .*: {key}"
    ):
        load_all(lake, warehouse)
    assert fetch_rows(warehouse.dsn, "SELECT max(batch) FROM totes.batches") == [(1,)]


def test_two_versions_of_a_row_in_an_empty_table_are_named(
    lake: ProcessedLake, warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", 1)
    lake.publish({**DIMENSIONS, STAFF: [staff(), staff()]})
    with pytest.raises(LakeError, match="Batch 1 has two versions of one row of dim_staff"):
        load_all(lake, warehouse)
