"""Changes of the source's schema: no data is lost.

Additions are captured. If a model lacks a column, transform stops at that batch, and continues
when the column is restored. Each step opens stores and connections again, as after a restart.
"""

import json
import re
from collections.abc import Callable

import lake_reader
import pytest
from installation import Installation
from scratch_source import CREATE_ITEM, INSERT_ITEMS, ScratchSource

from totes.errors import ModelError, SourceError
from totes.operations.release import release
from totes.operations.status import read_status
from totes.operations.verify import verify
from totes.source.catalogue import CaptureScope
from totes.stages.ingest import AcceptOptions
from totes.stages.runner import run_stage

pytestmark = pytest.mark.few(4)

PAYMENT = "UPDATE payment SET payment_amount = payment_amount + 1 WHERE payment_id = {}"

HARMLESS_CHANGES = {
    "column added": (
        "ALTER TABLE payment ADD COLUMN note text DEFAULT 'none'",
        "payment: note added (text)",
    ),
    "column dropped": (
        "ALTER TABLE payment DROP COLUMN unread",
        "payment: unread dropped",
    ),
    "column renamed": (
        "ALTER TABLE payment RENAME unread TO renamed",
        "payment: renamed added (integer), unread dropped",
    ),
    "column type changed": (
        "ALTER TABLE payment ALTER payment_amount TYPE numeric(14, 2)",
        "payment: type of payment_amount changed from numeric(10,2) to numeric(14,2)",
    ),
    "table added": (
        "CREATE TABLE refund (id int PRIMARY KEY); INSERT INTO refund VALUES (1)",
        "refund: table added",
    ),
    "table dropped": ("DROP TABLE spare", "spare: table dropped"),
    "table renamed": (
        "ALTER TABLE spare RENAME TO renamed",
        "renamed: table added; spare: table dropped",
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
    "key changed": (
        "ALTER TABLE spare DROP CONSTRAINT spare_pkey, ADD PRIMARY KEY (code)",
        "spare: primary key is now (code)",
    ),
}
"""Changes that no model depends on, and their description in status."""

BREAKING_CHANGES = {
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
        "ALTER TABLE payment RENAME TO old_payment",
        "ALTER TABLE old_payment RENAME TO payment",
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
    "key changed": (
        "ALTER TABLE payment DROP CONSTRAINT payment_pkey, ADD PRIMARY KEY (transaction_id)",
        "ALTER TABLE payment DROP CONSTRAINT payment_pkey, ADD PRIMARY KEY (payment_id)",
        "primary key of that table is ",
    ),
}
"""Changes that stop a model, the statements that revert them, and the error message."""


def ingest(installation: Installation) -> None:
    list(run_stage(installation.pipeline, "ingest"))


def describe_schema_changes(installation: Installation) -> str:
    pipeline = installation.pipeline
    changes = read_status(pipeline.ingestion, pipeline.processed, pipeline.warehouse).schema_changes
    return "; ".join(f"{change.table}: {change.what}" for change in changes)


def assert_equal(installation: Installation) -> None:
    result = verify(installation.pipeline)
    assert result.equal, [table for table in result.tables if not table.equal]
    assert not any(table.quarantined for table in result.tables)


def read_versions(installation: Installation) -> list[tuple[object, ...]]:
    """Return all versions of payments, without surrogate keys, which a rebuild changes."""
    return installation.query(
        "SELECT payment_id, payment_amount, payment_date, valid_from, valid_to FROM fact_payment"
        " ORDER BY 1, 4"
    )


@pytest.mark.few(2)
@pytest.mark.parametrize("drift", HARMLESS_CHANGES)
def test_changes_that_no_model_reads_are_captured_and_reported(
    installation: Installation, drift: str
) -> None:
    change, description = HARMLESS_CHANGES[drift]
    installation.add_orders(5).change(
        "ALTER TABLE payment ADD unread int; CREATE TYPE mood AS ENUM ('sad');"
        "CREATE TABLE spare (id int PRIMARY KEY, code int NOT NULL, mood mood);"
        "INSERT INTO spare VALUES (1, 10, 'sad'); CREATE TABLE loose (id int)"
    )
    installation.run()
    installation.change(f"{change}; {PAYMENT.format(1)}")
    installation.run()
    assert describe_schema_changes(installation) == description
    installation.change(PAYMENT.format(2))
    assert_equal(installation)
    assert describe_schema_changes(installation) == description


def test_a_new_column_is_in_the_lake_from_the_next_batch(installation: Installation) -> None:
    installation.add_orders(5).run()
    installation.change("ALTER TABLE payment ADD COLUMN note text DEFAULT 'none'")
    before = read_versions(installation)
    installation.run()
    store = installation.pipeline.ingestion
    *_, last = lake_reader.batches(store)
    assert {line["note"] for line in lake_reader.lines(store, last, "payment")} == {"none"}
    assert read_versions(installation) == before, (
        "equal rows with an additional column are not new versions"
    )


@pytest.mark.few(1)
@pytest.mark.parametrize("drift", BREAKING_CHANGES)
def test_transform_stops_at_a_batch_without_a_needed_column_and_continues_once_it_is_restored(
    installation: Installation, drift: str
) -> None:
    break_sql, restore_sql, message = BREAKING_CHANGES[drift]
    installation.add_orders(5).run()
    before = read_versions(installation)
    installation.change(f"{PAYMENT.format(4)}; {break_sql}")
    for _ in range(2):  # the next run fails, too
        stopped = installation.totes("run", "--once")
        assert stopped.exit_code == 6, stopped.output
        [line] = re.findall("^totes: .*$", stopped.stderr, re.MULTILINE)
        assert "Model fact_payment can't run on batch 2: " in line
        assert message in line
    with pytest.raises(ModelError, match=message):
        verify(installation.pipeline)
    assert read_versions(installation) == before, "the star is unchanged"
    installation.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    ingest(installation)  # captures continue
    installation.change(
        f"{restore_sql}; {PAYMENT.format(2)}; DELETE FROM payment WHERE payment_id = 3"
    )
    assert_equal(installation)
    versions = installation.query(
        "SELECT payment_id, count(*), count(*) FILTER (WHERE valid_to IS NULL)"
        " FROM fact_payment GROUP BY 1 ORDER BY 1"
    )
    assert versions[1:4] == [(2, 2, 1), (3, 1, 0), (4, 2, 1)]
    assert all(counts == [1, 1] for key, *counts in versions if key > 4)
    installation.change(PAYMENT.format(1))
    installation.run()
    before = read_versions(installation)
    assert installation.totes("replay").exit_code == 0
    assert read_versions(installation) == before


def test_changes_while_a_column_is_missing_are_backfilled(installation: Installation) -> None:
    """A deletion has the time of its capture; several changes of a row are one version."""
    installation.add_orders(5).run()
    installation.change("ALTER TABLE payment RENAME payment_date TO day")
    ingest(installation)
    installation.change(f"DELETE FROM payment WHERE payment_id = 1; {PAYMENT.format(2)}")
    ingest(installation)
    installation.change(PAYMENT.format(2))
    ingest(installation)
    installation.change("ALTER TABLE payment RENAME day TO payment_date")
    assert_equal(installation)
    moments = [batch.captured_at for batch in lake_reader.batches(installation.pipeline.ingestion)]
    [(deleted,)] = installation.query("SELECT valid_to FROM fact_payment WHERE payment_id = 1")
    assert deleted == moments[2]
    starts = installation.query(
        "SELECT valid_from FROM fact_payment WHERE payment_id = 2 ORDER BY 1"
    )
    assert starts == [(moments[0],), (moments[4],)]


def test_a_dimension_is_backfilled_from_every_table_it_joins(
    installation: Installation,
) -> None:
    installation.add_orders(5).run()
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


def test_a_change_without_a_joined_row_is_backfilled(installation: Installation) -> None:
    """The changed row has no row in the table that is captured in full after the restore."""
    installation.add_orders(5).change(
        "ALTER TABLE counterparty DROP CONSTRAINT counterparty_legal_address_id_fkey"
    )
    installation.run()
    installation.change("ALTER TABLE address RENAME city TO town")
    ingest(installation)
    installation.change("UPDATE counterparty SET legal_address_id = 9999 WHERE counterparty_id = 1")
    ingest(installation)
    installation.change("ALTER TABLE address RENAME town TO city")
    installation.run()
    query = "SELECT key FROM totes.quarantine WHERE star_table = 'dim_counterparty'"
    assert installation.query(query) == [("1",)]


def test_transform_stops_again_if_a_column_is_missing_again(installation: Installation) -> None:
    installation.add_orders(5).run()
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


def test_rows_are_quarantined_while_a_columns_type_does_not_fit(
    installation: Installation,
) -> None:
    installation.add_orders(5).run()
    before = read_versions(installation)
    installation.change(
        "ALTER TABLE payment ALTER payment_date TYPE text USING payment_date || '?'"
    )
    installation.run()
    assert read_versions(installation) == before
    quarantined = next(
        t for t in verify(installation.pipeline).tables if t.name == "fact_payment"
    ).quarantined
    assert len(quarantined) == len(before)
    installation.change(
        "ALTER TABLE payment ALTER payment_date TYPE text USING left(payment_date, -1)"
    )
    assert_equal(installation)
    current = [version[:3] for version in read_versions(installation) if version[-1] is None]
    assert current == [version[:3] for version in before]


def test_a_stopped_batch_is_alerted_and_counted_as_pending(installation: Installation) -> None:
    installation.add_orders(5).run()
    installation.change("ALTER TABLE payment RENAME payment_date TO day")
    assert installation.totes("run", "--once").exit_code == 6
    result = json.loads(installation.totes("status", "--json").stdout)
    assert [stage["pending"] for stage in result["stages"]] == [0, 1, 0]
    [change] = result["schema_changes"]
    assert (change["batch"], change["table"]) == (2, "payment")


# Missing tables: their live keys are kept until they are restored


def exclude(scratch_source: ScratchSource, excluded: str) -> None:
    scratch_source.scope = CaptureScope("scratch", (excluded,))


WAYS_TO_REMOVE: dict[
    str, tuple[Callable[[ScratchSource], None], Callable[[ScratchSource], None], str]
] = {
    "dropped": (
        lambda scratch_source: scratch_source.run("CREATE TABLE s AS TABLE item; DROP TABLE item"),
        lambda scratch_source: scratch_source.run(f"{CREATE_ITEM}; INSERT INTO item TABLE s"),
        "absent",
    ),
    "renamed": (
        lambda scratch_source: scratch_source.run("ALTER TABLE item RENAME TO s"),
        lambda scratch_source: scratch_source.run("ALTER TABLE s RENAME TO item"),
        "absent",
    ),
    "excluded": (
        lambda scratch_source: exclude(scratch_source, "item"),
        lambda scratch_source: exclude(scratch_source, "nothing"),
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
    "with a different key": (
        lambda scratch_source: scratch_source.run(
            "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (name)"
        ),
        lambda scratch_source: scratch_source.run(
            "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (id)"
        ),
        "key",
    ),
}


def former_key(scratch_source: ScratchSource, *key: str) -> tuple[int, str] | None:
    """Return since which batch table `item` no longer has this key, and the reason."""
    newest = lake_reader.batches(scratch_source.store)[-1]
    found = [
        former for former in newest.former if (former.table.name, former.table.key) == ("item", key)
    ]
    assert len(found) <= 1
    return (found[0].since, found[0].reason) if found else None


@pytest.mark.few(1)
@pytest.mark.parametrize("how", WAYS_TO_REMOVE)
def test_deletions_while_a_table_was_missing_are_captured_once_it_is_restored(
    scratch_source: ScratchSource, how: str
) -> None:
    remove, restore, reason = WAYS_TO_REMOVE[how]
    scratch_source.run("CREATE TABLE other (id int PRIMARY KEY)")
    scratch_source.add_items(5)
    remove(scratch_source)
    scratch_source.capture()
    assert former_key(scratch_source, "id") == (2, reason)
    scratch_source.run("INSERT INTO other VALUES (1)")
    scratch_source.capture()
    release(scratch_source.store, [1])
    assert former_key(scratch_source, "id") == (2, reason)
    in_table_s = {"dropped", "renamed", "replaced by a view"}
    scratch_source.run(f"DELETE FROM {'s' if how in in_table_s else 'item'} WHERE id = 2")
    scratch_source.capture()
    restore(scratch_source)
    upserts = {("upsert", key) for key in (1, 3, 4, 5)}
    assert scratch_source.changes() == upserts | {("delete", 2)}
    assert former_key(scratch_source, "id") is None
    scratch_source.run("DELETE FROM item WHERE id = 4")
    assert scratch_source.changes() == {("delete", 4)}


def test_a_table_restored_with_few_rows_needs_accept_deletes(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.run("CREATE TABLE other (id int PRIMARY KEY)")
    scratch_source.add_items(101).run("DROP TABLE item")
    scratch_source.capture()
    scratch_source.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(10)}")
    with pytest.raises(SourceError, match=r"item lost 91 of its 101 rows.*--accept-deletes"):
        scratch_source.capture()
    assert scratch_source.capture(AcceptOptions(deletes=True)) is not None


def test_a_table_with_former_keys_finds_deletions_by_each(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.run("CREATE TABLE other (id int PRIMARY KEY)")
    scratch_source.add_items(4).run(
        "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (name)"
    )
    scratch_source.capture()
    scratch_source.run("ALTER TABLE item RENAME TO renamed; DELETE FROM renamed WHERE id = 1")
    scratch_source.capture()
    assert (former_key(scratch_source, "id"), former_key(scratch_source, "name")) == (
        (2, "absent"),
        (3, "absent"),
    )
    scratch_source.run("ALTER TABLE renamed RENAME TO item")
    assert ("delete", "item 1") in scratch_source.changes(key="name")
    assert (former_key(scratch_source, "id"), former_key(scratch_source, "name")) == (
        (2, "key"),
        None,
    )
    scratch_source.run("ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (id)")
    assert ("delete", 1) in scratch_source.changes()


def test_deletions_are_found_after_a_change_of_the_source(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_source.run("CREATE TABLE other (id int PRIMARY KEY)")
    scratch_source.add_items(3).run("ALTER TABLE item RENAME TO renamed")
    scratch_source.capture()
    scratch_source.run("DELETE FROM renamed WHERE id = 1; ALTER TABLE renamed RENAME TO item")
    monkeypatch.setattr("totes.stages.ingest.is_different_source", lambda *_: True)
    batch = scratch_source.capture(AcceptOptions(new_source=True))
    assert batch is not None
    lines = lake_reader.lines(scratch_source.store, batch, "item")
    assert [line["id"] for line in lines if line["_op"] == "delete"] == [1]


def test_a_replay_to_a_batch_with_a_missing_column_and_further_gives_the_same(
    installation: Installation,
) -> None:
    installation.add_orders(5).run()
    installation.change(
        "ALTER TABLE payment RENAME payment_date TO day; DELETE FROM payment WHERE payment_id = 1"
    )
    ingest(installation)
    installation.change("ALTER TABLE payment RENAME day TO payment_date")
    installation.run()
    before = read_versions(installation)
    assert installation.totes("replay", "--to", "2").exit_code == 0
    assert len(read_versions(installation)) == len(before)
    installation.run()
    assert read_versions(installation) == before
