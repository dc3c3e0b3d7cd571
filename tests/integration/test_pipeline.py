"""Running the three stages: failures of one stage, and when alerts are sent."""

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest
from installation import Installation, at

from totes.alert import AlertTargets, send_alert
from totes.errors import SourceError, SourceUnavailable, UsageError, WarehouseError
from totes.stages import runner
from totes.stages.ingest import AcceptOptions
from totes.stages.runner import STAGES, StepResult, run, run_once

pytestmark = pytest.mark.few(6)

NO_PAUSE = timedelta()
BROKEN_DATE = "UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id = 7"


@pytest.fixture
def mailbox(tmp_path: Path) -> Path:
    return tmp_path / "mailbox"


@pytest.fixture
def alert_command(tmp_path: Path, mailbox: Path) -> str:
    """An alert command that appends each message to the mailbox."""
    script = tmp_path / "append.py"
    script.write_text(f"import sys; open({str(mailbox)!r}, 'a').write(sys.stdin.read() + '\\n')")
    return shlex.join([sys.executable, str(script)])


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed stage is retried immediately."""
    monkeypatch.setattr(runner, "MAX_RETRY_PAUSE_SECONDS", 0.0)


def read_alerts(mailbox: Path) -> list[dict[str, object]]:
    if not mailbox.exists():
        return []
    return [json.loads(line) for line in mailbox.read_text().splitlines()]


def stop_after(calls: int, stop: Event) -> Iterator[None]:
    """Yield; set `stop` at the item number `calls`."""
    for _ in range(calls - 1):
        yield
    stop.set()
    while True:
        yield


def test_run_once_fills_an_empty_warehouse(installation: Installation) -> None:
    results = installation.add_orders().run()
    assert [(result.stage, result.batch) for result in results] == [(stage, 1) for stage in STAGES]
    assert installation.query("SELECT count(*) FROM current_sales_order") == [(40,)]
    [second] = installation.run()
    assert (second.stage, second.batch) == ("ingest", None)
    assert installation.query("SELECT checked_at FROM totes.freshness") == [(second.at,)]


def test_run_once_raises_the_first_error(installation: Installation) -> None:
    broken = replace(installation.pipeline, source=installation.source.replace(dbname="nowhere"))
    with pytest.raises(SourceError):
        list(run_once(broken))
    assert not installation.ingestion.exists()


def test_run_stops_between_batches(installation: Installation) -> None:
    stop, results = Event(), list[StepResult]()

    def record(result: StepResult) -> None:
        results.append(result)
        if result.stage == "transform":
            stop.set()

    run(installation.add_orders().pipeline, NO_PAUSE, stop, on_result=record)
    assert [result.stage for result in results] == ["ingest", "transform"]
    assert [result.stage for result in installation.run()] == ["ingest", "load"]


def test_run_repeats_all_stages(installation: Installation) -> None:
    stop, results = Event(), list[StepResult]()
    installation.add_orders()

    def record(result: StepResult) -> None:
        results.append(result)
        if result.stage == "load":
            installation.change(
                "UPDATE design SET file_name = file_name || '!' WHERE design_id = 1"
            )
        if result.batch == 3:
            stop.set()

    run(installation.pipeline, NO_PAUSE, stop, on_result=record, source_share=100)
    assert {result.batch for result in results if result.stage == "load"} == {1, 2}


@pytest.mark.usefixtures("no_pauses")
def test_a_failing_stage_is_retried_while_the_others_continue(
    installation: Installation, alert_command: str, mailbox: Path
) -> None:
    installation.add_orders().run()
    stop = Event()
    failing = iter([WarehouseError("The warehouse is down."), WarehouseError("It is down."), None])

    def fail() -> None:
        installation.change("UPDATE design SET file_name = file_name || '!' WHERE design_id = 1")
        if error := next(failing, None):
            raise error

    def record(result: StepResult) -> None:
        if result.stage == "load" and result.batch == 4:
            stop.set()

    installation.change("UPDATE design SET file_name = file_name || '!' WHERE design_id = 1")
    with at("load.fetched", fail):
        run(
            installation.pipeline,
            NO_PAUSE,
            stop,
            alert_targets=AlertTargets(alert_command),
            on_result=record,
            source_share=100,
        )
    assert installation.query("SELECT max(batch) FROM totes.batches") == [(4,)]
    assert [message["message"] for message in read_alerts(mailbox)] == [
        "The warehouse is down.",
        "It is down.",
    ]
    assert {message["exit_code"] for message in read_alerts(mailbox)} == {5}


@pytest.mark.usefixtures("no_pauses")
def test_each_failure_message_is_sent_once(
    installation: Installation, alert_command: str, mailbox: Path
) -> None:
    stop = Event()
    calls = stop_after(4, stop)

    def fail() -> None:
        next(calls)
        raise SourceError("The source is down.")

    with at("source.locked", fail):
        run(
            installation.pipeline,
            NO_PAUSE,
            stop,
            alert_targets=AlertTargets(alert_command),
            source_share=100,
        )
    assert read_alerts(mailbox) == [
        {"stage": "ingest", "message": "The source is down.", "exit_code": 3}
    ]


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(("failures", "alerts"), [(2, 0), (3, 1), (5, 1)])
def test_a_temporary_error_is_alerted_only_if_it_persists(
    installation: Installation, alert_command: str, mailbox: Path, failures: int, alerts: int
) -> None:
    stop = Event()
    calls = stop_after(failures + 1, stop)
    errors = [SourceUnavailable("The source is down.")] * failures

    def fail() -> None:
        next(calls)
        if errors:
            raise errors.pop()

    with at("source.locked", fail):
        run(
            installation.pipeline,
            NO_PAUSE,
            stop,
            alert_targets=AlertTargets(alert_command),
            source_share=100,
        )
    assert not errors
    assert len(read_alerts(mailbox)) == alerts


@pytest.mark.usefixtures("no_pauses")
def test_an_unexpected_error_is_retried_and_alerted(
    installation: Installation, alert_command: str, mailbox: Path
) -> None:
    stop = Event()
    calls = stop_after(2, stop)

    def fail() -> None:
        next(calls)
        raise OSError(28, "No space left on device")

    with at("ingest.captured", fail):
        run(
            installation.add_orders().pipeline,
            NO_PAUSE,
            stop,
            alert_targets=AlertTargets(alert_command),
            source_share=100,
        )
    [message] = read_alerts(mailbox)
    assert message["message"] == "OSError: [Errno 28] No space left on device"
    assert message["exit_code"] == 70


def test_pauses_double_until_the_stage_works_again(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, stop = [0.0], Event()
    monkeypatch.setattr("totes.stages.runner.time.monotonic", lambda: clock[0])
    attempts = list[float]()

    def fail() -> None:
        attempts.append(clock[0])
        if len(attempts) < 10:
            raise SourceError("The source is down.")

    def tick(_timeout: float) -> bool:
        clock[0] += 1
        return stop.is_set()

    monkeypatch.setattr(stop, "wait", tick)
    with at("source.locked", fail), caplog.at_level("INFO", "totes"):
        run(installation.add_orders().pipeline, NO_PAUSE, stop, on_result=lambda _: stop.set())
    pauses = [later - earlier for earlier, later in pairwise(attempts)]
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60, 60]


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("capture_seconds", "load_seconds", "pause_seconds"),
    [(3, 1, 8), (0.1, 1, 2), (3, 30, 2), (1000, 1, 59)],
)
def test_captures_take_at_most_their_share_of_the_time(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capture_seconds: float,
    load_seconds: float,
    pause_seconds: float,
) -> None:
    """Unless the pause would then be longer than a minute."""
    clock, stop, pauses = [0.0], Event(), list[float]()
    monkeypatch.setattr("totes.stages.runner.time.monotonic", lambda: clock[0])

    def spend(seconds: float) -> None:
        clock[0] += seconds

    def wait(seconds: float) -> None:
        pauses.append(seconds)
        stop.set()

    monkeypatch.setattr(stop, "wait", wait)
    with (
        at("ingest.captured", lambda: spend(capture_seconds)),
        at("load.committed", lambda: spend(load_seconds)),
    ):
        run(installation.add_orders(5).pipeline, timedelta(seconds=2), stop, source_share=25)
    assert pauses == [pytest.approx(pause_seconds)]


def test_a_usage_error_ends_the_run(installation: Installation) -> None:
    def fail() -> None:
        raise UsageError("No such database.")

    with at("source.locked", fail), pytest.raises(UsageError):
        run(installation.pipeline, NO_PAUSE, Event())


@pytest.mark.usefixtures("no_pauses")
def test_the_check_time_is_recorded_only_if_all_stages_succeed(installation: Installation) -> None:
    installation.add_orders().run()
    [(before,)] = installation.query("SELECT checked_at FROM totes.freshness")
    stop = Event()
    calls = stop_after(3, stop)

    def fail() -> None:
        next(calls)
        raise WarehouseError("The warehouse is down.")

    installation.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    with at("transform.before-manifest", fail):
        run(installation.pipeline, NO_PAUSE, stop, source_share=100)
    assert installation.query("SELECT checked_at FROM totes.freshness") == [(before,)]


def test_an_alert_lists_quarantined_rows_by_table(
    installation: Installation, alert_command: str, mailbox: Path
) -> None:
    installation.add_orders().run()
    installation.change(BROKEN_DATE)
    stop = Event()
    run(
        installation.pipeline,
        NO_PAUSE,
        stop,
        alert_targets=AlertTargets(alert_command),
        on_result=lambda result: stop.set() if result.stage == "load" else None,
    )
    [message] = read_alerts(mailbox)
    assert message["quarantined"] == {"fact_sales_order": 1}
    assert message["batch"] == 2


@pytest.mark.usefixtures("no_pauses")
def test_accept_options_apply_to_one_capture(
    installation: Installation, alert_command: str, mailbox: Path
) -> None:
    installation.add_orders(200).run()
    stop = Event()
    captures = stop_after(3, stop)

    def record(result: StepResult) -> None:
        if result.stage == "load":
            installation.change("DELETE FROM transaction")

    installation.change("DELETE FROM payment")
    with at("source.locked", lambda: next(captures)):
        run(
            installation.pipeline,
            NO_PAUSE,
            stop,
            accept=AcceptOptions(deletes=True),
            alert_targets=AlertTargets(alert_command),
            on_result=record,
            source_share=100,
        )
    assert installation.query("SELECT count(*) FROM current_payment") == [(0,)]
    [message] = read_alerts(mailbox)
    assert "--accept-deletes" in str(message["message"])


@pytest.mark.parametrize(
    "command",
    ["/nowhere/at-all", "false", "'unclosed", "", None, shlex.join([sys.executable, "-c", "1/0"])],
)
def test_a_failing_alert_command_raises_nothing(command: str | None) -> None:
    send_alert(AlertTargets(command), {"stage": "ingest"})


def test_a_failing_alert_command_is_logged_without_its_arguments(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The arguments can be a webhook's URL or hold a token."""
    program = "import sys; sys.exit(3)"
    command = shlex.join([sys.executable, "-c", program, "--token=sesame"])
    send_alert(AlertTargets(command), {"stage": "ingest"})
    assert "The alert command failed: its exit code is 3." in caplog.text
    assert "sesame" not in caplog.text


def test_a_hanging_alert_command_is_logged_without_its_arguments(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("totes.alert._TIMEOUT_SECONDS", 0.1)
    forever = "import signal; signal.pause()"
    command = shlex.join([sys.executable, "-c", forever, "--token=sesame"])
    send_alert(AlertTargets(command), {"stage": "ingest"})
    assert "it took more than 0.1 s" in caplog.text
    assert "sesame" not in caplog.text
