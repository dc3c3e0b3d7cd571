"""`totes check` with TOTES_CAPTURE=log: what server, role, publication and slot lack."""

import json
import re
from pathlib import Path

import psycopg
import pytest
from database import execute
from installation import Installation
from psycopg import sql
from scratch_source import CREATE_ITEM, INSERT_ITEMS, ScratchSource, create_scratch_source

from conftest import ClusterFactory, EmptyWarehouse
from totes.config.settings import Settings
from totes.operations.check_log import check_log, find_forgotten_slot
from totes.operations.finding import Finding
from totes.source import session
from totes.source.catalogue import read_catalogue

MAKE = "SELECT pg_create_logical_replication_slot('totes', 'pgoutput')"
PUBLISH = "CREATE PUBLICATION totes FOR TABLE scratch.item"


def findings(source: ScratchSource, **settings: object) -> list[Finding]:
    chosen = Settings.model_validate({"capture": "log", **settings})
    with session.connect(source.dsn) as connection:
        catalogue = read_catalogue(connection, source.scope)
        return list(check_log(connection, source.dsn, chosen, catalogue))


def failures(source: ScratchSource, **settings: object) -> list[tuple[str, str]]:
    return [(found.found, found.advice) for found in findings(source, **settings) if not found.ok]


def create_slot(source: ScratchSource) -> None:
    with session.connect(source.dsn) as connection:
        connection.execute(MAKE)


@pytest.fixture
def published(logged_source: ScratchSource) -> ScratchSource:
    logged_source.run(f"{CREATE_ITEM}; {PUBLISH}")
    return logged_source


@pytest.mark.few(1)
def test_nothing_is_missing_where_everything_is_there(published: ScratchSource) -> None:
    assert failures(published) == []
    texts = [finding.found for finding in findings(published)]
    assert "a replication connection is accepted" in texts
    assert "totes has 1 of 1 tables" in texts
    assert "none yet: the first capture creates it" in texts


def test_a_server_is_ready_after_all_the_advice_was_followed(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    server = cluster()
    source = create_scratch_source(server, tmp_path)
    source.run(f"{CREATE_ITEM}; CREATE TABLE loose (a int)")
    found = failures(source)
    assert [what for what, _ in found] == [
        "wal_level of the source is replica",
        "totes_ingest may not read the log",
        (
            "max_slot_wal_keep_size of the source is -1: a replication slot that no process reads "
            "would fill its disk"
        ),
        "there is no publication totes",
    ]
    *of_server, publication = [advice for _, advice in found]
    statements = [
        f"{statement};"
        for advice in of_server
        for statement in re.findall(r"(?:ALTER|SELECT)[^;]*", advice)
    ]
    execute(server.dsn, *statements)
    [create] = re.findall("CREATE PUBLICATION [^;]*;", publication)
    assert create == 'CREATE PUBLICATION "totes" FOR TABLE "scratch"."item";'
    source.run(create)
    server.stop()
    server.start()
    assert failures(source) == []
    texts = [finding.found for finding in findings(source)]
    assert "loose: it has no primary key" in texts


@pytest.mark.few(1)
def test_names_in_statements_are_quoted(logged_source: ScratchSource) -> None:
    logged_source.run('CREATE TABLE "it\'s ""here""; x" (id int PRIMARY KEY)')
    [(found, advice)] = failures(logged_source, log_publication='to"tes')
    assert found == 'there is no publication to"tes'
    [create] = re.findall('CREATE PUBLICATION .*x";', advice)
    logged_source.run(create)
    assert failures(logged_source, log_publication='to"tes') == []


def test_on_rds_the_advice_names_its_parameters_and_role(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    server = cluster(max_slot_wal_keep_size="1GB")
    source = create_scratch_source(server, tmp_path)
    source.run(f"{CREATE_ITEM}; {PUBLISH}")
    execute(server.dsn, "CREATE ROLE rds_replication")
    assert failures(source) == [
        (
            "wal_level of the source is replica",
            "set rds.logical_replication = 1 in its parameter group, and reboot it.",
        ),
        ("totes_ingest may not read the log", 'GRANT rds_replication TO "totes_ingest";'),
    ]
    execute(server.dsn, 'GRANT rds_replication TO "totes_ingest";')
    assert [found for found, _ in failures(source)] == ["wal_level of the source is replica"]


@pytest.mark.few(1)
def test_a_replication_connection_that_is_refused_is_reported(
    published: ScratchSource,
) -> None:
    """A pooler refuses it; here the server does, as it knows no role rds_replication."""
    superuser = published.owner.replace(user="postgres")
    execute(
        superuser,
        "ALTER ROLE totes_ingest NOREPLICATION",
        "CREATE ROLE rds_replication ROLE totes_ingest",
    )
    try:
        [(found, advice)] = failures(published)
    finally:
        execute(superuser, "DROP ROLE rds_replication")
    assert found.startswith("a replication connection is refused: ")
    assert "pooler" in advice


@pytest.mark.parametrize(
    ("slots", "senders", "limit"),
    [("1", "10", "max_replication_slots"), ("10", "1", "max_wal_senders")],
)
def test_a_limit_that_is_reached_is_reported(
    cluster: ClusterFactory, tmp_path: Path, slots: str, senders: str, limit: str
) -> None:
    server = cluster(
        wal_level="logical",
        max_slot_wal_keep_size="1GB",
        max_replication_slots=slots,
        max_wal_senders=senders,
    )
    source = create_scratch_source(server, tmp_path)
    source.run(f"{CREATE_ITEM}; {PUBLISH}")
    execute(server.dsn, "ALTER ROLE totes_ingest REPLICATION")
    assert failures(source) == []
    execute(server.dsn, "SELECT pg_create_physical_replication_slot('other')")
    with psycopg.connect(
        server.dsn.replace(replication="true").reveal(), autocommit=True
    ) as stream:
        stream.execute("IDENTIFY_SYSTEM")
        assert failures(source) == [
            (
                f"all 1 of {limit} are in use",
                f"ALTER SYSTEM SET {limit} = 6; then restart the server.",
            )
        ]


def test_a_standby_cannot_be_the_source(cluster: ClusterFactory, tmp_path: Path) -> None:
    primary = cluster(wal_level="logical")
    source = create_scratch_source(primary, tmp_path)
    standby = cluster(standby_of=primary)
    copy = ScratchSource(
        source.owner, standby.dsn.replace(user="totes_ingest", dbname="totesys"), source.lake
    )
    [finding] = findings(copy)
    assert not finding.ok
    assert "standby" in finding.found
    assert "name the primary server" in finding.advice


# The publication


@pytest.mark.few(1)
def test_tables_that_are_scanned_are_listed_with_the_reason(published: ScratchSource) -> None:
    published.run(
        "CREATE TABLE loose (a int); CREATE TABLE later (id int PRIMARY KEY);"
        "CREATE TABLE number (id int PRIMARY KEY); ALTER PUBLICATION totes ADD TABLE number"
    )
    assert failures(published) == []
    listed = [(f.what, f.found, f.advice) for f in findings(published) if f.what.startswith("tab")]
    assert listed == [
        (
            "table that is scanned",
            "later: it is not in publication totes",
            'ALTER PUBLICATION "totes" ADD TABLE "scratch"."later";',
        ),
        ("table that is scanned", "loose: it has no primary key", ""),
        (
            "tables that may be scanned",
            (
                "item: after an update that leaves a value of more than about 2 kB unchanged; "
                "with REPLICA IDENTITY FULL, never"
            ),
            "",
        ),
    ]
    assert "totes has 2 of 4 tables" in [finding.found for finding in findings(published)]


@pytest.mark.few(1)
def test_a_publication_that_breaks_the_application_is_reported(published: ScratchSource) -> None:
    published.run("CREATE TABLE loose (a int); ALTER PUBLICATION totes ADD TABLE loose")
    [(found, advice)] = failures(published)
    assert found.startswith("the application can't update or delete rows of loose")
    statement = advice.partition(";")[0]
    assert statement == 'ALTER PUBLICATION "totes" DROP TABLE "scratch"."loose"'
    published.run(statement)
    assert failures(published) == []


@pytest.mark.few(1)
def test_a_publication_without_a_usable_table_is_reported(published: ScratchSource) -> None:
    published.run("ALTER PUBLICATION totes SET (publish = 'insert')")
    assert [found for found, _ in failures(published)] == ["no table can be captured from the log"]


# The slot


@pytest.mark.few(1)
def test_a_slot_and_what_it_retains_are_shown(published: ScratchSource) -> None:
    create_slot(published)
    published.run(INSERT_ITEMS.format(5000))
    [slot] = [finding for finding in findings(published) if finding.what == "log slot"]
    assert slot.ok
    shown = re.fullmatch(
        r"no process reads slot totes, which retains (\d+\.\d) MB of log", slot.found
    )
    assert shown is not None
    assert float(shown[1]) > 0.2


@pytest.mark.few(1)
def test_a_slot_that_retains_more_than_the_alarm_is_a_failure(published: ScratchSource) -> None:
    create_slot(published)
    # A size that a test can write: the setting itself has a minimum.
    alarm = Settings.model_validate({"capture": "log"}).model_copy(update={"log_alarm": 1})
    with session.connect(published.dsn) as connection:
        catalogue = read_catalogue(connection, published.scope)
        assert all(f.ok for f in check_log(connection, published.dsn, alarm, catalogue))
        published.run(INSERT_ITEMS.format(20000))
        [failure] = [f for f in check_log(connection, published.dsn, alarm, catalogue) if not f.ok]
    assert failure.found.endswith("MB of log, more than TOTES_LOG_ALARM")
    assert "`totes log drop`" in failure.advice


@pytest.mark.few(1)
def test_transactions_that_delay_a_new_slot_are_listed(published: ScratchSource) -> None:
    with published.open() as other:
        other.execute("INSERT INTO item VALUES (1)")
        [_, slot] = [finding for finding in findings(published) if finding.what == "log slot"]
        assert slot.ok
        assert f"process {other.info.backend_pid}" in slot.found
        make = "SELECT pg_create_physical_replication_slot('unrelated')"
        execute(published.owner.replace(user="postgres"), make)
    execute(
        published.owner.replace(user="postgres"), "SELECT pg_drop_replication_slot('unrelated')"
    )


@pytest.mark.few(1)
def test_another_programs_slot_is_reported(published: ScratchSource) -> None:
    superuser = published.owner.replace(user="postgres")
    execute(superuser, "SELECT pg_create_physical_replication_slot('totes')")
    try:
        assert failures(published) == [
            (
                "replication slot totes is physical: another program uses it",
                "set TOTES_LOG_SLOT to another name.",
            )
        ]
        assert failures(published, log_slot="other") == []
    finally:
        execute(superuser, "SELECT pg_drop_replication_slot('totes')")


def test_a_lost_slot_is_reported(cluster: ClusterFactory, tmp_path: Path) -> None:
    server = cluster(
        wal_level="logical", max_slot_wal_keep_size="1MB", min_wal_size="32MB", max_wal_size="32MB"
    )
    source = create_scratch_source(server, tmp_path)
    source.run(f"{CREATE_ITEM}; {PUBLISH}")
    execute(server.dsn, "ALTER ROLE totes_ingest REPLICATION")
    create_slot(source)
    write = "SELECT pg_logical_emit_message(false, '', repeat('x', 1000000)), pg_switch_wal()"
    execute(server.dsn, write, write, write, "CHECKPOINT")
    [(found, advice)] = failures(source)
    assert found == "the server has removed log that slot totes still needs"
    assert "max_slot_wal_keep_size" in advice


@pytest.mark.few(1)
def test_a_slot_that_scan_does_not_read_is_reported(published: ScratchSource) -> None:
    scan = Settings.model_validate({"capture": "scan"})
    with session.connect(published.dsn) as connection:
        assert list(find_forgotten_slot(connection, scan)) == []
        connection.execute(MAKE)
        [finding] = find_forgotten_slot(connection, scan)
    assert not finding.ok
    assert "TOTES_CAPTURE is scan, but no process reads slot totes" in finding.found


# The commands


@pytest.fixture
def platform(published: ScratchSource, warehouse: EmptyWarehouse) -> Installation:
    """A platform with TOTES_CAPTURE=log, whose source has one table."""
    installation = Installation(
        published.owner, published.dsn, warehouse.dsn, published.lake.parent
    )
    return installation.with_settings(capture="log", source_schema="scratch")


def test_check_shows_the_findings(platform: Installation) -> None:
    shown = platform.totes("check").stdout
    assert "log publication: totes has 1 of 1 tables" in shown
    platform.change("DROP PUBLICATION totes")
    found = json.loads(platform.totes("check", "--json").stdout)["findings"]
    [publication] = [one for one in found if one["what"] == "log publication"]
    assert publication["found"] == "there is no publication totes"
    assert 'FOR TABLE "scratch"."item";' in publication["advice"]
    scan = platform.with_settings(capture="scan").totes("check").stdout
    assert "log publication" not in scan


@pytest.mark.few(1)
def test_status_shows_the_slot(platform: Installation, published: ScratchSource) -> None:
    def shown() -> tuple[str, dict[str, object]]:
        found = json.loads(platform.totes("status", "--json").stdout)["capture"]
        return platform.totes("status").stdout, found

    state = {"mode": "log", "slot": "totes", "active": False, "retained_bytes": None}
    text, found = shown()
    assert "captured    from the log, slot totes: there is no slot yet" in text
    assert found == {**state, "problem": "there is no slot yet"}
    create_slot(published)
    published.run(INSERT_ITEMS.format(5000))
    text, found = shown()
    assert "captured    from the log: slot totes is not read now, retains " in text
    assert int(str(found.pop("retained_bytes"))) > 200_000
    assert found == {"mode": "log", "slot": "totes", "active": False, "problem": None}
    make = "SELECT pg_create_physical_replication_slot('other')"
    drop = "SELECT pg_drop_replication_slot('other')"
    execute(published.owner.replace(user="postgres"), make)
    try:
        other = platform.with_settings(log_slot="other").totes("status").stdout
    finally:
        execute(published.owner.replace(user="postgres"), drop)
    assert "slot other: replication slot other is physical: another program uses it" in other


def test_status_is_shown_although_the_source_does_not_answer(platform: Installation) -> None:
    away = platform.with_settings(source_dsn="host=/nowhere dbname=x")
    result = away.totes("status")
    assert result.exit_code == 0
    assert "slot totes: The source /nowhere/x can't be reached" in result.stdout


@pytest.mark.few(1)
def test_log_drop_removes_the_slot_once(platform: Installation, published: ScratchSource) -> None:
    create_slot(published)
    result = platform.totes("log", "drop", "--json")
    assert json.loads(result.stdout) == {"dropped": "totes"}
    with published.open() as connection:
        query = sql.SQL("SELECT FROM pg_replication_slots WHERE slot_name = 'totes'")
        assert connection.execute(query).fetchall() == []
    again = platform.totes("log", "drop")
    assert again.exit_code == 3
    assert "There is no replication slot totes (TOTES_LOG_SLOT)." in again.stderr
    create_slot(published)
    assert platform.totes("log", "drop").stdout.strip() == "Slot totes is dropped."
