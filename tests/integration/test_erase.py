"""Erasure: a person's data leaves the lake by a new one, and nothing else changes."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import lake_reader
import pytest
from installation import Installation

from conftest import EmptyWarehouse
from totes.embedded.servers import EmbeddedServer, prepare_warehouse
from totes.lake.folder import FolderStore
from totes.lake.manifest import ERASURES, Manifest, manifest_path

COLUMNS = "first_name,last_name,email_address"


@pytest.fixture
def old(installation: Installation) -> Installation:
    """Somebody works here, marries, leaves, and asks to be forgotten: totesys has done so."""
    installation.filled(5).run()
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
    """A platform on the same totesys with nothing in its lake, and an empty warehouse."""
    name = f"{warehouse.dsn.parts['dbname']}_anew"
    folder = old.folder / "anew"
    return replace(old, warehouse=prepare_warehouse(server.dsn, name).loader, folder=folder)


def texts(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            yield (gzip.decompress(data) if path.suffix == ".gz" else data).decode(
                "utf-8", "replace"
            )


def history(installation: Installation) -> list[tuple[object, ...]]:
    return installation.ask(
        "SELECT payment_id, valid_from, valid_to FROM fact_payment ORDER BY 1, 2"
    )


def test_what_is_erased_is_nowhere_and_all_else_is_as_it_was(
    old: Installation, new: Installation
) -> None:
    before = old.state()[0]
    arguments = ["staff", "1", "--columns", COLUMNS, "--into", str(new.ingestion)]
    done = old.totes("erase", *arguments)
    assert done.exit_code == 0, done.output
    assert done.stdout == "4 batches written, 3 versions altered.\n"
    assert {k: v for k, v in old.state()[0].items() if not k.startswith("anew/")} == before
    new.run()
    for word in ("Adaqx", "Lovelaceqx", "Kingqx", "adaqx@totes"):
        assert any(word in text for text in texts(old.ingestion))
        assert not any(word in text for text in texts(new.folder))
    assert new.totes("verify").exit_code == 0
    assert history(new) == history(old)
    mine, theirs = (lake_reader.batches(FolderStore(p.ingestion)) for p in (new, old))
    for one, other in zip(mine, theirs, strict=True):
        assert one.model_copy(update={"previous": None, "tables": ()}) == other.model_copy(
            update={"previous": None, "tables": ()}
        )
    for table in ("payment", "address", "department"):
        rows = [lake_reader.rows(FolderStore(p.ingestion), table) for p in (new, old)]
        assert rows[0] == rows[1]
    [path] = (new.ingestion / ERASURES).iterdir()
    note = json.loads(path.read_bytes())
    assert (note["table"], note["key"], note["versions"]) == ("staff", ["1"], 3)
    new.change("UPDATE staff SET email_address = 'gone' WHERE staff_id = 1")
    assert new.run()[0].batch == 5, "capturing goes on from the new store"
    assert new.totes("verify").exit_code == 0


def test_a_row_that_was_deleted_is_erased_too(installation: Installation, tmp_path: Path) -> None:
    installation.change(
        "INSERT INTO department VALUES (1, 'Sails', 'Leeds', 'Ada Lovelace', now(), now())"
    )
    installation.totes("ingest")
    installation.change("DELETE FROM department")
    installation.totes("ingest")
    arguments = ["department", "1", "--columns", "manager", "--into", str(tmp_path / "anew")]
    assert installation.totes("erase", *arguments).exit_code == 0
    store = FolderStore(tmp_path / "anew")
    [line] = lake_reader.lines(store, lake_reader.batches(store)[0], "department")
    assert (line["manager"], line["location"]) == ("erased", "Leeds")


def test_a_name_in_a_former_column_or_a_dropped_table_is_erased_too(
    installation: Installation, tmp_path: Path
) -> None:
    installation.change(
        "CREATE TABLE guest (guest_id int PRIMARY KEY, name text, note text UNIQUE NOT NULL);"
        "INSERT INTO guest VALUES (1, 'Adaqx', 'x'), (2, 'Bo', 'y')"
    )
    installation.totes("ingest")
    installation.change(
        "ALTER TABLE guest RENAME name TO called; UPDATE guest SET called = 'former'"
    )
    installation.change("ALTER TABLE guest DROP CONSTRAINT guest_pkey, ADD PRIMARY KEY (note)")
    installation.totes("ingest")
    installation.change("ALTER TABLE guest DROP CONSTRAINT guest_pkey, ADD PRIMARY KEY (guest_id)")
    installation.totes("ingest")

    def erased(into: str, columns: str) -> list[str]:
        arguments = ["guest", "1", "--columns", columns, "--into", str(tmp_path / into)]
        done = installation.totes("erase", *arguments)
        assert done.exit_code == 0, done.output
        store = FolderStore(tmp_path / into)
        batches = [batch for batch in lake_reader.batches(store) if batch.table("guest")]
        lines = [lake_reader.lines(store, batch, "guest") for batch in batches]
        return [str(line) for batch in lines for line in batch if line.get("guest_id") == 1]

    first, *later = erased("renamed", "name,called")
    assert "'name': 'erased'" in first
    assert later
    assert all("'called': 'former'" in line for line in later)
    installation.change("DROP TABLE guest")
    installation.totes("ingest")
    assert not any("former" in line or "Adaqx" in line for line in erased("gone", "name,called"))


def test_where_a_row_can_not_be_told_nobody_is_told_it_was_erased(
    installation: Installation, tmp_path: Path
) -> None:
    installation.change(
        "CREATE TABLE guest (n int PRIMARY KEY, name text); INSERT INTO guest VALUES (1)"
    )
    installation.totes("ingest")
    arguments = ["erase", "guest", "1", "--columns", "name", "--into"]
    same = installation.totes(*arguments, str(tmp_path / "same"))
    assert "Nothing was altered" in same.stderr
    installation.change("ALTER TABLE guest RENAME n TO guest_id")
    installation.totes("ingest")
    refused = installation.totes(*arguments, str(tmp_path / "anew"))
    assert refused.exit_code == 2
    assert "Table guest once had no guest_id" in refused.stderr
    assert not (tmp_path / "anew").exists()


def test_a_lake_that_lies_is_not_rewritten(installation: Installation, tmp_path: Path) -> None:
    installation.filled(5).run()
    path = installation.ingestion / manifest_path(1)
    path.chmod(0o644)
    manifest = Manifest.from_json(path.read_bytes(), "")
    lying = [
        table.model_copy(
            update={"files": tuple(f.model_copy(update={"unpacked_bytes": 9}) for f in table.files)}
        )
        for table in manifest.tables
    ]
    path.write_bytes(manifest.model_copy(update={"tables": tuple(lying)}).to_json())
    arguments = ["staff", "1", "--columns", COLUMNS, "--into", str(tmp_path / "anew")]
    refused = installation.totes("erase", *arguments)
    assert refused.exit_code == 4
    assert "unpacks to more than 9 bytes" in refused.stderr


def test_what_can_not_be_meant_is_refused(old: Installation, tmp_path: Path) -> None:
    into = ["--into", str(tmp_path / "anew")]
    for arguments, said in (
        (["staff", "99", "--columns", COLUMNS, *into], "has a row 99 of table staff"),
        (["nobody", "1", "--columns", COLUMNS, *into], "has a row 1 of table nobody"),
        (["staff", "1", "2", "--columns", COLUMNS, *into], "is known by (staff_id)"),
        (["staff", "1", "--columns", "staff_id", *into], "what can be erased is created_at"),
        (["staff", "1", "--columns", "name", *into], "what can be erased is created_at"),
        (["staff", "1", "--columns", COLUMNS, "--into", str(old.ingestion)], "has batches already"),
    ):
        refused = old.totes("erase", *arguments)
        assert refused.exit_code == 2, refused.output
        assert said in refused.stderr
    assert not (tmp_path / "anew").exists()
