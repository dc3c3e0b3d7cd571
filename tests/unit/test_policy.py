"""One table says what is done about each kind of error, and the program does it."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from totes import errors, policy
from totes.errors import (
    LakeAway,
    LakeError,
    ObjectMissing,
    SourceAway,
    SourceError,
    TotesError,
    WarehouseAway,
)
from totes.policy import POLICIES, TRIES, Policy, exit_code, persistently, steadily
from totes.postgres.sqlstate import passes

RUNNING = Path(__file__).parents[2] / "docs" / "running.md"


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(policy, "LONGEST_PAUSE_SECONDS", 0.0)


def kinds() -> list[type[TotesError]]:
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, TotesError) and kind is not TotesError
    ]


def test_every_kind_of_error_has_a_row() -> None:
    assert set(kinds()) | {Exception} == set(POLICIES)


def test_the_table_in_the_docs_is_the_programs() -> None:
    page = RUNNING.read_text()
    missing = [line for kind, row in POLICIES.items() if (line := shown(kind, row)) not in page]
    assert missing == []


def shown(kind: type[Exception], row: Policy) -> str:
    name = kind.__name__ if issubclass(kind, TotesError) else "any other"
    tries = f"{TRIES} times" if row.retry else "no"
    told = "at once" if row.alarm_after == 1 else f"when it fails {row.alarm_after} times in a row"
    return f"| {name} | {exit_code(kind)} | {tries} | {told} | {row.advice} |"


def test_an_error_is_what_the_nearest_kind_above_it_is() -> None:
    class Peculiar(ObjectMissing):
        pass

    assert policy.policy(Peculiar()) is POLICIES[ObjectMissing]
    assert policy.policy(OSError()) is POLICIES[Exception]
    assert exit_code(OSError) == errors.BUG


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("kind", [*kinds(), OSError])
def test_only_what_passes_is_tried_again_and_not_forever(kind: type[Exception]) -> None:
    tries = 0

    def fail() -> None:
        nonlocal tries
        tries += 1
        raise kind("It failed.")

    with pytest.raises(kind, match="It failed"):
        persistently(fail)
    assert tries == (TRIES if policy.policy(kind()).retry else 1)


@pytest.mark.usefixtures("no_waiting")
def test_work_that_is_interrupted_goes_on_where_it_was() -> None:
    done: list[int] = []
    failing = [SourceAway("gone"), LakeAway("busy"), WarehouseAway("gone")]

    def work() -> Iterator[int]:
        for number in range(len(done), 10):
            if number % 3 == 1 and failing:
                raise failing.pop()
            done.append(number)
            yield number

    assert list(steadily(work)) == done == list(range(10))
    assert not failing


@pytest.mark.usefixtures("no_waiting")
def test_progress_begins_the_count_of_tries_anew() -> None:
    """Many blips in a long load are no reason to give up; as many in one place are."""
    failures = 0
    given: list[int] = []

    def work() -> Iterator[int]:
        nonlocal failures
        for number in range(len(given), 4):
            if failures % TRIES != TRIES - 1:
                failures += 1
                raise SourceAway("gone")
            failures += 1
            given.append(number)
            yield number

    assert list(steadily(work)) == [0, 1, 2, 3]
    assert failures == 4 * TRIES


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (psycopg.errors.AdminShutdown(), True),
        (psycopg.errors.CrashShutdown(), True),
        (psycopg.errors.CannotConnectNow(), True),
        (psycopg.errors.SerializationFailure(), True),
        (psycopg.errors.DeadlockDetected(), True),
        (psycopg.errors.LockNotAvailable(), True),
        (psycopg.errors.TooManyConnections(), True),
        (psycopg.errors.ConnectionFailure(), True),
        (psycopg.OperationalError("connection failed: Connection refused"), True),
        (psycopg.OperationalError("FATAL:  the database system is starting up"), True),
        (psycopg.OperationalError("consuming input failed: server closed the connection"), True),
        (psycopg.OperationalError("the connection is closed"), True),
        (psycopg.OperationalError("connection failed: No route to host"), True),
        (psycopg.OperationalError("Temporary failure in name resolution"), True),
        (psycopg.OperationalError("SSL SYSCALL error: EOF detected"), True),
        (psycopg.OperationalError("SSL connection has been closed unexpectedly"), True),
        (psycopg.OperationalError("sending copy data failed: no COPY in progress"), True),
        (psycopg.OperationalError("flushing failed: could not send data to server"), True),
        (psycopg.OperationalError('FATAL:  password authentication failed for user "x"'), False),
        (psycopg.OperationalError('FATAL:  database "x" does not exist'), False),
        (psycopg.OperationalError("could not translate host name: Name not known"), False),
        (psycopg.OperationalError("SSL error: certificate verify failed"), False),
        (psycopg.errors.InsufficientPrivilege(), False),
        (psycopg.errors.UndefinedTable(), False),
        (psycopg.errors.QueryCanceled("canceling statement due to statement timeout"), False),
        (psycopg.errors.DiskFull(), False),
        (psycopg.InterfaceError("timeout"), False),
    ],
    ids=repr,
)
def test_what_goes_away_by_itself_is_told_from_what_does_not(
    error: psycopg.Error, *, away: bool
) -> None:
    assert passes(error) is away


def test_the_kinds_that_pass_are_kinds_of_their_part() -> None:
    assert issubclass(SourceAway, SourceError)
    assert issubclass(LakeAway, LakeError)
    assert {exit_code(kind) for kind in (SourceAway, LakeAway, WarehouseAway)} == {3, 4, 5}
