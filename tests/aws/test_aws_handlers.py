"""The Lambda handlers between a real totesys and a real warehouse, with AWS simulated by moto."""

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import psycopg
import pytest
from in_process_handlers import LONG_MS, PASSWORD, SHORT_MS, Handlers
from installation import Installation, at
from rates_files import DAY
from s3_service import forget_clients

from totes.aws import handlers
from totes.duckdb_engine import scratch_folder
from totes.error_policy import POLICIES
from totes.errors import (
    DeliveryError,
    IcebergBusy,
    ModelError,
    SourceUnavailable,
    UsageError,
    WarehouseError,
)
from totes.lake.manifest import LogState
from totes.rates.ecb import missing_days
from totes.stages.runner import STAGES

pytestmark = pytest.mark.few(4)

CHANGE = "UPDATE sales_order SET units_sold = units_sold + 1 WHERE sales_order_id = 1"
BROKEN_DATE = "UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id = 2"


def units(cloud: Handlers) -> int:
    [(found,)] = cloud.installation.query(
        "SELECT units_sold FROM current_sales_order WHERE sales_order_id = 1"
    )
    return int(found)


def test_a_change_arrives_in_the_warehouse_and_every_stage_writes_metrics(
    cloud: Handlers,
) -> None:
    cloud.installation.add_orders(8)
    cloud.call_all()
    before = units(cloud)
    cloud.metrics()
    cloud.installation.change(CHANGE)
    answers = cloud.call_all()
    assert units(cloud) == before + 1
    assert answers[0]["rows"] == 1
    assert answers == [
        {
            "stage": stage,
            "batches": [2],
            "rows": answer["rows"],
            "quarantined": 0,
            "stopped_early": False,
            "unavailable": None,
            "spark": None,
        }
        for stage, answer in zip(STAGES, answers, strict=True)
    ]
    measured = cloud.metrics()
    assert [one["service"] for one in measured] == list(STAGES)
    assert [one["Rows"] for one in measured] == [answer["rows"] for answer in answers]
    for one in measured:
        assert one["environment"] == "test"
        assert one["Batches"] == 1
        assert one["Bytes"] > 0
        assert 0 <= one["LagSeconds"] < 300
        assert one["DurationSeconds"] > 0
    assert [one["QuarantinedRows"] for one in measured if "QuarantinedRows" in one] == [0]
    batch_lines = [line for line in cloud.lines() if line.get("correlation_id") == "2"]
    assert {line["service"] for line in batch_lines} == set(STAGES)
    assert {line["request_id"] for line in cloud.lines()} == {"request-1"}
    assert cloud.alerts() == []


def test_load_records_the_time_of_a_check_without_changes(cloud: Handlers) -> None:
    """Load takes it from the heartbeat, and records it in totes.freshness."""
    cloud.installation.add_orders(3)
    cloud.call_all()
    [(captured_at,)] = cloud.installation.query("SELECT checked_at FROM totes.freshness")
    cloud.patch.setattr("totes.stages.ingest.HEARTBEAT_INTERVAL", timedelta())
    assert [answer["batches"] for answer in cloud.call_all()] == [[], [], []]
    [(checked_at,)] = cloud.installation.query("SELECT checked_at FROM totes.freshness")
    assert checked_at > captured_at
    cloud.installation.change(CHANGE)
    cloud.call("ingest")
    cloud.metrics()
    cloud.call("load")
    assert cloud.installation.query("SELECT checked_at FROM totes.freshness") == [(checked_at,)], (
        "a batch that is captured but not loaded must not change it"
    )
    [measured] = cloud.metrics()
    assert measured["LagSeconds"] == pytest.approx(
        (datetime.now(UTC) - checked_at).total_seconds(), abs=60
    )


def test_before_the_first_capture_there_is_nothing_to_do_and_no_lag(cloud: Handlers) -> None:
    answers = [cloud.call("transform"), cloud.call("load")]
    assert [answer["batches"] for answer in answers] == [[], []]
    assert "LagSeconds" not in cloud.metrics()[-1], "an alarm treats missing data as late"


def test_a_machine_and_the_functions_can_replace_each_other(cloud: Handlers) -> None:
    """A first load that is too large for a function runs on a machine."""
    machine = Installation(
        cloud.installation.owner, cloud.installation.source, cloud.installation.warehouse, Path()
    )
    machine = machine.with_settings(
        **{
            name: os.environ[f"TOTES_{name.upper()}"] for name in ("ingestion_url", "processed_url")
        },
        source_secret="",
        warehouse_secret="",
        alert_topic="",
    )
    machine.add_orders(8)
    for round_ in range(2):
        assert machine.totes("run", "--once").exit_code == 0
        assert [answer["batches"] for answer in cloud.call_all()] == [[], [], []]
        machine.change(CHANGE)
        assert cloud.call("ingest")["batches"] == [2 + 2 * round_]
        machine.change(CHANGE)
        assert machine.totes("ingest").exit_code == 0
        batches = [2 + 2 * round_, 3 + 2 * round_]
        assert cloud.call("transform")["batches"] == batches
        assert cloud.call("load")["batches"] == batches
    verified = machine.totes("verify")
    assert verified.exit_code == 0, verified.output
    assert machine.query("SELECT array_agg(batch ORDER BY batch) FROM totes.batches") == [
        ([1, 2, 3, 4, 5],)
    ]


def test_a_call_short_of_time_stops_between_batches_and_the_next_continues(
    cloud: Handlers,
) -> None:
    cloud.installation.add_orders(3)
    for _ in range(3):
        cloud.call("ingest")
        cloud.installation.change(CHANGE)
    first = cloud.call("transform", SHORT_MS)
    assert (first["batches"], first["stopped_early"]) == ([1], True)
    assert cloud.metrics()[-1]["LagSeconds"] > 0, "the second batch is pending since its capture"
    assert cloud.call("load", SHORT_MS)["batches"] == [1]
    assert cloud.call("transform", SHORT_MS)["batches"] == [2]
    rest = cloud.call("transform")
    assert (rest["batches"], rest["stopped_early"]) == ([3], False)
    assert cloud.call("load")["batches"] == [2, 3]


def test_the_reserve_grows_with_the_batches(cloud: Handlers) -> None:
    cloud.installation.add_orders(3)
    for _ in range(2):
        cloud.call("ingest")
        cloud.installation.change(CHANGE)
    cloud.patch.setattr(handlers, "LONGEST_BATCH_FACTOR", 1e6)
    assert cloud.call("transform", LONG_MS)["batches"] == [1]


def test_concurrent_calls_process_each_batch_once(cloud: Handlers) -> None:
    cloud.installation.add_orders(3)
    for _ in range(3):
        cloud.call("ingest")
        cloud.installation.change(CHANGE)
    for stage in ("transform", "load"):
        with ThreadPoolExecutor(2) as two:
            answers = list(two.map(cloud.call, [stage] * 2))
        assert sorted(answers[0]["batches"] + answers[1]["batches"]) == [1, 2, 3]
    assert cloud.installation.query("SELECT count(*) FROM totes.batches") == [(3,)]


def test_a_stage_that_needs_a_person_fails_with_its_message_in_the_log(cloud: Handlers) -> None:
    """The alarm on failed calls sends the mail, so that the handler sends none."""
    cloud.installation.add_orders(3)
    cloud.call("ingest")
    cloud.metrics()

    def fail() -> None:
        raise ModelError("Model fact_payment can't run on batch 1.")

    with at("transform.before-manifest", fail), pytest.raises(ModelError, match="can't run"):
        cloud.call("transform")
    assert [one["Batches"] for one in cloud.metrics()] == [0]
    [line] = [line for line in cloud.lines() if line["level"] == "ERROR"]
    assert line["message"] == "transform failed: Model fact_payment can't run on batch 1."
    assert line["correlation_id"] == "1"
    assert cloud.alerts() == []
    assert cloud.call("transform")["batches"] == [1]


def test_a_database_that_is_unavailable_fails_no_call_and_loses_nothing(cloud: Handlers) -> None:
    cloud.installation.add_orders(3)
    cloud.call_all()
    cloud.installation.change(CHANGE)
    cloud.patch.setattr("totes.error_policy.MAX_ATTEMPTS", 1)
    source, warehouse = (os.environ[f"TOTES_{place}_SECRET"] for place in ("SOURCE", "WAREHOUSE"))
    cloud.metrics()
    for stage, secret, dsn, part in (
        ("ingest", source, cloud.installation.source, "source"),
        ("load", warehouse, cloud.installation.warehouse, "warehouse"),
    ):
        cloud.put_secret(secret, dsn, host="/nowhere")
        forget_clients()
        answer = cloud.call(stage)
        assert (answer["unavailable"], answer["batches"]) == (part, [])
        cloud.put_secret(secret, dsn)
        forget_clients()
        assert cloud.call(stage)["unavailable"] is None
        cloud.call("transform")
        unavailable, back, _ = cloud.metrics()
        name = f"{part.title()}Unavailable"
        assert (unavailable[name], back[name]) == (1, 0)
        assert "LagSeconds" not in unavailable, "what is not known must not look current"
    assert cloud.call("load")["batches"] == []
    assert cloud.installation.query("SELECT count(*) FROM totes.batches") == [(2,)]
    assert cloud.alerts() == []
    [warning, _] = [line for line in cloud.lines() if " is unavailable: " in str(line["message"])]
    assert warning["level"] == "WARNING"


def test_each_temporary_error_counts_as_a_part_that_is_unavailable() -> None:
    """The others need a person, after the first time that they happen; no function publishes."""
    temporary = {kind for kind, policy in POLICIES.items() if policy.alert_after > 1}
    assert {
        kind for kind in POLICIES if issubclass(kind, tuple(handlers.UNAVAILABLE_PARTS))
    } == temporary - {DeliveryError, IcebergBusy}


def test_a_secret_service_that_is_unavailable_is_the_database_unavailable(cloud: Handlers) -> None:
    cloud.patch.setattr("totes.error_policy.MAX_ATTEMPTS", 1)
    cloud.patch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:9")
    forget_clients()
    assert cloud.call("ingest")["unavailable"] == "source"


def test_a_gap_sends_one_message_for_all_batches_in_a_row_that_have_it(cloud: Handlers) -> None:
    cloud.installation.add_orders(3)
    for gap in ("lost slot", "lost slot", None, "lost slot", "no publication"):
        log = LogState(slot="totes", position="0/1", gap=gap)
        cloud.patch.setattr("totes.stages.ingest._log_state", lambda *_, log=log: log)
        cloud.installation.change(CHANGE)
        cloud.call("ingest")
    messages = [json.loads(mail["Message"])["message"] for mail in cloud.alerts()]
    assert [message.split(". ")[0] for message in messages] == [
        "Batch 1: lost slot",
        "Batch 4: lost slot",
        "Batch 5: no publication",
    ]


KILLED = """
import os, signal
from totes.duckdb_engine import scratch_folder
with scratch_folder("transform") as folder:
    (folder / "spilled").write_bytes(bytes(1000))
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_call_removes_what_a_killed_call_has_left_in_tmp_and_nothing_else(
    cloud: Handlers, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    foreign = [temporary / "totes-scratch", temporary / "totes-lake", temporary / "other"]
    for folder in foreign:
        folder.mkdir()
    (temporary / "totes-scratch-link").symlink_to(foreign[0])
    (temporary / "totes-scratch-file").touch()
    cloud.patch.setenv("TMPDIR", str(temporary))
    killed = subprocess.run([sys.executable, "-c", KILLED], check=False, stdout=subprocess.PIPE)
    dead = Path(killed.stdout.decode().strip())
    assert (dead / "spilled").exists()
    cloud.patch.setattr(tempfile, "tempdir", None)
    with scratch_folder("ingest") as alive:
        cloud.call("transform")
        assert alive.exists(), "another call at the same time"
    assert {path.name for path in temporary.iterdir()} == {
        *(folder.name for folder in foreign),
        "totes-scratch-link",
        "totes-scratch-file",
    }


def test_a_transient_error_is_retried_within_a_call(cloud: Handlers) -> None:
    cloud.installation.add_orders(3)
    left = [SourceUnavailable("The source is not available.")] * 2

    def fail() -> None:
        if left:
            raise left.pop()

    cloud.patch.setattr("totes.error_policy.FIRST_PAUSE_SECONDS", 0.0)
    cloud.patch.setattr("totes.error_policy.MAX_PAUSE_SECONDS", 0.0)
    with at("source.locked", fail):
        assert cloud.call("ingest")["batches"] == [1]
    assert not left
    assert cloud.alerts() == []


def test_quarantined_rows_are_logged_once_and_counted_until_they_are_repaired(
    cloud: Handlers,
) -> None:
    """The alarm on the count sends the mail."""
    cloud.installation.add_orders(3)
    cloud.call_all()
    cloud.metrics()
    cloud.installation.change(BROKEN_DATE)
    _, transformed, loaded = cloud.call_all()
    assert (transformed["quarantined"], loaded["quarantined"]) == (1, 1)
    assert [answer["quarantined"] for answer in cloud.call_all()] == [0, 0, 1]
    assert [one["QuarantinedRows"] for one in cloud.metrics()[2::3]] == [1, 1]
    logged = [line["message"] for line in cloud.lines() if "quarantined" in line["message"]]
    assert logged == [
        "Batch 2: rows quarantined: 1 of fact_sales_order. See `totes quarantine show`."
    ]
    assert cloud.alerts() == []
    cloud.installation.change(
        "UPDATE sales_order SET agreed_delivery_date = '2026-01-01' WHERE sales_order_id = 2"
    )
    assert cloud.call_all()[2]["quarantined"] == 0


def test_a_value_that_no_model_needs_and_that_can_not_be_read_is_counted(cloud: Handlers) -> None:
    cloud.installation.add_orders(3)
    cloud.installation.change(
        "ALTER TABLE design ADD virtual integer GENERATED ALWAYS AS (1 / (design_id - 1))"
    )
    assert cloud.call_all()[2]["quarantined"] == 1
    assert cloud.installation.query("SELECT count(*) FROM totes.quarantine") == [(0,)]
    cloud.installation.change("ALTER TABLE design DROP virtual")
    assert cloud.call_all()[2]["quarantined"] == 0
    assert cloud.alerts() == []


def test_load_reports_the_last_verify_and_how_long_ago_it_was(cloud: Handlers) -> None:
    cloud.installation.add_orders(3)
    cloud.call_all()
    loader = cloud.installation.warehouse
    for verify, hours, differs in (
        ("UPDATE totes.batches SET loaded_at = loaded_at - interval '5 hours'", 5, None),
        ("INSERT INTO totes.verifications (batch, equal) VALUES (1, false)", 0, 1),
        (
            "UPDATE totes.verifications SET equal = true, verified_at = now() - interval '40 h'",
            40,
            0,
        ),
    ):
        with psycopg.connect(loader.reveal()) as connection:
            connection.execute(verify.encode())
        cloud.call("load")
        measured = cloud.metrics()[-1]
        assert measured["HoursSinceVerify"] == pytest.approx(hours, abs=0.1)
        assert measured.get("VerifyDiffers") == differs


def test_load_reports_the_days_of_which_the_warehouse_has_no_rates(cloud: Handlers) -> None:
    cloud.installation.add_orders(3)
    cloud.call_all()
    assert "RatesMissingDays" not in cloud.metrics()[-1], "it has none at all"
    newest = datetime.now(UTC).date() - 8 * DAY
    cloud.publish_rates(newest)
    cloud.call_all()
    assert cloud.metrics()[-1]["RatesMissingDays"] == missing_days(newest, datetime.now(UTC)) > 2


def test_invalid_settings_fail_the_call(cloud: Handlers) -> None:
    cloud.patch.setenv("TOTES_EVRY", "5s")
    with pytest.raises(UsageError, match="did you mean TOTES_EVERY"):
        cloud.call("load")
    assert cloud.metrics()[0]["WarehouseUnavailable"] == 0


def test_a_missing_alert_topic_stops_no_stage(cloud: Handlers) -> None:
    cloud.patch.setenv("TOTES_ALERT_TOPIC", "arn:aws:sns:us-east-1:123456789012:nowhere")
    gap = LogState(slot="totes", position="0/1", gap="lost slot")
    cloud.patch.setattr("totes.stages.ingest._log_state", lambda *_: gap)
    cloud.installation.add_orders(3)
    assert [answer["batches"] for answer in cloud.call_all()] == [[1], [1], [1]]
    assert "The alert topic failed: " in cloud.logs.getvalue()


def test_each_function_needs_only_its_own_settings(cloud: Handlers) -> None:
    """So its role needs no other permissions."""
    cloud.installation.add_orders(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TOTES_WAREHOUSE_SECRET")
        patch.delenv("TOTES_PROCESSED_URL")
        assert cloud.call("ingest")["batches"] == [1]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TOTES_SOURCE_SECRET")
        patch.delenv("TOTES_WAREHOUSE_SECRET")
        assert cloud.call("transform")["batches"] == [1]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TOTES_SOURCE_SECRET")
        assert cloud.call("load")["batches"] == [1]


def test_no_failure_logs_a_secret(cloud: Handlers) -> None:
    cloud.installation.add_orders(3)
    cloud.call_all()
    source, warehouse = (os.environ[f"TOTES_{place}_SECRET"] for place in ("SOURCE", "WAREHOUSE"))
    cloud.patch.setattr("totes.error_policy.MAX_ATTEMPTS", 1)
    cloud.put_secret(source, cloud.installation.source, host="/nowhere")
    cloud.put_secret(warehouse, cloud.installation.warehouse, user="nobody")
    forget_clients()
    assert cloud.call("ingest")["unavailable"] == "source"
    with pytest.raises(WarehouseError):
        cloud.call("load")
    boto3.client("secretsmanager").put_secret_value(SecretId=source, SecretString=PASSWORD)
    forget_clients()
    with pytest.raises(UsageError):
        cloud.call("ingest")
    cloud.put_secret(source, cloud.installation.source)
    forget_clients()

    def bug() -> None:
        raise RuntimeError("unexpected")

    cloud.installation.change(CHANGE)
    with at("ingest.captured", bug), pytest.raises(RuntimeError):
        cloud.call("ingest")
    cloud.metrics()
    texts = [cloud.logs.getvalue(), *cloud.printed]
    assert "Traceback" in texts[0], "the traceback of the bug is among the texts"
    assert not [
        text for text in texts if PASSWORD in text or os.environ["AWS_SECRET_ACCESS_KEY"] in text
    ]


SCRIPT = """
import sys
from totes.aws import handlers

class Context:
    aws_request_id = "request"
    def get_remaining_time_in_millis(self):
        return 900_000

for stage in ("ingest", "transform", "load"):
    getattr(handlers, stage)({}, Context())
"""


def test_files_are_written_to_the_temporary_folder_only(cloud: Handlers, tmp_path: Path) -> None:
    """On Lambda all other folders are read-only, and there is no home directory."""
    cloud.installation.add_orders(3)
    task, scratch = tmp_path / "task", tmp_path / "scratch"
    scratch.mkdir()
    task.mkdir(mode=0o555)
    names = ("AWS_", "TOTES_", "ENVIRONMENT")
    environment = {name: value for name, value in os.environ.items() if name.startswith(names)}
    done = subprocess.run(
        [sys.executable, "-B", "-c", SCRIPT],
        cwd=task,
        env={**environment, "TMPDIR": str(scratch), "HOME": str(task / "nowhere")},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert '"batches":[1]' in done.stdout.replace(" ", "")
    assert cloud.installation.query("SELECT count(*) FROM totes.batches") == [(1,)]
    assert list(task.iterdir()) == list(scratch.iterdir()) == []
