"""Drift: the source's schema changes under way, and nothing is lost.

What is added flows through; what a model misses stops at that batch, and goes on by itself once it
is there again. Between any two steps everything is restarted: each opens stores and connections
anew.
"""

import json
import re
from collections.abc import Callable

import lake_reader
import pytest
from installation import Installation
from scratch_source import ITEM, STOCK, ScratchSource

from totes.errors import ModelError, SourceError
from totes.operations.release import release
from totes.operations.status import status
from totes.operations.verify import verify
from totes.source.catalogue import Scope
from totes.stages.ingest import Accept
from totes.stages.runner import steps

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
        "primary key of that table is ",
    ),
}
"""Changes that a model can't do without, how they are undone, and what it says."""


def ingest(installation: Installation) -> None:
    list(steps(installation.pipeline, "ingest"))


def told(installation: Installation) -> str:
    pipeline = installation.pipeline
    changes = status(pipeline.ingestion, pipeline.processed, pipeline.warehouse).schema_changes
    return "; ".join(f"{change.table}: {change.what}" for change in changes)


def assert_equal(installation: Installation) -> None:
    verdict = verify(installation.pipeline)
    assert verdict.equal, [table for table in verdict.tables if not table.equal]
    assert not any(table.quarantined for table in verdict.tables)


def history(installation: Installation) -> list[tuple[object, ...]]:
    """All versions of payments, without what a rebuild numbers anew."""
    return installation.ask(
        "SELECT payment_id, payment_amount, payment_date, valid_from, valid_to FROM fact_payment"
        " ORDER BY 1, 4"
    )


@pytest.mark.parametrize("drift", FLOWING)
def test_what_no_model_minds_flows_through_and_is_told(
    installation: Installation, drift: str
) -> None:
    change, said = FLOWING[drift]
    installation.filled(5).change(
        "CREATE TYPE mood AS ENUM ('sad');"
        "CREATE TABLE spare (id int PRIMARY KEY, code int NOT NULL, mood mood);"
        "INSERT INTO spare VALUES (1, 10, 'sad'); CREATE TABLE loose (id int)"
    )
    installation.run()
    installation.change(f"{change}; {PAYMENT.format(1)}")
    installation.run()
    assert told(installation) == said
    installation.change(PAYMENT.format(2))
    assert_equal(installation)
    assert told(installation) == said


def test_a_new_column_is_in_the_lake_from_the_next_batch(installation: Installation) -> None:
    installation.filled(5).run()
    installation.change("ALTER TABLE payment ADD COLUMN note text DEFAULT 'none'")
    before = history(installation)
    installation.run()
    store = installation.pipeline.ingestion
    *_, last = lake_reader.batches(store)
    assert {line["note"] for line in lake_reader.lines(store, last, "payment")} == {"none"}
    assert history(installation) == before, "the same rows with one more column are no new versions"


@pytest.mark.parametrize("drift", BREAKING)
def test_what_a_model_misses_stops_there_and_goes_on_once_it_is_back(
    installation: Installation, drift: str
) -> None:
    breaks, mends, said = BREAKING[drift]
    installation.filled(5).run()
    unbroken = history(installation)
    installation.change(f"{PAYMENT.format(4)}; {breaks}")
    for _ in range(2):  # the next run finds the same
        stopped = installation.totes("run", "--once")
        assert stopped.exit_code == 6, stopped.output
        [line] = re.findall("^totes: .*$", stopped.stderr, re.MULTILINE)
        assert "Model fact_payment can't run on batch 2: " in line
        assert said in line
    with pytest.raises(ModelError, match=said):
        verify(installation.pipeline)
    assert history(installation) == unbroken, "what was accepted last stays"
    installation.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    ingest(installation)  # capturing goes on meanwhile
    installation.change(f"{mends}; {PAYMENT.format(2)}; DELETE FROM payment WHERE payment_id = 3")
    assert_equal(installation)
    versions = installation.ask(
        "SELECT payment_id, count(*), count(*) FILTER (WHERE valid_to IS NULL)"
        " FROM fact_payment GROUP BY 1 ORDER BY 1"
    )
    assert versions[1:4] == [(2, 2, 1), (3, 1, 0), (4, 2, 1)]
    assert all(counts == [1, 1] for key, *counts in versions if key > 4)
    installation.change(PAYMENT.format(1))
    installation.run()
    before = history(installation)
    assert installation.totes("replay").exit_code == 0
    assert history(installation) == before


def test_what_happens_while_a_column_is_missing_is_made_up_for(installation: Installation) -> None:
    """A deletion counts from when it was seen; changes between are one, as between two looks."""
    installation.filled(5).run()
    installation.change("ALTER TABLE payment RENAME payment_date TO day")
    ingest(installation)
    installation.change(f"DELETE FROM payment WHERE payment_id = 1; {PAYMENT.format(2)}")
    ingest(installation)
    installation.change(PAYMENT.format(2))
    ingest(installation)
    installation.change("ALTER TABLE payment RENAME day TO payment_date")
    assert_equal(installation)
    moments = [batch.captured_at for batch in lake_reader.batches(installation.pipeline.ingestion)]
    [(deleted,)] = installation.ask("SELECT valid_to FROM fact_payment WHERE payment_id = 1")
    assert deleted == moments[2]
    begun = installation.ask("SELECT valid_from FROM fact_payment WHERE payment_id = 2 ORDER BY 1")
    assert begun == [(moments[0],), (moments[4],)]


def test_a_dimension_makes_up_for_changes_of_every_table_it_joins(
    installation: Installation,
) -> None:
    installation.filled(5).run()
    installation.change("ALTER TABLE address RENAME city TO town")
    ingest(installation)
    installation.change(
        "UPDATE counterparty SET counterparty_legal_name = 'new' WHERE counterparty_id = 1"
    )
    ingest(installation)
    installation.change(
        "INSERT INTO department (department_name, created_at, last_updated)"
        " VALUES ('new', now(), now())"
    )
    ingest(installation)
    installation.change(
        "UPDATE address SET town = 'moved'; ALTER TABLE address RENAME town TO city"
    )
    assert_equal(installation)
    installation.change("UPDATE address SET city = 'again' WHERE address_id = 1")
    assert_equal(installation)


def test_a_change_that_meets_no_partner_is_made_up_for_too(installation: Installation) -> None:
    """The table that comes back whole says nothing of a row that points beside it."""
    installation.filled(5).change(
        "ALTER TABLE counterparty DROP CONSTRAINT counterparty_legal_address_id_fkey"
    )
    installation.run()
    installation.change("ALTER TABLE address RENAME city TO town")
    ingest(installation)
    installation.change("UPDATE counterparty SET legal_address_id = 9999 WHERE counterparty_id = 1")
    ingest(installation)
    installation.change("ALTER TABLE address RENAME town TO city")
    installation.run()
    refused = "SELECT key FROM totes.quarantine WHERE star_table = 'dim_counterparty'"
    assert installation.ask(refused) == [("1",)]


def test_a_source_that_breaks_again_is_waited_for_again(installation: Installation) -> None:
    installation.filled(5).run()
    for again in range(2):
        installation.change("ALTER TABLE payment RENAME payment_date TO day")
        ingest(installation)
        installation.change("ALTER TABLE payment RENAME day TO payment_date")
        ingest(installation)
        installation.change(PAYMENT.format(1 + again))
        ingest(installation)
    installation.change("ALTER TABLE payment RENAME payment_date TO day")
    with pytest.raises(ModelError, match="batch 2: "):
        installation.run()
    installation.change("ALTER TABLE payment RENAME day TO payment_date")
    assert_equal(installation)


def test_a_type_that_no_longer_fits_sets_rows_aside_until_it_does(
    installation: Installation,
) -> None:
    installation.filled(5).run()
    before = history(installation)
    installation.change(
        "ALTER TABLE payment ALTER payment_date TYPE text USING payment_date || '?'"
    )
    installation.run()
    assert history(installation) == before
    apart = next(
        t for t in verify(installation.pipeline).tables if t.name == "fact_payment"
    ).quarantined
    assert len(apart) == len(before)
    installation.change(
        "ALTER TABLE payment ALTER payment_date TYPE text USING left(payment_date, -1)"
    )
    assert_equal(installation)
    current = [version[:3] for version in history(installation) if version[-1] is None]
    assert current == [version[:3] for version in before]


def test_a_batch_that_was_stopped_is_alarmed_and_counted(installation: Installation) -> None:
    installation.filled(5).run()
    installation.change("ALTER TABLE payment RENAME payment_date TO day")
    assert installation.totes("run", "--once").exit_code == 6
    seen = json.loads(installation.totes("status", "--json").stdout)
    assert [stage["pending"] for stage in seen["stages"]] == [0, 1, 0]
    [change] = seen["schema_changes"]
    assert (change["batch"], change["table"]) == (2, "payment")


# What the source had before: its keys are known until they come back


def leave(scratch_source: ScratchSource, excluded: str) -> None:
    scratch_source.scope = Scope("shop", (excluded,))


AWAY: dict[str, tuple[Callable[[ScratchSource], None], Callable[[ScratchSource], None], str]] = {
    "dropped": (
        lambda scratch_source: scratch_source.run("CREATE TABLE s AS TABLE item; DROP TABLE item"),
        lambda scratch_source: scratch_source.run(f"{ITEM}; INSERT INTO item TABLE s"),
        "absent",
    ),
    "renamed": (
        lambda scratch_source: scratch_source.run("ALTER TABLE item RENAME TO s"),
        lambda scratch_source: scratch_source.run("ALTER TABLE s RENAME TO item"),
        "absent",
    ),
    "excluded": (
        lambda scratch_source: leave(scratch_source, "item"),
        lambda scratch_source: leave(scratch_source, "nothing"),
        "excluded",
    ),
    "unlogged": (
        lambda scratch_source: scratch_source.run("ALTER TABLE item SET UNLOGGED"),
        lambda scratch_source: scratch_source.run("ALTER TABLE item SET LOGGED"),
        "absent",
    ),
    "replaced by a view": (
        lambda scratch_source: scratch_source.run(
            "ALTER TABLE item RENAME TO s; CREATE VIEW item AS TABLE s"
        ),
        lambda scratch_source: scratch_source.run("DROP VIEW item; ALTER TABLE s RENAME TO item"),
        "absent",
    ),
    "without its key": (
        lambda scratch_source: scratch_source.run("ALTER TABLE item DROP CONSTRAINT item_pkey"),
        lambda scratch_source: scratch_source.run("ALTER TABLE item ADD PRIMARY KEY (id)"),
        "key",
    ),
    "by another key": (
        lambda scratch_source: scratch_source.run(
            "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (name)"
        ),
        lambda scratch_source: scratch_source.run(
            "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (id)"
        ),
        "key",
    ),
}


def former(scratch_source: ScratchSource, *key: str) -> tuple[int, str] | None:
    """Since which batch the newest knows that table `item` has that key no more, and why."""
    newest = lake_reader.batches(scratch_source.store)[-1]
    known = [one for one in newest.former if (one.table.name, one.table.key) == ("item", key)]
    assert len(known) <= 1
    return (known[0].since, known[0].reason) if known else None


@pytest.mark.parametrize("how", AWAY)
def test_deletions_while_a_table_was_away_are_told_when_it_is_back(
    scratch_source: ScratchSource, how: str
) -> None:
    go, come_back, reason = AWAY[how]
    scratch_source.run("CREATE TABLE other (id int PRIMARY KEY)")
    scratch_source.stocked(5)
    go(scratch_source)
    scratch_source.capture()
    assert former(scratch_source, "id") == (2, reason)
    scratch_source.run("INSERT INTO other VALUES (1)")
    scratch_source.capture()
    release(scratch_source.store, [1])
    assert former(scratch_source, "id") == (2, reason)
    aside = {"dropped", "renamed", "replaced by a view"}
    scratch_source.run(f"DELETE FROM {'s' if how in aside else 'item'} WHERE id = 2")
    scratch_source.capture()
    come_back(scratch_source)
    back = {("upsert", key) for key in (1, 3, 4, 5)}
    assert scratch_source.changes() == back | {("delete", 2)}
    assert former(scratch_source, "id") is None
    scratch_source.run("DELETE FROM item WHERE id = 4")
    assert scratch_source.changes() == {("delete", 4)}


def test_a_table_that_comes_back_with_few_of_its_rows_waits_for_a_word(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.run("CREATE TABLE other (id int PRIMARY KEY)")
    scratch_source.stocked(101).run("DROP TABLE item")
    scratch_source.capture()
    scratch_source.run(f"{ITEM}; {STOCK.format(10)}")
    with pytest.raises(SourceError, match=r"item lost 91 of its 101 rows.*--accept-deletes"):
        scratch_source.capture()
    assert scratch_source.capture(Accept(deletes=True)) is not None


def test_a_table_known_by_several_keys_finds_the_rows_of_each(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.run("CREATE TABLE other (id int PRIMARY KEY)")
    scratch_source.stocked(4).run(
        "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (name)"
    )
    scratch_source.capture()
    scratch_source.run("ALTER TABLE item RENAME TO away; DELETE FROM away WHERE id = 1")
    scratch_source.capture()
    assert (former(scratch_source, "id"), former(scratch_source, "name")) == (
        (2, "absent"),
        (3, "absent"),
    )
    scratch_source.run("ALTER TABLE away RENAME TO item")
    assert ("delete", "item 1") in scratch_source.changes(key="name")
    assert (former(scratch_source, "id"), former(scratch_source, "name")) == ((2, "key"), None)
    scratch_source.run("ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (id)")
    assert ("delete", 1) in scratch_source.changes()


def test_another_source_finds_what_was_known(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_source.run("CREATE TABLE other (id int PRIMARY KEY)")
    scratch_source.stocked(3).run("ALTER TABLE item RENAME TO away")
    scratch_source.capture()
    scratch_source.run("DELETE FROM away WHERE id = 1; ALTER TABLE away RENAME TO item")
    monkeypatch.setattr("totes.stages.ingest.is_another_source", lambda *_: True)
    batch = scratch_source.capture(Accept(new_source=True))
    assert batch is not None
    lines = lake_reader.lines(scratch_source.store, batch, "item")
    assert [line["id"] for line in lines if line["_op"] == "delete"] == [1]


def test_a_replay_up_to_a_gap_and_on_comes_out_the_same(installation: Installation) -> None:
    installation.filled(5).run()
    installation.change(
        "ALTER TABLE payment RENAME payment_date TO day; DELETE FROM payment WHERE payment_id = 1"
    )
    ingest(installation)
    installation.change("ALTER TABLE payment RENAME day TO payment_date")
    installation.run()
    before = history(installation)
    assert installation.totes("replay", "--to", "2").exit_code == 0
    assert len(history(installation)) == len(before)
    installation.run()
    assert history(installation) == before
