"""Erase: a new lake is written without a person's data and otherwise unchanged."""

import json
from dataclasses import replace
from pathlib import Path

import lake_reader
import pytest
from installation import Installation

from conftest import EmptyWarehouse
from totes.embedded.servers import EmbeddedServer, prepare_warehouse
from totes.lake.folder import FolderStore
from totes.lake.manifest import ERASURES_PREFIX, Manifest, manifest_path

pytestmark = pytest.mark.few(2)

COLUMNS = "first_name,last_name,email_address"


@pytest.fixture
def old(installation: Installation) -> Installation:
    """A lake with four versions of a member of staff; the last one is anonymous."""
    installation.add_orders(5).run()
    installation.change(
        "UPDATE staff SET first_name = 'Adaqx', last_name = 'Lovelaceqx',"
        " email_address = 'adaqx@totes' WHERE staff_id = 1"
    )
    installation.run()
    installation.change(
        "UPDATE staff SET last_name = 'Kingqx' WHERE staff_id = 1; DELETE FROM payment"
    )
    installation.run()
    installation.change(
        "UPDATE staff SET first_name = 'former', last_name = 'member', email_address = 'none'"
        " WHERE staff_id = 1"
    )
    installation.run()
    return installation


@pytest.fixture
def new(old: Installation, server: EmbeddedServer, warehouse: EmptyWarehouse) -> Installation:
    """An installation for the same totesys with an empty lake and an empty warehouse."""
    name = f"{warehouse.dsn.parts['dbname']}_new"
    folder = old.folder / "new"
    return replace(old, warehouse=prepare_warehouse(server.dsn, name).loader, folder=folder)


def history(installation: Installation) -> list[tuple[object, ...]]:
    return installation.query(
        "SELECT payment_id, valid_from, valid_to FROM fact_payment ORDER BY 1, 2"
    )


def test_erased_values_are_nowhere_and_everything_else_is_unchanged(
    old: Installation, new: Installation
) -> None:
    before = old.state()[0]
    arguments = ["staff", "1", "--columns", COLUMNS, "--into", str(new.ingestion)]
    result = old.totes("erase", *arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout == "4 batches written, 3 versions altered.\n"
    assert {k: v for k, v in old.state()[0].items() if not k.startswith("new/")} == before
    new.run()
    for word in ("Adaqx", "Lovelaceqx", "Kingqx", "adaqx@totes"):
        assert any(word in text for text in lake_reader.file_contents(old.ingestion))
        assert not any(word in text for text in lake_reader.file_contents(new.folder))
    assert new.totes("verify").exit_code == 0
    assert history(new) == history(old)
    new_batches, old_batches = (lake_reader.batches(FolderStore(p.ingestion)) for p in (new, old))
    for one, other in zip(new_batches, old_batches, strict=True):
        assert one.model_copy(update={"previous": None, "tables": ()}) == other.model_copy(
            update={"previous": None, "tables": ()}
        )
    for table in ("payment", "address", "department"):
        rows = [lake_reader.rows(FolderStore(p.ingestion), table) for p in (new, old)]
        assert rows[0] == rows[1]
    [path] = (new.ingestion / ERASURES_PREFIX).iterdir()
    note = json.loads(path.read_bytes())
    assert (note["table"], note["key"], note["versions"]) == ("staff", ["1"], 3)
    new.change("UPDATE staff SET email_address = 'new' WHERE staff_id = 1")
    assert new.run()[0].batch == 5, "the next batch continues the new store"
    assert new.totes("verify").exit_code == 0


def test_a_deleted_row_can_be_erased(installation: Installation, tmp_path: Path) -> None:
    installation.change(
        "INSERT INTO department VALUES (1, 'Sails', 'Leeds', 'Ada Lovelace', now(), now())"
    )
    installation.totes("ingest")
    installation.change("DELETE FROM department")
    installation.totes("ingest")
    arguments = ["department", "1", "--columns", "manager", "--into", str(tmp_path / "new")]
    assert installation.totes("erase", *arguments).exit_code == 0
    store = FolderStore(tmp_path / "new")
    [line] = lake_reader.lines(store, lake_reader.batches(store)[0], "department")
    assert (line["manager"], line["location"]) == ("erased", "Leeds")


def test_values_of_dropped_columns_and_tables_can_be_erased(
    installation: Installation, tmp_path: Path
) -> None:
    installation.change(
        "CREATE TABLE guest (guest_id int PRIMARY KEY, name text, note text UNIQUE NOT NULL);"
        "INSERT INTO guest VALUES (1, 'Adaqx', 'x'), (2, 'Bo', 'y')"
    )
    installation.totes("ingest")
    installation.change(
        "ALTER TABLE guest RENAME name TO full_name; UPDATE guest SET full_name = 'former'"
    )
    installation.change("ALTER TABLE guest DROP CONSTRAINT guest_pkey, ADD PRIMARY KEY (note)")
    installation.totes("ingest")
    installation.change("ALTER TABLE guest DROP CONSTRAINT guest_pkey, ADD PRIMARY KEY (guest_id)")
    installation.totes("ingest")

    def erase(into: str, columns: str) -> list[str]:
        arguments = ["guest", "1", "--columns", columns, "--into", str(tmp_path / into)]
        result = installation.totes("erase", *arguments)
        assert result.exit_code == 0, result.output
        store = FolderStore(tmp_path / into)
        batches = [batch for batch in lake_reader.batches(store) if batch.table("guest")]
        lines = [lake_reader.lines(store, batch, "guest") for batch in batches]
        return [str(line) for batch in lines for line in batch if line.get("guest_id") == 1]

    first, *later = erase("renamed", "name,full_name")
    assert "'name': 'erased'" in first
    assert later
    assert all("'full_name': 'former'" in line for line in later)
    installation.change("DROP TABLE guest")
    installation.totes("ingest")
    assert not any(
        "former" in line or "Adaqx" in line for line in erase("dropped", "name,full_name")
    )


def test_erase_fails_if_the_row_can_not_be_identified_in_every_batch(
    installation: Installation, tmp_path: Path
) -> None:
    installation.change(
        "CREATE TABLE guest (n int PRIMARY KEY, name text); INSERT INTO guest VALUES (1)"
    )
    installation.totes("ingest")
    arguments = ["erase", "guest", "1", "--columns", "name", "--into"]
    unaltered = installation.totes(*arguments, str(tmp_path / "unaltered"))
    assert "Nothing was altered" in unaltered.stderr
    installation.change("ALTER TABLE guest RENAME n TO guest_id")
    installation.totes("ingest")
    failed = installation.totes(*arguments, str(tmp_path / "new"))
    assert failed.exit_code == 2
    assert "Table guest had no column guest_id" in failed.stderr
    assert not (tmp_path / "new").exists()


def test_a_lake_that_differs_from_its_manifests_is_not_rewritten(
    installation: Installation, tmp_path: Path
) -> None:
    installation.add_orders(5).run()
    path = installation.ingestion / manifest_path(1)
    path.chmod(0o644)
    manifest = Manifest.from_json(path.read_bytes(), "")
    tables = [
        table.model_copy(
            update={"files": tuple(f.model_copy(update={"unpacked_bytes": 9}) for f in table.files)}
        )
        for table in manifest.tables
    ]
    path.write_bytes(manifest.model_copy(update={"tables": tuple(tables)}).to_json())
    arguments = ["staff", "1", "--columns", COLUMNS, "--into", str(tmp_path / "new")]
    failed = installation.totes("erase", *arguments)
    assert failed.exit_code == 4
    assert "unpacks to more than 9 bytes" in failed.stderr


def test_invalid_erasures_are_usage_errors(old: Installation, tmp_path: Path) -> None:
    into = ["--into", str(tmp_path / "new")]
    for arguments, message in (
        (["staff", "99", "--columns", COLUMNS, *into], "has a row 99 of table staff"),
        (["nobody", "1", "--columns", COLUMNS, *into], "has a row 1 of table nobody"),
        (["staff", "1", "2", "--columns", COLUMNS, *into], "has the key (staff_id)"),
        (
            ["staff", "1", "--columns", "staff_id", *into],
            "can be erased are: created_at",
        ),
        (
            ["staff", "1", "--columns", "name", *into],
            "can be erased are: created_at",
        ),
        (["staff", "1", "--columns", COLUMNS, "--into", str(old.ingestion)], "has batches already"),
    ):
        failed = old.totes("erase", *arguments)
        assert failed.exit_code == 2, failed.output
        assert message in failed.stderr
    assert not (tmp_path / "new").exists()
