"""Filling an empty warehouse gives the same rows as merging."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from database import execute, fetch_rows
from loading import load_all
from processed_lake import (
    ALL,
    DIMENSIONS,
    ProcessedLake,
    moment,
    payment,
    read_star_tables,
    read_versions,
    sale,
    transaction,
)

from conftest import EmptyWarehouse
from totes.errors import LakeError
from totes.stages.load import rebuild
from totes.warehouse import merge


@pytest.mark.few(1)
@pytest.mark.parametrize("privileged", [False, True])
def test_filling_and_merging_give_the_same_rows(
    lake: ProcessedLake,
    warehouse: EmptyWarehouse,
    monkeypatch: pytest.MonkeyPatch,
    privileged: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    lake.publish(
        {
            **ALL,
            "fact_sales_order": [sale(key, units_sold=key) for key in range(1, 50)],
            "fact_payment": [payment(1), payment(2, transaction_id=7)],
        }
    )
    lake.publish(
        {"dim_transaction": [transaction(7)], "fact_sales_order": [sale(3), sale(4)]},
        deletes={"fact_sales_order": [5], "fact_payment": [1]},
    )
    found = []
    with replica_role_of_loader(warehouse, granted=privileged):
        for bulk_rows in (1, 1000):
            monkeypatch.setattr(merge, "BULK_ROWS", bulk_rows)
            monkeypatch.setattr(merge, "NUMPY_ROWS", bulk_rows)
            assert rebuild(lake.store, warehouse.dsn, generation=1) == 2
            found.append((read_star_tables(warehouse.dsn), definitions(warehouse)))
            assert not fetch_rows(warehouse.dsn, "SELECT FROM pg_constraint WHERE NOT convalidated")
    assert found[0] == found[1]
    assert len(found[0][0]["fact_payment"]) == 2


def definitions(of: EmptyWarehouse) -> list[tuple[Any, ...]]:
    return fetch_rows(
        of.dsn,
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace"
        " UNION ALL SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        " ORDER BY 1, 2",
    )


@pytest.mark.parametrize("privileged", [False, True])
def test_only_foreign_keys_that_the_batch_fulfils_stay_while_filling(
    lake: ProcessedLake,
    warehouse: EmptyWarehouse,
    monkeypatch: pytest.MonkeyPatch,
    privileged: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", 1)
    lake.publish(
        {**ALL, "fact_payment": [payment(1), payment(2, transaction_id=7)]},
        deletes={"dim_transaction": [7]},
    )
    with replica_role_of_loader(warehouse, granted=privileged):
        before = foreign_keys(warehouse)
        load_all(lake, warehouse)
        created = {name for (name, oid) in foreign_keys(warehouse) - before}
    assert "fact_payment_transaction_id_fkey" in created
    assert len(created) == (1 if privileged else len(before))
    assert len(read_versions(warehouse.dsn, "fact_payment")) == 1
    assert fetch_rows(warehouse.dsn, "SELECT key, reason FROM totes.quarantine") == [
        ("2", "waits for dim_transaction 7")
    ]


@contextmanager
def replica_role_of_loader(warehouse: EmptyWarehouse, *, granted: bool) -> Iterator[None]:
    """Let the loader set session_replication_role, or not."""
    parameter = "SET ON PARAMETER session_replication_role"
    if not granted:
        execute(warehouse.admin, f"REVOKE {parameter} FROM totes_loader")
    try:
        yield
    finally:
        execute(warehouse.admin, f"GRANT {parameter} TO totes_loader")


def foreign_keys(of: EmptyWarehouse) -> set[tuple[Any, ...]]:
    """Return names and OIDs of filled tables: a key that is created again has another OID."""
    query = (
        "SELECT conname, oid FROM pg_constraint WHERE contype = 'f'"
        " AND conrelid = ANY('{fact_sales_order,fact_purchase_order,fact_payment}'::regclass[])"
    )
    return set(fetch_rows(of.dsn, query))


def test_a_duplicate_key_fails_when_filling(
    lake: ProcessedLake, warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", 1)
    lake.publish({**DIMENSIONS, "fact_sales_order": [sale(1), sale(1, units_sold=2)]})
    with pytest.raises(LakeError, match=r"two versions of one row .*: sales_order_id 1\."):
        load_all(lake, warehouse)
    assert not any(read_star_tables(warehouse.dsn).values())


def test_versions_from_earlier_batches_are_merged(
    lake: ProcessedLake, warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", 1)
    lake.publish(DIMENSIONS)
    versions = [{**sale(1), "valid_from": moment(1)}, sale(1, units_sold=2)]
    lake.publish({"fact_sales_order": versions})
    load_all(lake, warehouse)
    assert read_versions(warehouse.dsn, "fact_sales_order") == [
        (moment(1), moment(2)),
        (moment(2), None),
    ]
