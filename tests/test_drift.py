"""Drift: the source's schema changes under way, and nothing is lost.

What is added flows through; what a model misses stops at that batch, and goes on by itself once it
is there again. Between any two steps everything is restarted: each opens stores and connections
anew.
"""

import json
import re
from collections.abc import Callable

import pytest

import lake_reader
from plant import Plant
from shop import ITEM, STOCK, Shop
from totes.errors import ModelError, SourceError
from totes.operations.release import release
from totes.operations.status import status
from totes.operations.verify import verify
from totes.source.catalogue import Scope
from totes.stages.ingest import Accept
from totes.stages.runner import steps

pytestmark = pytest.mark.slow

PAYMENT = "UPDATE payment SET payment_amount = payment_amount + 1 WHERE payment_id = {}"

FLOWING = {
    "column added": (
        "ALTER TABLE payment ADD COLUMN note text DEFAULT 'none'",
        "payment: note added (text)",
    ),
    "column dropped": (
        "ALTER TABLE payment DROP COLUMN company_ac_number",
        "payment: company_ac_number dropped",
    ),
    "column renamed": (
        "ALTER TABLE payment RENAME company_ac_number TO our_account",
        "payment: our_account added (integer), company_ac_number dropped",
    ),
    "column retyped": (
        "ALTER TABLE payment ALTER payment_amount TYPE numeric(14, 2)",
        "payment: payment_amount retyped from numeric(10,2) to numeric(14,2)",
    ),
    "table added": (
        "CREATE TABLE refund (id int PRIMARY KEY); INSERT INTO refund VALUES (1)",
        "refund: table added",
    ),
    "table dropped": ("DROP TABLE spare", "spare: table dropped"),
    "table renamed": (
        "ALTER TABLE spare RENAME TO kept",
        "kept: table added; spare: table dropped",
    ),
    "enum value added": (
        "ALTER TYPE mood ADD VALUE 'glad'",
        "spare: altered, with the same columns",
    ),
    "key added": ("ALTER TABLE loose ADD PRIMARY KEY (id)", "loose: primary key is now (id)"),
    "key dropped": (
        "ALTER TABLE spare DROP CONSTRAINT spare_pkey",
        "spare: primary key is now ()",
    ),
    "key moved": (
        "ALTER TABLE spare DROP CONSTRAINT spare_pkey, ADD PRIMARY KEY (code)",
        "spare: primary key is now (code)",
    ),
}
"""Changes that no model minds, and how status tells them."""

BREAKING = {
    "column dropped": (
        """
        CREATE TABLE saved AS SELECT payment_id, payment_date FROM payment;
        ALTER TABLE payment DROP COLUMN payment_date
        """,
        """
        ALTER TABLE payment ADD COLUMN payment_date varchar;
        UPDATE payment p SET payment_date = s.payment_date FROM saved s
            WHERE s.payment_id = p.payment_id
        """,
        "no column payment.payment_date",
    ),
    "column renamed": (
        "ALTER TABLE payment RENAME payment_date TO day",
        "ALTER TABLE payment RENAME day TO payment_date",
        "no column payment.payment_date",
    ),
    "key column renamed": (
        "ALTER TABLE payment RENAME payment_id TO number",
        "ALTER TABLE payment RENAME number TO payment_id",
        "no column payment.payment_id",
    ),
    "table renamed": (
        "ALTER TABLE payment RENAME TO paid",
        "ALTER TABLE paid RENAME TO payment",
        "no table payment",
    ),
    "table dropped": (
        "CREATE TABLE saved AS TABLE payment; DROP TABLE payment",
        "CREATE TABLE payment AS TABLE saved; ALTER TABLE payment ADD PRIMARY KEY (payment_id)",
        "no table payment",
    ),
    "key dropped": (
        "ALTER TABLE payment DROP CONSTRAINT payment_pkey",
        "ALTER TABLE payment ADD CONSTRAINT payment_pkey PRIMARY KEY (payment_id)",
        "primary key of that table was dropped",
    ),
    "key moved": (
        "ALTER TABLE payment DROP CONSTRAINT payment_pkey, ADD PRIMARY KEY (transaction_id)",
        "ALTER TABLE payment DROP CONSTRAINT payment_pkey, ADD PRIMARY KEY (payment_id)",
        "primary key of that table is transaction_id",
    ),
}
"""Changes that a model can't do without, how they are undone, and what it says."""


def ingest(plant: Plant) -> None:
    list(steps(plant.pipeline, "ingest"))


def told(plant: Plant) -> str:
    pipeline = plant.pipeline
    changes = status(pipeline.ingestion, pipeline.processed, pipeline.warehouse).schema_changes
    return "; ".join(f"{change.table}: {change.what}" for change in changes)


def assert_equal(plant: Plant) -> None:
    verdict = verify(plant.pipeline)
    assert verdict.equal, [table for table in verdict.tables if not table.equal]
    assert not any(table.quarantined for table in verdict.tables)


def history(plant: Plant) -> list[tuple[object, ...]]:
    """All versions of payments, without what a rebuild numbers anew."""
    return plant.ask(
        "SELECT payment_id, payment_amount, payment_date, valid_from, valid_to FROM fact_payment"
        " ORDER BY 1, 4"
    )


@pytest.mark.parametrize("drift", FLOWING)
def test_what_no_model_minds_flows_through_and_is_told(plant: Plant, drift: str) -> None:
    change, said = FLOWING[drift]
    plant.filled(5).change(
        "CREATE TYPE mood AS ENUM ('sad');"
        "CREATE TABLE spare (id int PRIMARY KEY, code int NOT NULL, mood mood);"
        "INSERT INTO spare VALUES (1, 10, 'sad'); CREATE TABLE loose (id int)"
    )
    plant.run()
    plant.change(f"{change}; {PAYMENT.format(1)}")
    plant.run()
    assert told(plant) == said
    plant.change(PAYMENT.format(2))
    assert_equal(plant)
    assert told(plant) == said


def test_a_new_column_is_in_the_lake_from_the_next_batch(plant: Plant) -> None:
    plant.filled(5).run()
    plant.change("ALTER TABLE payment ADD COLUMN note text DEFAULT 'none'")
    before = history(plant)
    plant.run()
    store = plant.pipeline.ingestion
    *_, last = lake_reader.batches(store)
    assert {line["note"] for line in lake_reader.lines(store, last, "payment")} == {"none"}
    assert history(plant) == before, "the same rows with one more column are no new versions"


@pytest.mark.parametrize("drift", BREAKING)
def test_what_a_model_misses_stops_there_and_goes_on_once_it_is_back(
    plant: Plant, drift: str
) -> None:
    breaks, mends, said = BREAKING[drift]
    plant.filled(5).run()
    unbroken = history(plant)
    plant.change(f"{PAYMENT.format(4)}; {breaks}")
    for _ in range(2):  # the next run finds the same
        stopped = plant.totes("run", "--once")
        assert stopped.exit_code == 6, stopped.output
        [line] = re.findall("^totes: .*$", stopped.stderr, re.MULTILINE)
        assert "Model fact_payment can't run on batch 2: " in line
        assert said in line
    with pytest.raises(ModelError, match=said):
        verify(plant.pipeline)
    assert history(plant) == unbroken, "what was accepted last stays"
    plant.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    ingest(plant)  # capturing goes on meanwhile
    plant.change(f"{mends}; {PAYMENT.format(2)}; DELETE FROM payment WHERE payment_id = 3")
    assert_equal(plant)
    versions = plant.ask(
        "SELECT payment_id, count(*), count(*) FILTER (WHERE valid_to IS NULL)"
        " FROM fact_payment GROUP BY 1 ORDER BY 1"
    )
    assert versions[1:4] == [(2, 2, 1), (3, 1, 0), (4, 2, 1)]
    assert all(counts == [1, 1] for key, *counts in versions if key > 4)
    plant.change(PAYMENT.format(1))
    plant.run()
    before = history(plant)
    assert plant.totes("replay").exit_code == 0
    assert history(plant) == before


def test_what_happens_while_a_column_is_missing_is_made_up_for(plant: Plant) -> None:
    """A deletion counts from when it was seen; changes between are one, as between two looks."""
    plant.filled(5).run()
    plant.change("ALTER TABLE payment RENAME payment_date TO day")
    ingest(plant)
    plant.change(f"DELETE FROM payment WHERE payment_id = 1; {PAYMENT.format(2)}")
    ingest(plant)
    plant.change(PAYMENT.format(2))
    ingest(plant)
    plant.change("ALTER TABLE payment RENAME day TO payment_date")
    assert_equal(plant)
    moments = [batch.captured_at for batch in lake_reader.batches(plant.pipeline.ingestion)]
    [(deleted,)] = plant.ask("SELECT valid_to FROM fact_payment WHERE payment_id = 1")
    assert deleted == moments[2]
    begun = plant.ask("SELECT valid_from FROM fact_payment WHERE payment_id = 2 ORDER BY 1")
    assert begun == [(moments[0],), (moments[4],)]


def test_a_dimension_makes_up_for_changes_of_every_table_it_joins(plant: Plant) -> None:
    plant.filled(5).run()
    plant.change("ALTER TABLE address RENAME city TO town")
    ingest(plant)
    plant.change(
        "UPDATE counterparty SET counterparty_legal_name = 'new' WHERE counterparty_id = 1"
    )
    ingest(plant)
    plant.change(
        "INSERT INTO department (department_name, created_at, last_updated)"
        " VALUES ('new', now(), now())"
    )
    ingest(plant)
    plant.change("UPDATE address SET town = 'moved'; ALTER TABLE address RENAME town TO city")
    assert_equal(plant)
    plant.change("UPDATE address SET city = 'again' WHERE address_id = 1")
    assert_equal(plant)


def test_a_change_that_meets_no_partner_is_made_up_for_too(plant: Plant) -> None:
    """The table that comes back whole says nothing of a row that points beside it."""
    plant.filled(5).change(
        "ALTER TABLE counterparty DROP CONSTRAINT counterparty_legal_address_id_fkey"
    )
    plant.run()
    plant.change("ALTER TABLE address RENAME city TO town")
    ingest(plant)
    plant.change("UPDATE counterparty SET legal_address_id = 9999 WHERE counterparty_id = 1")
    ingest(plant)
    plant.change("ALTER TABLE address RENAME town TO city")
    plant.run()
    refused = "SELECT key FROM totes.quarantine WHERE star_table = 'dim_counterparty'"
    assert plant.ask(refused) == [("1",)]


def test_a_source_that_breaks_again_is_waited_for_again(plant: Plant) -> None:
    plant.filled(5).run()
    for again in range(2):
        plant.change("ALTER TABLE payment RENAME payment_date TO day")
        ingest(plant)
        plant.change("ALTER TABLE payment RENAME day TO payment_date")
        ingest(plant)
        plant.change(PAYMENT.format(1 + again))
        ingest(plant)
    plant.change("ALTER TABLE payment RENAME payment_date TO day")
    with pytest.raises(ModelError, match="batch 2: "):
        plant.run()
    plant.change("ALTER TABLE payment RENAME day TO payment_date")
    assert_equal(plant)


def test_a_type_that_no_longer_fits_sets_rows_aside_until_it_does(plant: Plant) -> None:
    plant.filled(5).run()
    before = history(plant)
    plant.change("ALTER TABLE payment ALTER payment_date TYPE text USING payment_date || '?'")
    plant.run()
    assert history(plant) == before
    apart = next(t for t in verify(plant.pipeline).tables if t.name == "fact_payment").quarantined
    assert len(apart) == len(before)
    plant.change("ALTER TABLE payment ALTER payment_date TYPE text USING left(payment_date, -1)")
    assert_equal(plant)
    current = [version[:3] for version in history(plant) if version[-1] is None]
    assert current == [version[:3] for version in before]


def test_a_batch_that_was_stopped_is_alarmed_and_counted(plant: Plant) -> None:
    plant.filled(5).run()
    plant.change("ALTER TABLE payment RENAME payment_date TO day")
    assert plant.totes("run", "--once").exit_code == 6
    seen = json.loads(plant.totes("status", "--json").stdout)
    assert [stage["pending"] for stage in seen["stages"]] == [0, 1, 0]
    [change] = seen["schema_changes"]
    assert (change["batch"], change["table"]) == (2, "payment")


# What the source had before: its keys are known until they come back


def leave(shop: Shop, excluded: str) -> None:
    shop.scope = Scope("shop", (excluded,))


AWAY: dict[str, tuple[Callable[[Shop], None], Callable[[Shop], None], str]] = {
    "dropped": (
        lambda shop: shop.run("CREATE TABLE s AS TABLE item; DROP TABLE item"),
        lambda shop: shop.run(f"{ITEM}; INSERT INTO item TABLE s"),
        "absent",
    ),
    "renamed": (
        lambda shop: shop.run("ALTER TABLE item RENAME TO s"),
        lambda shop: shop.run("ALTER TABLE s RENAME TO item"),
        "absent",
    ),
    "excluded": (
        lambda shop: leave(shop, "item"),
        lambda shop: leave(shop, "nothing"),
        "excluded",
    ),
    "unlogged": (
        lambda shop: shop.run("ALTER TABLE item SET UNLOGGED"),
        lambda shop: shop.run("ALTER TABLE item SET LOGGED"),
        "absent",
    ),
    "replaced by a view": (
        lambda shop: shop.run("ALTER TABLE item RENAME TO s; CREATE VIEW item AS TABLE s"),
        lambda shop: shop.run("DROP VIEW item; ALTER TABLE s RENAME TO item"),
        "absent",
    ),
    "without its key": (
        lambda shop: shop.run("ALTER TABLE item DROP CONSTRAINT item_pkey"),
        lambda shop: shop.run("ALTER TABLE item ADD PRIMARY KEY (id)"),
        "key",
    ),
    "by another key": (
        lambda shop: shop.run("ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (name)"),
        lambda shop: shop.run("ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (id)"),
        "key",
    ),
}


def former(shop: Shop, *key: str) -> tuple[int, str] | None:
    """Since which batch the newest knows that table `item` has that key no more, and why."""
    newest = lake_reader.batches(shop.store)[-1]
    known = [one for one in newest.former if (one.table.name, one.table.key) == ("item", key)]
    assert len(known) <= 1
    return (known[0].since, known[0].reason) if known else None


@pytest.mark.parametrize("how", AWAY)
def test_deletions_while_a_table_was_away_are_told_when_it_is_back(shop: Shop, how: str) -> None:
    go, come_back, reason = AWAY[how]
    shop.run("CREATE TABLE other (id int PRIMARY KEY)")
    shop.stocked(5)
    go(shop)
    shop.capture()
    assert former(shop, "id") == (2, reason)
    shop.run("INSERT INTO other VALUES (1)")
    shop.capture()
    release(shop.store, [1])
    assert former(shop, "id") == (2, reason)
    aside = {"dropped", "renamed", "replaced by a view"}
    shop.run(f"DELETE FROM {'s' if how in aside else 'item'} WHERE id = 2")
    shop.capture()
    come_back(shop)
    back = {("upsert", key) for key in (1, 3, 4, 5)}
    assert shop.changes() == back | {("delete", 2)}
    assert former(shop, "id") is None
    shop.run("DELETE FROM item WHERE id = 4")
    assert shop.changes() == {("delete", 4)}


def test_a_table_that_comes_back_with_few_of_its_rows_waits_for_a_word(shop: Shop) -> None:
    shop.run("CREATE TABLE other (id int PRIMARY KEY)")
    shop.stocked(101).run("DROP TABLE item")
    shop.capture()
    shop.run(f"{ITEM}; {STOCK.format(10)}")
    with pytest.raises(SourceError, match=r"item lost 91 of its 101 rows.*--accept-deletes"):
        shop.capture()
    assert shop.capture(Accept(deletes=True)) is not None


def test_a_table_known_by_several_keys_finds_the_rows_of_each(shop: Shop) -> None:
    shop.run("CREATE TABLE other (id int PRIMARY KEY)")
    shop.stocked(4).run("ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (name)")
    shop.capture()
    shop.run("ALTER TABLE item RENAME TO away; DELETE FROM away WHERE id = 1")
    shop.capture()
    assert (former(shop, "id"), former(shop, "name")) == ((2, "absent"), (3, "absent"))
    shop.run("ALTER TABLE away RENAME TO item")
    assert ("delete", "item 1") in shop.changes(key="name")
    assert (former(shop, "id"), former(shop, "name")) == ((2, "key"), None)
    shop.run("ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (id)")
    assert ("delete", 1) in shop.changes()


def test_another_source_finds_what_was_known(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.run("CREATE TABLE other (id int PRIMARY KEY)")
    shop.stocked(3).run("ALTER TABLE item RENAME TO away")
    shop.capture()
    shop.run("DELETE FROM away WHERE id = 1; ALTER TABLE away RENAME TO item")
    monkeypatch.setattr("totes.stages.ingest.is_another_source", lambda *_: True)
    batch = shop.capture(Accept(new_source=True))
    assert batch is not None
    lines = lake_reader.lines(shop.store, batch, "item")
    assert [line["id"] for line in lines if line["_op"] == "delete"] == [1]


def test_a_replay_up_to_a_gap_and_on_comes_out_the_same(plant: Plant) -> None:
    plant.filled(5).run()
    plant.change(
        "ALTER TABLE payment RENAME payment_date TO day; DELETE FROM payment WHERE payment_id = 1"
    )
    ingest(plant)
    plant.change("ALTER TABLE payment RENAME day TO payment_date")
    plant.run()
    before = history(plant)
    assert plant.totes("replay", "--to", "2").exit_code == 0
    assert len(history(plant)) == len(before)
    plant.run()
    assert history(plant) == before
