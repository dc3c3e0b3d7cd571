"""What a load makes of changes: versions of facts, dimensions, and releases from quarantine."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from database import fetch_rows
from depth import drawn
from hypothesis import HealthCheck, given, settings
from loading import load_all
from processed_lake import (
    ALL,
    DIMENSIONS,
    ProcessedLake,
    currency,
    moment,
    payment,
    purchase,
    read_versions,
    rejected_row,
    sale,
    staff,
)
from random_releases import (
    ORDERS,
    RELEASES,
    STEPS,
    Event,
    Orders,
    expected_versions,
    merge_equal_versions,
)

from conftest import EmptyWarehouse
from totes.star.folder import TOTESYS
from totes.warehouse import dependents, merge

pytestmark = pytest.mark.few(5)


def quarantine(dsn: Any, *columns: str) -> list[tuple[Any, ...]]:
    return fetch_rows(
        dsn, f"SELECT {', '.join(columns)} FROM totes.quarantine ORDER BY quarantine_id"
    )


def test_a_change_ends_the_old_version_and_adds_a_new_one(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    lake.publish({"fact_sales_order": [sale(units_sold=7), sale(2)]})
    load_all(lake, warehouse)
    assert read_versions(warehouse.dsn, "fact_sales_order", "sales_order_id", "units_sold") == [
        (1, 42972, moment(1), moment(2)),
        (1, 7, moment(2), None),
        (2, 42972, moment(2), None),
    ]
    assert fetch_rows(
        warehouse.dsn, "SELECT units_sold FROM current_sales_order ORDER BY sales_order_id"
    ) == [
        (7,),
        (42972,),
    ]


def test_a_fact_equal_to_its_current_version_adds_nothing(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    lake.publish({"fact_sales_order": [sale()], "fact_payment": [payment(paid=True)]})
    load_all(lake, warehouse)
    assert read_versions(warehouse.dsn, "fact_sales_order") == [(moment(1), None)]
    assert len(read_versions(warehouse.dsn, "fact_payment")) == 2


def test_a_deleted_fact_ends_and_can_be_inserted_again(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    lake.publish(deletes={"fact_sales_order": [1, 99]})
    lake.publish({"fact_sales_order": [sale()]})
    load_all(lake, warehouse)
    assert read_versions(warehouse.dsn, "fact_sales_order") == [
        (moment(1), moment(2)),
        (moment(3), None),
    ]
    assert fetch_rows(warehouse.dsn, "SELECT count(*) FROM sales_order_as_of(%s)", moment(2)) == [
        (0,)
    ]


def test_the_as_of_functions_return_the_state_at_any_moment(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    lake.publish(
        {
            "fact_sales_order": [sale(units_sold=7)],
            "fact_purchase_order": [purchase(item_quantity=8)],
            "fact_payment": [payment(paid=True)],
        }
    )
    load_all(lake, warehouse)
    for function, column, old, new in (
        ("sales_order_as_of", "units_sold", 42972, 7),
        ("purchase_order_as_of", "item_quantity", 371, 8),
        ("payment_as_of", "paid", False, True),
    ):
        query = f"SELECT {column} FROM {function}(%s)"
        assert fetch_rows(warehouse.dsn, query, moment(0)) == []
        assert fetch_rows(warehouse.dsn, query, moment(1)) == [(old,)]
        assert fetch_rows(warehouse.dsn, query, moment(2)) == [(new,)]
        assert fetch_rows(warehouse.dsn, query, datetime(2200, 1, 1, tzinfo=UTC)) == [(new,)]


def test_a_dimension_has_the_latest_version(lake: ProcessedLake, warehouse: EmptyWarehouse) -> None:
    lake.publish(ALL)
    load_all(lake, warehouse)
    query = "SELECT staff_id, location, xmin::text FROM dim_staff ORDER BY staff_id"
    (_, (_, _, untouched)) = fetch_rows(warehouse.dsn, query)
    lake.publish({"dim_staff": [staff(1, location="Leds"), staff(2, first_name="Deron")]})
    load_all(lake, warehouse)
    ((key, place, _), (other, no_place, same)) = fetch_rows(warehouse.dsn, query)
    assert (key, place, other, no_place) == (1, "Leds", 2, None)
    assert same == untouched, "an equal row is not written"


def test_a_deleted_dimension_row_stays_and_its_deletion_is_recorded(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    deleted = "SELECT table_name, key, deleted_at, batch FROM totes.deleted_dimension_rows"
    lake.publish(ALL)
    lake.publish(deletes={"dim_staff": [2, 99]})
    lake.publish(deletes={"dim_staff": [2]})
    load_all(lake, warehouse)
    assert fetch_rows(warehouse.dsn, "SELECT count(*) FROM dim_staff") == [(2,)]
    assert fetch_rows(warehouse.dsn, deleted) == [("dim_staff", "2", moment(2), 2)]
    lake.publish({"dim_staff": [staff(2)]})
    load_all(lake, warehouse)
    assert fetch_rows(warehouse.dsn, deleted) == []


def test_rejected_rows_are_quarantined_until_a_newer_version_or_deletion(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(
        ALL,
        rejected=[rejected_row("fact_sales_order", 2), rejected_row("dim_staff", 3, value=None)],
    )
    load_all(lake, warehouse)
    assert quarantine(warehouse.dsn, "batch", "star_table", "key", "column_name", "value") == [
        (1, "fact_sales_order", "2", "unit_price", "1.005"),
        (1, "dim_staff", "3", "unit_price", None),
    ]
    lake.publish({"fact_sales_order": [sale(2)]}, deletes={"dim_staff": [3]})
    lake.publish({"fact_sales_order": [sale(2, units_sold=2)]})
    load_all(lake, warehouse)
    assert quarantine(warehouse.dsn, "superseded_at", "released_at") == [(moment(2), None)] * 2


def test_a_version_that_is_rejected_again_is_in_quarantine_once(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(DIMENSIONS, rejected=[rejected_row("fact_sales_order", 2)])
    lake.publish(deletes={"fact_sales_order": [2]})
    lake.publish(
        rejected=[rejected_row("fact_sales_order", 2, valid_from=moment(1), reason="worse")]
    )
    load_all(lake, warehouse)
    assert quarantine(warehouse.dsn, "batch", "reason", "valid_from", "superseded_at") == [
        (3, "worse", moment(1), moment(2))
    ]


def test_a_released_version_is_inserted_in_order_of_time(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    lake.publish(rejected=[rejected_row("fact_sales_order", 1)])
    lake.publish({"fact_sales_order": [sale()]})  # equal to the first, but not to the second
    lake.publish({"fact_sales_order": [{**sale(units_sold=2), "valid_from": moment(2)}]})
    load_all(lake, warehouse)
    assert read_versions(warehouse.dsn, "fact_sales_order", "units_sold") == [
        (42972, moment(1), moment(2)),
        (2, moment(2), moment(3)),
        (42972, moment(3), None),
    ]
    assert quarantine(warehouse.dsn, "superseded_at", "released_at") == [(moment(3), moment(4))]


def test_a_released_dimension_row_never_replaces_a_newer_one(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL, rejected=[rejected_row("dim_staff", 3), rejected_row("dim_staff", 4)])
    lake.publish({"dim_staff": [staff(3, first_name="New")]}, deletes={"dim_staff": [4]})
    old = [{**staff(key, first_name="Old"), "valid_from": moment(1)} for key in (3, 4)]
    lake.publish({"dim_staff": old})
    load_all(lake, warehouse)
    names = "SELECT staff_id, first_name FROM dim_staff WHERE staff_id > 2 ORDER BY 1"
    assert fetch_rows(warehouse.dsn, names) == [(3, "New"), (4, "Old")]
    deleted = "SELECT key, deleted_at, batch FROM totes.deleted_dimension_rows"
    assert fetch_rows(warehouse.dsn, deleted) == [("4", moment(2), 3)], (
        "it was loaded after its deletion"
    )


@pytest.mark.parametrize("bulk_rows", [1, 1000])
def test_a_fact_is_loaded_with_the_last_of_its_missing_dimension_rows(
    lake: ProcessedLake,
    warehouse: EmptyWarehouse,
    monkeypatch: pytest.MonkeyPatch,
    bulk_rows: int,
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", bulk_rows)
    waiting = sale(2, sales_staff_id=9, currency_id=9, unit_price=Decimal("0.10"))
    lake.publish({**DIMENSIONS, "fact_sales_order": [sale(1), waiting]})
    load_all(lake, warehouse)
    assert read_versions(warehouse.dsn, "fact_sales_order", "sales_order_id") == [
        (1, moment(1), None)
    ]
    assert quarantine(
        warehouse.dsn, "key", "column_name", "value", "reason", "row->>'unit_price'"
    ) == [("2", "sales_staff_id", "9", "waits for dim_staff 9", "0.10")]
    lake.publish({"dim_staff": [staff(9)]})
    load_all(lake, warehouse)
    assert quarantine(warehouse.dsn, "batch", "reason", "released_at") == [
        (2, "waits for dim_currency 9", None)
    ]
    lake.publish({"dim_currency": [currency(9, "XTS", "Test")]})
    load_all(lake, warehouse)
    assert read_versions(warehouse.dsn, "fact_sales_order", *waiting) == [
        (*sale(1).values(), moment(1), None),
        (*waiting.values(), moment(1), None),
    ]
    assert quarantine(warehouse.dsn, "released_at") == [(moment(3),)]
    lake.publish({"dim_staff": [staff(9, first_name="Once")]})
    load_all(lake, warehouse)
    assert len(read_versions(warehouse.dsn, "fact_sales_order")) == 2


def test_a_waiting_version_that_is_staged_again_is_loaded_once(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    """It is released in the batch that has the missing row: the newer version is loaded."""
    lake.publish({**DIMENSIONS, "fact_sales_order": [sale(2, currency_id=9)]})
    again = {**sale(2, currency_id=9, units_sold=7), "valid_from": moment(1)}
    lake.publish({"dim_currency": [currency(9, "XTS", "Test")], "fact_sales_order": [again]})
    load_all(lake, warehouse)
    assert read_versions(warehouse.dsn, "fact_sales_order", "units_sold") == [(7, moment(1), None)]
    assert quarantine(warehouse.dsn, "reason", "released_at") == [
        ("waits for dim_currency 9", moment(2))
    ]


@given(steps=STEPS, releases=RELEASES)
@settings(max_examples=drawn(3, 40), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_history_does_not_depend_on_the_order_of_releases(
    warehouse: EmptyWarehouse,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[Event | None, ...]],
    releases: list[tuple[int, bool]],
) -> None:
    lake = ProcessedLake(tmp_path_factory.mktemp("lake"))
    orders = Orders(lake)
    with psycopg.connect(warehouse.dsn.reveal()) as connection:
        dependents.delete_all_rows(connection, TOTESYS)
    lake.publish(DIMENSIONS)
    for batch, events in enumerate(steps, start=2):
        orders.publish(batch, events)
    for release in [None, *releases]:
        if release:
            orders.release(release[0] + 2, with_dimension=release[1])
        load_all(lake, warehouse)
        found = read_versions(warehouse.dsn, "fact_sales_order", "sales_order_id", "units_sold")
        for order in ORDERS:
            versions = [(*version,) for key, *version in found if key == order]
            assert merge_equal_versions(versions) == expected_versions(orders.accepted[order]), (
                order
            )
