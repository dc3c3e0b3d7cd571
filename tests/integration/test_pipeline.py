"""The three stages in a row: what a failing one does to the others, and when a person is told."""

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

from totes.alert import Alarm, alert
from totes.errors import SourceAway, SourceError, UsageError, WarehouseError
from totes.stages import runner as pipeline
from totes.stages.ingest import Accept
from totes.stages.runner import STAGES, Done, run, run_once

NO_PAUSE = timedelta()
BROKEN_DATE = "UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id = 7"


@pytest.fixture
def mailbox(tmp_path: Path) -> Path:
    return tmp_path / "mailbox"


@pytest.fixture
def post(tmp_path: Path, mailbox: Path) -> str:
    """An alert command that adds what it is told to the mailbox."""
    script = tmp_path / "post.py"
    script.write_text(f"import sys; open({str(mailbox)!r}, 'a').write(sys.stdin.read() + '\\n')")
    return shlex.join([sys.executable, str(script)])


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed stage may be tried again at once."""
    monkeypatch.setattr(pipeline, "LONGEST_PAUSE_SECONDS", 0.0)


def told(mailbox: Path) -> list[dict[str, object]]:
    if not mailbox.exists():
        return []
    return [json.loads(line) for line in mailbox.read_text().splitlines()]


def after(calls: int, stop: Event) -> Iterator[None]:
    """An action for `next` that sets `stop` when it is called the n-th time."""
    for _ in range(calls - 1):
        yield
    stop.set()
    while True:
        yield


def test_once_brings_an_empty_warehouse_up_to_the_source(installation: Installation) -> None:
    steps = installation.filled().run()
    assert [(step.stage, step.batch) for step in steps] == [(stage, 1) for stage in STAGES]
    assert installation.ask("SELECT count(*) FROM current_sales_order") == [(40,)]
    [again] = installation.run()
    assert (again.stage, again.batch) == ("ingest", None)
    assert installation.ask("SELECT checked_at FROM totes.freshness") == [(again.at,)]


def test_once_ends_with_the_first_error(installation: Installation) -> None:
    nowhere = replace(installation.pipeline, source=installation.source.replace(dbname="nowhere"))
    with pytest.raises(SourceError):
        list(run_once(nowhere))
    assert not installation.ingestion.exists()


def test_it_runs_until_told_to_stop_and_stops_between_batches(installation: Installation) -> None:
    stop, seen = Event(), list[Done]()

    def watch(done: Done) -> None:
        seen.append(done)
        if done.stage == "transform":
            stop.set()

    run(installation.filled().pipeline, NO_PAUSE, stop, watch=watch)
    assert [done.stage for done in seen] == ["ingest", "transform"]
    assert [done.stage for done in installation.run()] == ["ingest", "load"]


def test_it_goes_round_and_round(installation: Installation) -> None:
    stop, seen = Event(), list[Done]()
    installation.filled()

    def watch(done: Done) -> None:
        seen.append(done)
        if done.stage == "load":
            installation.change(
                "UPDATE design SET file_name = file_name || '!' WHERE design_id = 1"
            )
        if done.batch == 3:
            stop.set()

    run(installation.pipeline, NO_PAUSE, stop, watch=watch, rest=0)
    assert {done.batch for done in seen if done.stage == "load"} == {1, 2}


@pytest.mark.usefixtures("no_waiting")
def test_a_failing_stage_is_tried_again_while_the_others_go_on(
    installation: Installation, post: str, mailbox: Path
) -> None:
    installation.filled().run()
    stop = Event()
    failing = iter([WarehouseError("The warehouse is away."), WarehouseError("It is away."), None])

    def fail() -> None:
        installation.change("UPDATE design SET file_name = file_name || '!' WHERE design_id = 1")
        if error := next(failing, None):
            raise error

    def watch(done: Done) -> None:
        if done.stage == "load" and done.batch == 4:
            stop.set()

    installation.change("UPDATE design SET file_name = file_name || '!' WHERE design_id = 1")
    with at("load.fetched", fail):
        run(installation.pipeline, NO_PAUSE, stop, alarm=Alarm(post), watch=watch, rest=0)
    assert installation.ask("SELECT max(batch) FROM totes.batches") == [(4,)]
    assert [message["message"] for message in told(mailbox)] == [
        "The warehouse is away.",
        "It is away.",
    ]
    assert {message["exit_code"] for message in told(mailbox)} == {5}


@pytest.mark.usefixtures("no_waiting")
def test_a_person_is_told_once_of_each_thing_that_is_wrong(
    installation: Installation, post: str, mailbox: Path
) -> None:
    stop = Event()
    calls = after(4, stop)

    def fail() -> None:
        next(calls)
        raise SourceError("The source is away.")

    with at("source.locked", fail):
        run(installation.pipeline, NO_PAUSE, stop, alarm=Alarm(post), rest=0)
    assert told(mailbox) == [{"stage": "ingest", "message": "The source is away.", "exit_code": 3}]


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(("times", "messages"), [(2, 0), (3, 1), (5, 1)])
def test_a_person_is_told_of_a_blip_only_when_it_lasts(
    installation: Installation, post: str, mailbox: Path, times: int, messages: int
) -> None:
    stop = Event()
    calls = after(times + 1, stop)
    left = [SourceAway("The source is away.")] * times

    def fail() -> None:
        next(calls)
        if left:
            raise left.pop()

    with at("source.locked", fail):
        run(installation.pipeline, NO_PAUSE, stop, alarm=Alarm(post), rest=0)
    assert not left
    assert len(told(mailbox)) == messages


@pytest.mark.usefixtures("no_waiting")
def test_what_nobody_foresaw_is_tried_again_and_told_too(
    installation: Installation, post: str, mailbox: Path
) -> None:
    stop = Event()
    calls = after(2, stop)

    def fail() -> None:
        next(calls)
        raise OSError(28, "No space left on device")

    with at("ingest.captured", fail):
        run(installation.filled().pipeline, NO_PAUSE, stop, alarm=Alarm(post), rest=0)
    [message] = told(mailbox)
    assert message["message"] == "OSError: [Errno 28] No space left on device"
    assert message["exit_code"] == 70


def test_pauses_grow_and_end_when_the_stage_works_again(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, stop = [0.0], Event()
    monkeypatch.setattr("totes.stages.runner.time.monotonic", lambda: clock[0])
    tries = list[float]()

    def fail() -> None:
        tries.append(clock[0])
        if len(tries) < 10:
            raise SourceError("The source is away.")

    def tick(_timeout: float) -> bool:
        clock[0] += 1
        return stop.is_set()

    monkeypatch.setattr(stop, "wait", tick)
    with at("source.locked", fail), caplog.at_level("INFO", "totes"):
        run(installation.filled().pipeline, NO_PAUSE, stop, watch=lambda _: stop.set())
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_a_wrong_setting_ends_it(installation: Installation) -> None:
    def fail() -> None:
        raise UsageError("No such place.")

    with at("source.locked", fail), pytest.raises(UsageError):
        run(installation.pipeline, NO_PAUSE, Event())


@pytest.mark.usefixtures("no_waiting")
def test_it_claims_to_be_complete_only_when_it_is(installation: Installation) -> None:
    installation.filled().run()
    [(before,)] = installation.ask("SELECT checked_at FROM totes.freshness")
    stop = Event()
    calls = after(3, stop)

    def fail() -> None:
        next(calls)
        raise WarehouseError("The warehouse is away.")

    installation.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    with at("transform.before-manifest", fail):
        run(installation.pipeline, NO_PAUSE, stop, rest=0)
    assert installation.ask("SELECT checked_at FROM totes.freshness") == [(before,)]


def test_rows_set_aside_are_told_with_their_table(
    installation: Installation, post: str, mailbox: Path
) -> None:
    installation.filled().run()
    installation.change(BROKEN_DATE)
    stop = Event()
    run(
        installation.pipeline,
        NO_PAUSE,
        stop,
        alarm=Alarm(post),
        watch=lambda done: stop.set() if done.stage == "load" else None,
    )
    [message] = told(mailbox)
    assert message["refused"] == {"fact_sales_order": 1}
    assert message["batch"] == 2


@pytest.mark.usefixtures("no_waiting")
def test_what_an_operator_accepts_holds_for_one_capture(
    installation: Installation, post: str, mailbox: Path
) -> None:
    installation.filled(200).run()
    stop = Event()
    captures = after(3, stop)

    def watch(done: Done) -> None:
        if done.stage == "load":
            installation.change("DELETE FROM transaction")

    installation.change("DELETE FROM payment")
    with at("source.locked", lambda: next(captures)):
        run(
            installation.pipeline,
            NO_PAUSE,
            stop,
            accept=Accept(deletes=True),
            alarm=Alarm(post),
            watch=watch,
            rest=0,
        )
    assert installation.ask("SELECT count(*) FROM current_payment") == [(0,)]
    [message] = told(mailbox)
    assert "--accept-deletes" in str(message["message"])


@pytest.mark.parametrize(
    "command",
    ["/nowhere/at-all", "false", "'unclosed", "", None, shlex.join([sys.executable, "-c", "1/0"])],
)
def test_an_alert_command_that_fails_stops_nothing(command: str | None) -> None:
    alert(Alarm(command), {"stage": "ingest"})


def test_an_alert_command_that_fails_is_told_without_its_arguments(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are a webhook's address, or hold a token."""
    program = "import sys; sys.exit(3)"
    command = shlex.join([sys.executable, "-c", program, "--token=sesame"])
    alert(Alarm(command), {"stage": "ingest"})
    assert "The alert command failed: it ended with 3." in caplog.text
    assert "sesame" not in caplog.text


def test_an_alert_command_that_hangs_is_told_without_its_arguments(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("totes.alert._TIMEOUT_SECONDS", 0.1)
    forever = "import signal; signal.pause()"
    command = shlex.join([sys.executable, "-c", forever, "--token=sesame"])
    alert(Alarm(command), {"stage": "ingest"})
    assert "it took more than 0.1 s" in caplog.text
    assert "sesame" not in caplog.text
