"""The load: each batch once, each version in its place, whatever goes wrong."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from depth import drawn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processed_lake import (
    ALL,
    DIMENSIONS,
    ProcessedLake,
    Row,
    ask,
    contents,
    currency,
    history,
    moment,
    payment,
    purchase,
    refusal,
    run,
    sale,
    staff,
    transaction,
)
from rollup_check import assert_totals_equal_the_facts

from conftest import EmptyWarehouse
from totes import failpoint
from totes.errors import LakeError, WarehouseError
from totes.lake.manifest import ProcessedManifest, generation_path
from totes.stages.load import load, rebuild, record_checked
from totes.star.definition import TOTESYS
from totes.warehouse import dependents, merge


@pytest.fixture
def lake(tmp_path: Path) -> ProcessedLake:
    return ProcessedLake(tmp_path)


@pytest.fixture
def at_failpoint() -> Iterator[dict[str, Callable[[], None]]]:
    yield failpoint.actions
    failpoint.actions.clear()


def loaded(lake: ProcessedLake, to: EmptyWarehouse) -> list[int]:
    return [manifest.batch for manifest in load(lake.store, to.dsn)]


def quarantine(dsn: Any, *columns: str) -> list[tuple[Any, ...]]:
    return ask(dsn, f"SELECT {', '.join(columns)} FROM totes.quarantine ORDER BY quarantine_id")


# Each batch once.


def test_every_value_arrives_as_it_was(lake: ProcessedLake, warehouse: EmptyWarehouse) -> None:
    lake.publish(ALL)
    assert loaded(lake, warehouse) == [1]
    found = contents(warehouse.dsn)
    for table, rows in ALL.items():
        times = (moment(1), None) if table.startswith("fact") else ()
        assert found[table] == sorted([(*row.values(), *times) for row in rows], key=repr), table


def test_a_batch_is_loaded_once(lake: ProcessedLake, warehouse: EmptyWarehouse) -> None:
    lake.publish(ALL)
    lake.publish({"fact_sales_order": [sale(units_sold=1)]})
    assert loaded(lake, warehouse) == [1, 2]
    before = contents(warehouse.dsn)
    assert loaded(lake, warehouse) == []
    assert contents(warehouse.dsn) == before
    assert ask(warehouse.dsn, "SELECT batch, generation, rows FROM totes.batches ORDER BY 1") == [
        (1, 1, 12),
        (2, 1, 1),
    ]


def test_an_empty_batch_is_recorded(lake: ProcessedLake, warehouse: EmptyWarehouse) -> None:
    lake.publish()
    assert loaded(lake, warehouse) == [1]
    assert ask(warehouse.dsn, "SELECT data_to, checked_at FROM totes.freshness") == [
        (moment(1), moment(1))
    ]


def test_a_load_that_dies_before_its_commit_leaves_nothing(
    lake: ProcessedLake, warehouse: EmptyWarehouse, at_failpoint: dict[str, Callable[[], None]]
) -> None:
    lake.publish(ALL)

    def die() -> None:
        raise KeyboardInterrupt

    at_failpoint["load.before-commit"] = die
    with pytest.raises(KeyboardInterrupt):
        loaded(lake, warehouse)
    assert not any(contents(warehouse.dsn).values())
    at_failpoint.clear()
    assert loaded(lake, warehouse) == [1]


def test_a_batch_that_another_loader_took_is_skipped(
    lake: ProcessedLake, warehouse: EmptyWarehouse, at_failpoint: dict[str, Callable[[], None]]
) -> None:
    lake.publish(ALL)

    def other() -> None:
        at_failpoint.clear()
        assert loaded(lake, warehouse) == [1]

    at_failpoint["load.fetched"] = other
    assert loaded(lake, warehouse) == []
    assert len(history(warehouse.dsn, "fact_sales_order")) == 1


def test_of_two_loaders_at_once_one_waits_and_then_skips(
    lake: ProcessedLake, warehouse: EmptyWarehouse, at_failpoint: dict[str, Callable[[], None]]
) -> None:
    lake.publish(ALL)
    second: list[int] = []
    rival = threading.Thread(target=lambda: second.extend(loaded(lake, warehouse)))

    def start_rival() -> None:
        at_failpoint.clear()
        rival.start()
        waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not ask(warehouse.dsn, waiting):
            assert rival.is_alive()

    at_failpoint["load.before-commit"] = start_rival
    assert loaded(lake, warehouse) == [1]
    rival.join()
    assert second == []
    assert len(history(warehouse.dsn, "fact_sales_order")) == 1


def test_a_batch_that_is_not_the_next_is_refused(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    lake.publish({"fact_sales_order": [sale(2)]})
    batches = load(lake.store, warehouse.dsn)
    next(batches)
    run(warehouse.dsn, "DELETE FROM totes.batches")
    with pytest.raises(WarehouseError, match="Batch 2 does not follow batch 0"):
        next(batches)
    assert len(history(warehouse.dsn, "fact_sales_order")) == 1


def test_the_batches_of_another_lake_are_refused(
    lake: ProcessedLake, warehouse: EmptyWarehouse, tmp_path: Path
) -> None:
    lake.publish(ALL)
    loaded(lake, warehouse)
    run(warehouse.dsn, "UPDATE totes.batches SET ingested = 'something else'")
    with pytest.raises(WarehouseError, match="not that of"):
        loaded(lake, warehouse)
    with pytest.raises(WarehouseError, match="not that of"):
        loaded(ProcessedLake(tmp_path / "empty"), warehouse)


def test_a_damaged_file_stops_the_load_and_is_named(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    manifest = lake.publish(ALL)
    path = manifest.files[0].path
    file = lake.folder / "processed" / path
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)
    with pytest.raises(LakeError, match=path):
        loaded(lake, warehouse)
    assert not any(contents(warehouse.dsn).values())


def test_a_file_that_is_no_parquet_stops_the_load(
    lake: ProcessedLake, warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("totes.stages.load.fetch_checked", lambda _store, _file, path: path.touch())
    lake.publish(ALL)
    with pytest.raises(LakeError, match=r"dim_date/.* is not what its manifest says"):
        loaded(lake, warehouse)
    assert not any(contents(warehouse.dsn).values())


# Facts and their history.


def test_a_change_closes_the_old_version_and_adds_the_new(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    lake.publish({"fact_sales_order": [sale(units_sold=7), sale(2)]})
    loaded(lake, warehouse)
    assert history(warehouse.dsn, "fact_sales_order", "sales_order_id", "units_sold") == [
        (1, 42972, moment(1), moment(2)),
        (1, 7, moment(2), None),
        (2, 42972, moment(2), None),
    ]
    assert ask(
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
    loaded(lake, warehouse)
    assert history(warehouse.dsn, "fact_sales_order") == [(moment(1), None)]
    assert len(history(warehouse.dsn, "fact_payment")) == 2


def test_a_deleted_fact_ends_and_may_return(lake: ProcessedLake, warehouse: EmptyWarehouse) -> None:
    lake.publish(ALL)
    lake.publish(deletes={"fact_sales_order": [1, 99]})
    lake.publish({"fact_sales_order": [sale()]})
    loaded(lake, warehouse)
    assert history(warehouse.dsn, "fact_sales_order") == [
        (moment(1), moment(2)),
        (moment(3), None),
    ]
    assert ask(warehouse.dsn, "SELECT count(*) FROM sales_order_as_of(%s)", moment(2)) == [(0,)]


def test_the_state_at_any_moment_can_be_asked(
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
    loaded(lake, warehouse)
    for function, column, old, new in (
        ("sales_order_as_of", "units_sold", 42972, 7),
        ("purchase_order_as_of", "item_quantity", 371, 8),
        ("payment_as_of", "paid", False, True),
    ):
        query = f"SELECT {column} FROM {function}(%s)"
        assert ask(warehouse.dsn, query, moment(0)) == []
        assert ask(warehouse.dsn, query, moment(1)) == [(old,)]
        assert ask(warehouse.dsn, query, moment(2)) == [(new,)]
        assert ask(warehouse.dsn, query, datetime(2200, 1, 1, tzinfo=UTC)) == [(new,)]


# Dimensions.


def test_a_dimension_holds_the_latest_version(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    loaded(lake, warehouse)
    query = "SELECT staff_id, location, xmin::text FROM dim_staff ORDER BY staff_id"
    (_, (_, _, untouched)) = ask(warehouse.dsn, query)
    lake.publish({"dim_staff": [staff(1, location="Leds"), staff(2, first_name="Deron")]})
    loaded(lake, warehouse)
    ((key, place, _), (other, nowhere, same)) = ask(warehouse.dsn, query)
    assert (key, place, other, nowhere) == (1, "Leds", 2, None)
    assert same == untouched, "an equal row is not written"


def test_a_deleted_dimension_row_stays_and_its_deletion_is_recorded(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    gone = "SELECT table_name, key, deleted_at, batch FROM totes.deleted_dimension_rows"
    lake.publish(ALL)
    lake.publish(deletes={"dim_staff": [2, 99]})
    lake.publish(deletes={"dim_staff": [2]})
    loaded(lake, warehouse)
    assert ask(warehouse.dsn, "SELECT count(*) FROM dim_staff") == [(2,)]
    assert ask(warehouse.dsn, gone) == [("dim_staff", "2", moment(2), 2)]
    lake.publish({"dim_staff": [staff(2)]})
    loaded(lake, warehouse)
    assert ask(warehouse.dsn, gone) == []


# Quarantine.


def test_refused_rows_go_into_quarantine_until_a_newer_version_or_deletion(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL, refused=[refusal("fact_sales_order", 2), refusal("dim_staff", 3, value=None)])
    loaded(lake, warehouse)
    assert quarantine(warehouse.dsn, "batch", "star_table", "key", "column_name", "value") == [
        (1, "fact_sales_order", "2", "unit_price", "1.005"),
        (1, "dim_staff", "3", "unit_price", None),
    ]
    lake.publish({"fact_sales_order": [sale(2)]}, deletes={"dim_staff": [3]})
    lake.publish({"fact_sales_order": [sale(2, units_sold=2)]})
    loaded(lake, warehouse)
    assert quarantine(warehouse.dsn, "superseded_at", "released_at") == [(moment(2), None)] * 2


def test_a_version_refused_again_is_in_quarantine_once(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(DIMENSIONS, refused=[refusal("fact_sales_order", 2)])
    lake.publish(deletes={"fact_sales_order": [2]})
    lake.publish(refused=[refusal("fact_sales_order", 2, valid_from=moment(1), reason="worse")])
    loaded(lake, warehouse)
    assert quarantine(warehouse.dsn, "batch", "reason", "valid_from", "superseded_at") == [
        (3, "worse", moment(1), moment(2))
    ]


def test_a_released_version_takes_its_place_in_history(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    lake.publish(refused=[refusal("fact_sales_order", 1)])
    lake.publish({"fact_sales_order": [sale()]})  # equal to the first, but not to the second
    lake.publish({"fact_sales_order": [{**sale(units_sold=2), "valid_from": moment(2)}]})
    loaded(lake, warehouse)
    assert history(warehouse.dsn, "fact_sales_order", "units_sold") == [
        (42972, moment(1), moment(2)),
        (2, moment(2), moment(3)),
        (42972, moment(3), None),
    ]
    assert quarantine(warehouse.dsn, "superseded_at", "released_at") == [(moment(3), moment(4))]


def test_a_released_dimension_row_never_replaces_a_newer_one(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL, refused=[refusal("dim_staff", 3), refusal("dim_staff", 4)])
    lake.publish({"dim_staff": [staff(3, first_name="New")]}, deletes={"dim_staff": [4]})
    old = [{**staff(key, first_name="Old"), "valid_from": moment(1)} for key in (3, 4)]
    lake.publish({"dim_staff": old})
    loaded(lake, warehouse)
    names = "SELECT staff_id, first_name FROM dim_staff WHERE staff_id > 2 ORDER BY 1"
    assert ask(warehouse.dsn, names) == [(3, "New"), (4, "Old")]
    gone = "SELECT key, deleted_at, batch FROM totes.deleted_dimension_rows"
    assert ask(warehouse.dsn, gone) == [("4", moment(2), 3)], "it came after its deletion"


@pytest.mark.parametrize("bulk_rows", [1, 1000])
def test_a_fact_waits_for_its_dimension_rows_and_enters_with_the_last(
    lake: ProcessedLake,
    warehouse: EmptyWarehouse,
    monkeypatch: pytest.MonkeyPatch,
    bulk_rows: int,
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", bulk_rows)
    waiting = sale(2, sales_staff_id=9, currency_id=9, unit_price=Decimal("0.10"))
    lake.publish({**DIMENSIONS, "fact_sales_order": [sale(1), waiting]})
    loaded(lake, warehouse)
    assert history(warehouse.dsn, "fact_sales_order", "sales_order_id") == [(1, moment(1), None)]
    assert quarantine(
        warehouse.dsn, "key", "column_name", "value", "reason", "row->>'unit_price'"
    ) == [("2", "sales_staff_id", "9", "waits for dim_staff 9", "0.10")]
    lake.publish({"dim_staff": [staff(9)]})
    loaded(lake, warehouse)
    assert quarantine(warehouse.dsn, "batch", "reason", "released_at") == [
        (2, "waits for dim_currency 9", None)
    ]
    assert_totals_equal_the_facts(warehouse.dsn)
    lake.publish({"dim_currency": [currency(9, "XTS", "Test")]})
    loaded(lake, warehouse)
    assert history(warehouse.dsn, "fact_sales_order", *waiting) == [
        (*sale(1).values(), moment(1), None),
        (*waiting.values(), moment(1), None),
    ]
    assert quarantine(warehouse.dsn, "released_at") == [(moment(3),)]
    assert_totals_equal_the_facts(warehouse.dsn)
    lake.publish({"dim_staff": [staff(9, first_name="Once")]})
    loaded(lake, warehouse)
    assert len(history(warehouse.dsn, "fact_sales_order")) == 2


def test_a_version_that_waits_and_comes_again_enters_once(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    """It was released with the batch that brings what it waits for: the newer reading counts."""
    lake.publish({**DIMENSIONS, "fact_sales_order": [sale(2, currency_id=9)]})
    again = {**sale(2, currency_id=9, units_sold=7), "valid_from": moment(1)}
    lake.publish({"dim_currency": [currency(9, "XTS", "Test")], "fact_sales_order": [again]})
    loaded(lake, warehouse)
    assert history(warehouse.dsn, "fact_sales_order", "units_sold") == [(7, moment(1), None)]
    assert quarantine(warehouse.dsn, "reason", "released_at") == [
        ("waits for dim_currency 9", moment(2))
    ]


@pytest.mark.parametrize("bulk_rows", [1, 1000])
def test_a_payment_is_of_whoever_made_its_order_now(
    lake: ProcessedLake,
    warehouse: EmptyWarehouse,
    monkeypatch: pytest.MonkeyPatch,
    bulk_rows: int,
) -> None:
    """The payments themselves never change."""
    monkeypatch.setattr(merge, "BULK_ROWS", bulk_rows)
    transactions = [transaction(1), transaction(2, sale=None, purchase=1)]
    paid = payment(2, transaction_id=2, paid=True)
    lake.publish(
        {**DIMENSIONS, "dim_transaction": transactions, "fact_payment": [payment(1), paid]}
    )
    lake.publish({"fact_sales_order": [sale(1)]})
    lake.publish({"fact_purchase_order": [purchase(1, staff_id=2)]})
    lake.publish({"fact_sales_order": [sale(1, sales_staff_id=2), sale(2)]})
    lake.publish({"dim_transaction": [transaction(1, sale=2)]})
    lake.publish(deletes={"fact_sales_order": [2]})
    lake.publish({"fact_purchase_order": [purchase(1)]})
    found = []
    for _ in load(lake.store, warehouse.dsn):
        found.append(
            ask(
                warehouse.dsn, "SELECT staff_id, paid FROM totes.daily_payments_by_staff ORDER BY 2"
            )
        )
        assert_totals_equal_the_facts(warehouse.dsn)
    assert found == [
        [],
        [(1, False)],
        [(1, False), (2, True)],
        [(2, False), (2, True)],
        [(1, False), (2, True)],
        [(2, True)],
        [(1, True)],
    ]


# A first load and every other give the same.


@pytest.mark.parametrize("privileged", [False, True])
def test_filling_in_bulk_and_merging_give_the_same(
    lake: ProcessedLake,
    warehouse: EmptyWarehouse,
    monkeypatch: pytest.MonkeyPatch,
    privileged: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    parameter = "SET ON PARAMETER session_replication_role"
    if not privileged:
        run(warehouse.admin, f"REVOKE {parameter} FROM totes_loader")
    try:
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
        for bulk_rows in (1, 1000):
            monkeypatch.setattr(merge, "BULK_ROWS", bulk_rows)
            assert rebuild(lake.store, warehouse.dsn, generation=1) == 2
            found.append((contents(warehouse.dsn), definitions(warehouse)))
            assert_totals_equal_the_facts(warehouse.dsn)
            assert not ask(warehouse.dsn, "SELECT FROM pg_constraint WHERE NOT convalidated")
        assert found[0] == found[1]
        assert len(found[0][0]["fact_payment"]) == 2
    finally:
        run(warehouse.admin, f"GRANT {parameter} TO totes_loader")


def definitions(of: EmptyWarehouse) -> list[tuple[Any, ...]]:
    return ask(
        of.dsn,
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace"
        " UNION ALL SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        " ORDER BY 1, 2",
    )


@pytest.mark.parametrize("bulk_rows", [1, 1000])
def test_sums_beyond_what_is_copied_are_exact_too(
    lake: ProcessedLake, warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch, bulk_rows: int
) -> None:
    """They are known to bulk loads only after DuckDB has summed up."""
    monkeypatch.setattr(merge, "BULK_ROWS", bulk_rows)
    most = {"units_sold": 2**31 - 1, "unit_price": Decimal("99999999.99")}
    amounts = [
        payment(key, transaction_id=key, payment_amount=Decimal("9999999999999999.99"))
        for key in (1, 2)
    ]
    transactions = [transaction(1), transaction(2)]
    facts = {"fact_sales_order": [sale(1, **most), sale(2, **most)], "fact_payment": amounts}
    lake.publish({**DIMENSIONS, "dim_transaction": transactions, **facts})
    loaded(lake, warehouse)
    assert ask(warehouse.dsn, "SELECT sum(payments), sum(value) FROM totes.daily_payments") == [
        (2, Decimal("19999999999999999.98"))
    ]
    assert_totals_equal_the_facts(warehouse.dsn)


def test_a_key_that_repeats_is_refused_in_bulk_too(
    lake: ProcessedLake, warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", 1)
    lake.publish({**DIMENSIONS, "fact_sales_order": [sale(1), sale(1, units_sold=2)]})
    with pytest.raises(WarehouseError, match="could not create unique index"):
        loaded(lake, warehouse)
    assert not any(contents(warehouse.dsn).values())


def test_late_versions_are_not_filled_in_bulk(
    lake: ProcessedLake, warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", 1)
    lake.publish(DIMENSIONS)
    late = [{**sale(1), "valid_from": moment(1)}, sale(1, units_sold=2)]
    lake.publish({"fact_sales_order": late})
    loaded(lake, warehouse)
    assert history(warehouse.dsn, "fact_sales_order") == [(moment(1), moment(2)), (moment(2), None)]


# A property: whatever the order of arrival, history is that of the events.


@dataclass(frozen=True)
class Event:
    """What a batch says about an order; `how` it fares until it is released."""

    how: str
    units: int | None


EVENTS = st.one_of(
    st.builds(Event, st.just("accepted"), st.integers(1, 3)),
    st.builds(Event, st.just("refused"), st.integers(1, 3)),
    st.builds(Event, st.just("waiting"), st.integers(1, 3)),
    st.just(Event("accepted", None)),
    st.none(),
)
ORDERS = range(1, 6)
STEPS = st.lists(st.tuples(*[EVENTS] * len(ORDERS)), min_size=1, max_size=6)
RELEASES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=5)

Events = dict[int, int | None]
"""What happened to one order, by batch: its units, or None for a deletion."""


def naive(events: Events) -> list[tuple[int, datetime, datetime | None]]:
    """The history that the accepted events make."""
    order = sorted(events)
    versions: list[tuple[int, datetime, datetime | None]] = []
    for batch, following in zip(order, [*order, None][1:], strict=True):
        units, ends = events[batch], moment(following) if following else None
        if units is None:
            continue
        if versions and versions[-1][0] == units and versions[-1][2] == moment(batch):
            versions[-1] = (units, versions[-1][1], ends)
        else:
            versions.append((units, moment(batch), ends))
    return versions


def joined(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Equal versions that touch made one."""
    versions: list[tuple[Any, ...]] = []
    for units, valid_from, valid_to in rows:
        if versions and versions[-1][0] == units and versions[-1][2] == valid_from:
            versions[-1] = (units, versions[-1][1], valid_to)
        else:
            versions.append((units, valid_from, valid_to))
    return versions


@dataclass
class Business:
    """What happens to a few orders, published batch by batch, and what came of it."""

    lake: ProcessedLake
    accepted: dict[int, Events] = field(default_factory=lambda: {order: {} for order in ORDERS})
    waiting: dict[int, Events] = field(default_factory=lambda: {order: {} for order in ORDERS})
    refused: dict[int, dict[int, int]] = field(default_factory=dict)

    def step(self, batch: int, events: tuple[Event | None, ...]) -> None:
        """A batch with what happened to each order."""
        sales: list[Row] = []
        deletes: list[int] = []
        refusals: list[Row] = []
        for order, event in zip(ORDERS, events, strict=True):
            match event:
                case Event(units=None):
                    deletes.append(order)
                    self.accepted[order][batch] = None
                case Event(how="refused", units=int(units)):
                    refusals.append(refusal("fact_sales_order", order))
                    self.refused.setdefault(batch, {})[order] = units
                case Event(how="waiting", units=units):
                    sales.append(sale(order, units_sold=units, sales_staff_id=9))
                    self.waiting[order][batch] = units
                case Event(units=units):
                    sales.append(sale(order, units_sold=units))
                    self.accepted[order][batch] = units
        self.lake.publish({"fact_sales_order": sales}, {"fact_sales_order": deletes}, refusals)

    def release(self, batch: int, *, with_dimension: bool) -> None:
        """A batch that releases what `batch` refused, and brings the missing dimension row."""
        released = self.refused.get(batch, {})
        for order, units in released.items():
            self.accepted[order][batch] = units
        for order in ORDERS if with_dimension else ():
            self.accepted[order] |= self.waiting[order]
        self.lake.publish(
            {
                "dim_staff": [staff(9)] if with_dimension else [],
                "fact_sales_order": [
                    {**sale(order, units_sold=units), "valid_from": moment(batch)}
                    for order, units in released.items()
                ],
            }
        )


@given(steps=STEPS, releases=RELEASES)
@settings(max_examples=drawn(5, 40), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_history_is_that_of_the_accepted_events_in_whatever_order_they_arrive(
    warehouse: EmptyWarehouse,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[Event | None, ...]],
    releases: list[tuple[int, bool]],
) -> None:
    lake = ProcessedLake(tmp_path_factory.mktemp("lake"))
    business = Business(lake)
    with psycopg.connect(warehouse.dsn.reveal()) as connection:
        dependents.empty(connection, TOTESYS)
    lake.publish(DIMENSIONS)
    for batch, events in enumerate(steps, start=2):
        business.step(batch, events)
    for release in [None, *releases]:
        if release:
            business.release(release[0] + 2, with_dimension=release[1])
        loaded(lake, warehouse)
        found = history(warehouse.dsn, "fact_sales_order", "sales_order_id", "units_sold")
        for order in ORDERS:
            versions = [(*version,) for key, *version in found if key == order]
            assert joined(versions) == naive(business.accepted[order]), order


# Generations, freshness, roles.


def test_load_follows_the_store_to_a_new_generation(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    lake.publish(deletes={"dim_staff": [2], "fact_sales_order": [1]})
    loaded(lake, warehouse)
    mended = ProcessedLake(lake.folder, generation=2)
    mended.publish({**ALL, "fact_sales_order": [sale(units_sold=5)]})
    mended.publish({"fact_sales_order": [sale(2)]})
    mended.publish({"fact_sales_order": [sale(3)]})
    assert loaded(lake, warehouse) == [], "nobody said yet that it is the current one"
    lake.store.create(generation_path(2), b"{}")
    assert loaded(lake, warehouse) == [1, 2, 3]
    assert history(warehouse.dsn, "fact_sales_order", "sales_order_id", "units_sold") == [
        (1, 5, moment(1), None),
        (2, 42972, moment(2), None),
        (3, 42972, moment(3), None),
    ]
    assert ask(warehouse.dsn, "SELECT * FROM totes.deleted_dimension_rows") == []
    assert ask(warehouse.dsn, "SELECT DISTINCT generation FROM totes.batches") == [(2,)]


def test_a_rebuild_that_fails_leaves_the_warehouse_as_it_was(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    manifest = lake.publish(ALL)
    loaded(lake, warehouse)
    before = contents(warehouse.dsn)
    (lake.folder / "processed" / manifest.files[-1].path).unlink()
    with pytest.raises(LakeError, match="fact_payment"):
        rebuild(lake.store, warehouse.dsn, generation=1)
    assert contents(warehouse.dsn) == before


def test_checked_at_only_moves_forward(lake: ProcessedLake, warehouse: EmptyWarehouse) -> None:
    lake.publish(ALL)
    loaded(lake, warehouse)
    for batch in (3, 2):
        record_checked(warehouse.dsn, moment(batch))
    assert ask(warehouse.dsn, "SELECT data_to, checked_at FROM totes.freshness") == [
        (moment(1), moment(3))
    ]


def test_a_reader_reads_everything_and_changes_nothing(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    loaded(lake, warehouse)
    names = [*ALL, "current_sales_order", "current_purchase_order", "current_payment"]
    names += ["fact_purchase_orders", "totes.batches", "totes.quarantine", "totes.freshness"]
    names += ["totes.deleted_dimension_rows", "totes.migrations", "totes.checks"]
    for name in names:
        ask(warehouse.reader, f"SELECT * FROM {name}")
    assert ask(warehouse.reader, "SELECT count(*) FROM sales_order_as_of(now())") == [(1,)]
    for attempt in (
        "UPDATE dim_staff SET first_name = 'X'",
        "DELETE FROM fact_sales_order",
        "INSERT INTO totes.checks VALUES (now())",
        "TRUNCATE fact_payment CASCADE",
        "CREATE TABLE mine (x int)",
        "CREATE TABLE totes.mine (x int)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            run(warehouse.reader, attempt)


def test_the_loader_is_no_superuser(warehouse: EmptyWarehouse) -> None:
    assert ask(
        warehouse.dsn,
        "SELECT rolsuper, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname = current_user",
    ) == [(False, False, False)]


def test_progress_is_told_by_rows(lake: ProcessedLake, warehouse: EmptyWarehouse) -> None:
    manifest: ProcessedManifest = lake.publish(ALL)

    class Watching:
        told: list[tuple[str, int | None]]
        rows = 0

        def __init__(self) -> None:
            self.told = []

        def start(self, what: str, total: int | None = None, batch: int | None = None) -> None:  # noqa: ARG002
            self.told.append((what, total))

        def advance(self, rows: int) -> None:
            self.rows += rows

    watching = Watching()
    assert list(load(lake.store, warehouse.dsn, progress=watching)) == [manifest]
    assert (watching.told, watching.rows) == ([("load batch 1", manifest.rows)], manifest.rows)
