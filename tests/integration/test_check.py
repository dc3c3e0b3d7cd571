"""Check reports everything that is missing, with advice."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from database import execute
from installation import Installation
from s3_service import Fault, S3Service

from conftest import ClusterFactory, EmptyWarehouse, Totesys
from totes.config.resources import Resources
from totes.config.settings import Settings
from totes.embedded.servers import prepare_source
from totes.lake.folder import FolderStore
from totes.operations import check as checking
from totes.operations.check import check
from totes.operations.finding import Finding
from totes.source.snapshot import REQUIRED_FUNCTIONS

pytestmark = pytest.mark.few(10)


def run_check(installation: Installation, **settings: object) -> list[Finding]:
    values = {
        "source_dsn": installation.source,
        "warehouse_dsn": installation.warehouse,
        "ingestion_url": str(installation.ingestion),
        "processed_url": str(installation.processed),
        **settings,
    }
    with Resources(Settings.model_validate(values)) as resources:
        return list(check(resources))


def failures(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.what, finding.advice) for finding in findings if not finding.ok]


@pytest.mark.bare
def test_check_succeeds_before_and_after_the_first_run(installation: Installation) -> None:
    found = run_check(installation)
    assert not failures(found)
    assert ("warehouse tables", "none yet: the first `totes run` creates them") in {
        (finding.what, finding.found) for finding in found
    }
    installation.add_orders().run()
    found = run_check(installation)
    assert not failures(found)
    assert ("warehouse tables", "as declared") in {
        (finding.what, finding.found) for finding in found
    }


def test_a_source_that_differs_from_the_lakes_is_reported(
    installation: Installation, cluster: ClusterFactory
) -> None:
    installation.add_orders().run()
    other = prepare_source(cluster().dsn).reader.reveal()
    [(what, _)] = failures(run_check(installation, source_dsn=other))
    assert what == "source identity"


def test_the_source_as_warehouse_is_reported(installation: Installation) -> None:
    installation.add_orders().run()
    found = failures(run_check(installation, warehouse_dsn=installation.owner))
    assert ("warehouse", "name another database in TOTES_WAREHOUSE_DSN.") in found


def test_checking_twice_leaves_one_object_in_each_store(installation: Installation) -> None:
    run_check(installation)
    before = installation.state()
    run_check(installation)
    assert installation.state() == before
    assert list(FolderStore(installation.ingestion).list("")) == [checking.PROBE]


def test_every_missing_privilege_is_reported_with_its_grant(installation: Installation) -> None:
    installation.change("REVOKE SELECT ON staff, design FROM totes_ingest")
    installation.change("REVOKE USAGE ON SCHEMA public FROM totes_ingest")
    assert failures(run_check(installation)) == [
        ("source schema", 'GRANT USAGE ON SCHEMA "public" TO "totes_ingest";'),
        ("source privileges", 'GRANT SELECT ON "public"."design" TO "totes_ingest";'),
        ("source privileges", 'GRANT SELECT ON "public"."staff" TO "totes_ingest";'),
    ]


def test_row_level_security_that_may_hide_rows_is_reported(installation: Installation) -> None:
    installation.change("ALTER TABLE staff ENABLE ROW LEVEL SECURITY")
    [(what, advice)] = failures(run_check(installation))
    assert what == "source privileges"
    assert advice.startswith('ALTER ROLE "totes_ingest" BYPASSRLS;')


def test_tables_that_are_not_captured_or_without_a_key_are_listed_and_no_failure(
    installation: Installation,
) -> None:
    installation.change("CREATE VIEW staff_view AS SELECT * FROM staff; CREATE TABLE loose (a int)")
    found = run_check(installation)
    assert not failures(found)
    texts = {finding.found for finding in found}
    assert "staff_view: it is a view, and only tables are captured" in texts
    assert "loose: captured in full whenever they change" in texts


def test_a_revoked_function_is_reported_with_its_grant(
    installation: Installation, totesys: Totesys
) -> None:
    functions = [f"pg_catalog.{name}" for name in REQUIRED_FUNCTIONS]
    for function in functions:
        execute(totesys.admin, f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    found = failures(run_check(installation))
    assert found == [
        ("source privileges", f'GRANT EXECUTE ON FUNCTION {function} TO "totes_ingest";')
        for function in functions
    ]
    for _, advice in found:
        execute(totesys.admin, advice)
    assert not failures(run_check(installation))


def test_check_reports_tables_that_the_models_need_and_cannot_have(
    installation: Installation,
) -> None:
    installation.change(
        "ALTER TABLE payment RENAME TO old_payment; CREATE VIEW payment AS TABLE old_payment"
    )
    installation.change("CREATE SCHEMA app; ALTER TABLE staff SET SCHEMA app")
    found = [
        (finding.found, finding.advice) for finding in run_check(installation) if not finding.ok
    ]
    assert found == [
        (
            "payment: it is a view, and only tables are captured",
            "a model reads it: make it a regular table with that name.",
        ),
        (
            "schema public has no table staff, which a model reads; there is app.staff",
            "move all tables into one schema, and set TOTES_SOURCE_SCHEMA to it.",
        ),
    ]


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"source_schema": "nowhere"}, "source"),
        ({"source_dsn": "host=/nowhere dbname=x"}, "source"),
        ({"warehouse_dsn": "host=/nowhere dbname=x"}, "warehouse"),
        ({"source_schema": "pg_toast"}, "source schema"),
    ],
)
def test_other_checks_run_if_one_server_is_unreachable(
    installation: Installation, settings: dict[str, object], what: str
) -> None:
    assert [failed for failed, _ in failures(run_check(installation, **settings))][:1] == [what]
    assert len(failures(run_check(installation, **settings))) == 1


def test_a_store_that_cannot_be_written_fails(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    [(what, _)] = failures(run_check(installation, processed_url=str(tmp_path / "file" / "lake")))
    assert what == "processed store"


def test_a_store_with_a_different_probe_fails(installation: Installation) -> None:
    FolderStore(installation.ingestion).create(checking.PROBE, b"something else")
    [(what, _)] = failures(run_check(installation))
    assert what == "ingestion store"


@pytest.fixture
def buckets(service: S3Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """Settings for both stores in one bucket."""
    service.environment(monkeypatch)
    bucket = service.new_bucket()
    yield {f"{store}_url": f"s3://{bucket}/{store}" for store in ("ingestion", "processed")}
    service.conditional = True
    service.fail(None)


def test_a_store_that_overwrites_fails_every_time(
    installation: Installation, service: S3Service, buckets: dict[str, object]
) -> None:
    service.conditional = False
    for _ in range(2):
        [ingestion, processed] = [
            finding for finding in run_check(installation, **buckets) if not finding.ok
        ]
        assert (ingestion.what, processed.what) == ("ingestion store", "processed store")
        assert "overwrites objects" in ingestion.found
        assert "If-None-Match" in ingestion.advice
    service.conditional = True
    assert not failures(run_check(installation, **buckets))


def test_a_read_only_bucket_fails_although_it_has_the_probe(
    installation: Installation, service: S3Service, buckets: dict[str, object]
) -> None:
    assert not failures(run_check(installation, **buckets))
    service.fail(Fault("PUT", "403 Forbidden", "AccessDenied"))
    found = [finding for finding in run_check(installation, **buckets) if not finding.ok]
    assert [finding.what for finding in found] == ["ingestion store", "processed store"]
    assert "s3:PutObject" in found[0].found


def test_an_altered_warehouse_fails(installation: Installation) -> None:
    installation.add_orders().run()
    installation.change_warehouse("ALTER TABLE dim_staff ALTER COLUMN location SET NOT NULL")
    assert [what for what, _ in failures(run_check(installation))] == ["warehouse"]


def test_check_reports_objects_that_block_loads_or_rebuilds(
    installation: Installation, warehouse: EmptyWarehouse
) -> None:
    execute(
        warehouse.admin,
        "CREATE RULE r AS ON UPDATE TO dim_staff DO ALSO NOTHING",
        "CREATE TABLE mine (staff_id int REFERENCES dim_staff)",
        "ALTER TABLE dim_design ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    )
    no_force = "ALTER TABLE NO FORCE ROW LEVEL SECURITY"
    assert failures(run_check(installation)) == [
        ("warehouse tables", "DROP RULE r ON dim_staff; use a trigger instead."),
        (
            "warehouse tables",
            "GRANT USAGE ON SCHEMA public TO totes_loader; GRANT SELECT ON mine TO totes_loader.",
        ),
        ("warehouse tables", f"To disable the policy for the table's owner, use {no_force}."),
    ]


@pytest.mark.bare
def test_missing_privileges_of_the_loader_are_reported(
    installation: Installation, totesys: Totesys, warehouse: EmptyWarehouse
) -> None:
    name = warehouse.dsn.parts["dbname"]
    execute(warehouse.admin, f"ALTER DATABASE {name} OWNER TO postgres")
    execute(warehouse.admin, f"GRANT CONNECT ON DATABASE {name} TO totes_loader")
    execute(warehouse.admin, "ALTER SCHEMA public OWNER TO postgres")
    try:
        assert failures(run_check(installation)) == [
            ("warehouse privileges", f'GRANT CREATE ON DATABASE {name} TO "totes_loader";'),
            ("warehouse privileges", f'GRANT TEMPORARY ON DATABASE {name} TO "totes_loader";'),
            ("warehouse privileges", 'GRANT USAGE, CREATE ON SCHEMA public TO "totes_loader";'),
        ]
    finally:
        execute(warehouse.admin, f"ALTER DATABASE {name} OWNER TO totes_loader")
    assert totesys


def test_a_read_only_role_of_the_warehouse_fails(
    installation: Installation, warehouse: EmptyWarehouse
) -> None:
    installation.add_orders().run()
    dashboard = warehouse.dsn.replace(user="totes_dashboard")
    name = warehouse.dsn.parts["dbname"]
    assert failures(run_check(installation, warehouse_dsn=dashboard)) == [
        (
            "warehouse privileges",
            'use that role in TOTES_WAREHOUSE_DSN, or GRANT totes_loader TO "totes_dashboard";',
        ),
        ("warehouse privileges", f'GRANT TEMPORARY ON DATABASE {name} TO "totes_dashboard";'),
    ]


@pytest.mark.parametrize(("ahead", "difference"), [(90, "90 s ahead of"), (-90, "90 s behind")])
def test_a_wrong_clock_is_reported(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, ahead: int, difference: str
) -> None:
    monkeypatch.setattr(checking, "_measure_clock_difference", lambda _: timedelta(seconds=ahead))
    found = [finding.found for finding in run_check(installation) if not finding.ok]
    assert found == [f"{difference} this machine's"] * 2


def test_a_url_of_rates_is_read(installation: Installation, tmp_path: Path) -> None:
    file = tmp_path / "rates.csv"
    failure = [("exchange rates", "correct TOTES_RATES_URL, or leave it out.")]
    assert failures(run_check(installation, rates_url=file.as_uri())) == failure
    file.write_text("Date,USD,GBP\n")
    assert failures(run_check(installation, rates_url=file.as_uri())) == failure
    assert not failures(run_check(installation, rates_url=file.as_uri(), rates=False))
    file.write_text("Date,USD,GBP\n2026-11-20,1.1,0.9\n2026-11-19,1.2,0.8\n")
    assert Finding("exchange rates", "from file, up to 2026-11-20") in run_check(
        installation, rates_url=file.as_uri()
    )


def test_a_prefix_without_a_file_of_rates_is_no_failure(
    installation: Installation, service: S3Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.environment(monkeypatch)
    bucket = service.new_bucket()
    found = run_check(installation, rates_url=f"s3://{bucket}/rates")
    assert not failures(found)
    assert ("exchange rates", f"those of the package, as there are none in {bucket} yet") in {
        (finding.what, finding.found) for finding in found
    }
