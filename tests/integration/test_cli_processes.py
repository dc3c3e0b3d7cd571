"""`totes` as a process: signals, closed pipes, full disks and encodings."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
from command import COMMAND
from installation import Installation

pytestmark = [pytest.mark.usefixtures("no_pauses"), pytest.mark.few(3)]


def start(installation: Installation, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=os.environ | installation.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lock_loading(installation: Installation) -> psycopg.Connection[Any]:
    """Prevent loading until the returned connection is closed."""
    connection = psycopg.connect(installation.warehouse.reveal(), autocommit=True)
    connection.execute("SELECT pg_advisory_lock(hashtextextended('totes.load', 0))")
    return connection


def wait_for_load(connection: psycopg.Connection[Any]) -> None:
    waiting = "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
    while connection.execute(waiting).fetchone() is None:
        pass


@pytest.mark.few(1)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_finishes_the_current_batch_and_stops(
    installation: Installation, number: signal.Signals
) -> None:
    installation.add_orders()
    with start(installation, "run", "--every", "100ms") as running:
        with lock_loading(installation) as held:
            wait_for_load(held)
            running.send_signal(number)
        output, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors
    assert "load       batch 1" in output
    assert installation.query("SELECT max(batch) FROM totes.batches") == [(1,)]


def test_a_second_ctrl_c_stops_at_once(installation: Installation) -> None:
    installation.add_orders()
    with start(installation, "run") as running, lock_loading(installation) as held:
        wait_for_load(held)
        running.send_signal(signal.SIGINT)
        assert running.stderr is not None
        while "again to stop at once" not in running.stderr.readline():
            pass
        running.send_signal(signal.SIGINT)
        running.wait(300)
    assert running.returncode == 130
    assert installation.query("SELECT max(batch) FROM totes.batches") == [(None,)]


def test_sigterm_ends_other_commands_with_143(installation: Installation) -> None:
    installation.add_orders()
    with start(installation, "run", "--once") as running, lock_loading(installation) as held:
        wait_for_load(held)
        running.terminate()
        running.wait(300)
    assert running.returncode == 143


def test_a_closed_pipe_is_not_an_error(installation: Installation) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "settings"],
        env=os.environ | installation.environment,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [["settings"], ["settings", "--json"], ["--help"]])
def test_output_to_a_full_disk_is_one_line(
    installation: Installation, arguments: list[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=os.environ | installation.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "totes: Can't write to standard output: No space left on device.\n"


def test_characters_that_the_output_encoding_lacks_are_escaped(
    installation: Installation,
) -> None:
    done = subprocess.run(
        [*COMMAND, "settings"],
        env=os.environ
        | installation.with_settings(home="/caf\udce9/\u20ac").environment
        | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"/caf\\udce9/\\u20ac  (environment)" in done.stdout
