"""Errors of commands: one line, the right exit code, and nothing changed."""

import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from command import expect_error
from database import execute
from installation import Installation

from conftest import ClusterFactory
from totes.cli import main
from totes.config.dsn import Dsn
from totes.config.settings import Settings
from totes.embedded.servers import prepare_source
from totes.stages.runner import run_stage

pytestmark = [pytest.mark.usefixtures("no_pauses"), pytest.mark.few(6)]


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        ({"source_dsn": "nonsense"}, 2, "Setting TOTES_SOURCE_DSN"),
        ({"every": "soon"}, 2, "Setting TOTES_EVERY"),
        ({"ingestion_url": "ftp://host/x"}, 2, "The URL of a store must be"),
        ({"source_dsn": "host=/nowhere dbname=x"}, 3, "The source"),
        ({"source_schema": "nowhere"}, 3, "has no tables to ingest"),
        ({"exclude_tables": "staff", "source_schema": "pg_toast"}, 3, "has no tables to ingest"),
    ],
)
def test_wrong_settings_are_one_line(
    installation: Installation, settings: dict[str, str], code: int, message: str
) -> None:
    expect_error(installation.with_settings(**settings), code, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--once", "--every", "5s"], "not both"),
        (["run", "--every", "soon"], "Option --every must be a duration"),
        (["replay", "--into", "nonsense"], "Option --into is not a libpq"),
        (["simulate"], "The platform only reads the database of TOTES_SOURCE_DSN"),
        (["demo", "--for", "1s"], "unset TOTES_SOURCE_DSN"),
    ],
)
def test_wrong_usage_is_one_line(
    installation: Installation, arguments: list[str], message: str
) -> None:
    expect_error(installation, 2, message, *arguments)


def test_a_source_without_connect_privilege_names_the_missing_grant(
    installation: Installation,
) -> None:
    closed = installation.warehouse.replace(user="totes_ingest").reveal()
    expect_error(
        installation.with_settings(source_dsn=closed), 3, "GRANT CONNECT on it to this user."
    )


def test_an_unreachable_source_is_reported_once(installation: Installation) -> None:
    message = "Connection refused: check host and port, and that the server runs"
    expect_error(
        installation.with_settings(source_dsn="host=127.0.0.1 port=1 dbname=x"), 3, message
    )


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["run", "--nonsense"], ["replay", "--to", "x"]]
)
def test_usage_errors_of_typer_exit_with_2(
    installation: Installation, arguments: list[str]
) -> None:
    assert installation.totes(*arguments).exit_code == 2


def test_a_missing_database_is_named(installation: Installation) -> None:
    nowhere = installation.source.replace(dbname="nowhere").reveal()
    expect_error(
        installation.with_settings(source_dsn=nowhere), 3, 'database "nowhere" does not exist'
    )
    installation.add_orders().totes("ingest")
    expect_error(
        installation.with_settings(warehouse_dsn=nowhere),
        5,
        'database "nowhere" does not exist',
        "load",
    )


def test_a_wrong_password_is_one_line_that_does_not_repeat_it(
    installation: Installation, cluster: ClusterFactory
) -> None:
    server = cluster()
    source = prepare_source(server.dsn)
    execute(server.dsn, "ALTER ROLE totes_ingest PASSWORD 'right'")
    (server.data / "pg_hba.conf").write_text("local all all scram-sha-256\n")
    server.run("pg_ctl", "reload", "--pgdata", str(server.data))
    wrong = source.reader.replace(password="sesame").reveal()
    expect_error(installation.with_settings(source_dsn=wrong), 3, "password authentication failed")
    assert "sesame" not in installation.with_settings(source_dsn=wrong).totes("check").output


def test_a_missing_privilege_is_reported_with_its_grant(installation: Installation) -> None:
    installation.change("REVOKE SELECT ON staff FROM totes_ingest")
    expect_error(installation, 3, 'GRANT SELECT ON "public"."staff" TO "totes_ingest";')


def test_a_changed_source_is_rejected(installation: Installation, cluster: ClusterFactory) -> None:
    installation.add_orders().run()
    other = prepare_source(cluster().dsn).reader.reveal()
    expect_error(installation.with_settings(source_dsn=other), 3, "--accept-new-source")


def test_the_source_is_not_written_to_if_it_is_configured_as_the_warehouse(
    installation: Installation,
) -> None:
    mistaken = installation.add_orders().with_settings(warehouse_dsn=installation.owner.reveal())
    assert mistaken.totes("run", "--once").exit_code == 5
    expect_error(mistaken, 5, "only read")
    expect_error(mistaken, 5, "only read", "warehouse", "migrate")
    expect_error(installation, 5, "only read", "replay", "--into", installation.owner.reveal())
    assert not is_warehouse(installation.owner)


def test_no_database_becomes_a_warehouse_before_the_first_capture(
    installation: Installation,
) -> None:
    """It may be totesys: the lake does not identify that yet."""
    assert (
        list(run_stage(replace(installation.pipeline, warehouse=installation.owner), "load")) == []
    )
    assert not is_warehouse(installation.owner)


def is_warehouse(dsn: Dsn) -> bool:
    with psycopg.connect(dsn.reveal()) as connection:
        made = connection.execute("SELECT to_regclass('fact_payment'), to_regnamespace('totes')")
        return made.fetchone() != (None, None)


@pytest.mark.bare
def test_verify_captures_nothing_before_the_warehouse_exists(installation: Installation) -> None:
    installation.add_orders()
    expect_error(installation, 5, "totes run --once", "verify")
    assert not installation.ingestion.exists()


def test_a_lake_that_cannot_be_written_is_rejected(
    installation: Installation, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    expect_error(
        installation.add_orders().with_settings(ingestion_url=str(tmp_path / "file" / "lake")),
        4,
        "can't be",
    )


@pytest.mark.parametrize("command", [["run", "--once"], ["ingest"]])
def test_without_a_temporary_folder_the_error_names_the_setting(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    nowhere = [str(installation.folder / "missing")]
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: nowhere)
    expect_error(installation.add_orders(), 4, "set TMPDIR to a folder", *command)
    assert installation.totes("status").exit_code == 0


def test_a_folder_that_cannot_be_found_is_named(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    expect_error(
        installation.with_settings(ingestion_url=str(tmp_path / "loop")), 2, "loop can't be found"
    )
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    expect_error(
        installation.with_settings(ingestion_url="lake"),
        2,
        "lake can't be found (the working directory",
    )
    embedded = {"home": ".totes", "source_dsn": ""}
    expect_error(
        installation.with_settings(**embedded), 3, "The folder .totes/source can't be found"
    )
    monkeypatch.chdir(tmp_path)


def test_a_manifest_of_a_newer_format_is_rejected(installation: Installation) -> None:
    installation.add_orders().run()
    path = installation.ingestion / "batches" / f"{2:012d}.json"
    path.write_text('{"format": 99}')
    expect_error(installation, 4, "upgrade terrific-totes", "transform")


def damage(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"\0" * path.stat().st_size)


@pytest.mark.few(2)
@pytest.mark.parametrize("harm", [damage, Path.unlink])
@pytest.mark.parametrize(("stage", "store"), [("transform", "ingestion"), ("load", "processed")])
def test_a_damaged_or_missing_file_is_named_and_nothing_of_its_batch_is_loaded(
    installation: Installation, harm: Callable[[Path], None], stage: str, store: str
) -> None:
    installation.add_orders().run()
    installation.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    installation.totes("ingest")
    if stage == "load":
        installation.totes("transform")
    [path] = [
        path
        for path in (installation.folder / store).rglob(f"*design/totes_date=*/{2:012d}-*")
        if "keys" not in path.parts and "overlap" not in path.parts
    ]
    harm(path)
    expect_error(installation, 4, path.name, stage)


def test_a_warehouse_that_was_altered_is_rejected(installation: Installation) -> None:
    installation.add_orders().run()
    installation.change_warehouse("ALTER TABLE dim_staff ALTER COLUMN location SET NOT NULL")
    expect_error(installation, 5, "Table dim_staff of the warehouse has location", "load")


def test_an_unexpected_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> Settings:
        raise KeyError("oh")

    monkeypatch.setattr("totes.config.settings.load_settings", fail)
    monkeypatch.setattr(sys, "argv", ["totes", "settings"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 70
    assert capsys.readouterr().err.startswith("totes: KeyError: 'oh' (unexpected error")


def test_debug_shows_the_traceback(installation: Installation) -> None:
    result = installation.with_settings(every="soon").totes("--debug", "settings")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
