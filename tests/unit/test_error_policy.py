"""Retries and alerts follow the table of error policies."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from totes import error_policy, errors
from totes.error_policy import (
    MAX_ATTEMPTS,
    POLICIES,
    Policy,
    backoff_seconds,
    exit_code,
    retry,
    retry_iterator,
)
from totes.errors import (
    LakeError,
    LakeUnavailable,
    ObjectMissing,
    SourceError,
    SourceUnavailable,
    TotesError,
    WarehouseUnavailable,
)
from totes.postgres.sqlstate import can_retry

RUNNING = Path(__file__).parents[2] / "docs" / "running.md"


def error_classes() -> list[type[TotesError]]:
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, TotesError) and kind is not TotesError
    ]


def test_every_error_class_has_a_policy() -> None:
    assert set(error_classes()) | {Exception} == set(POLICIES)


def test_the_documented_policies_match_the_code() -> None:
    page = RUNNING.read_text()
    missing = [line for kind, row in POLICIES.items() if (line := table_row(kind, row)) not in page]
    assert missing == []


def table_row(kind: type[Exception], row: Policy) -> str:
    name = kind.__name__ if issubclass(kind, TotesError) else "any other"
    attempts = f"{MAX_ATTEMPTS} times" if row.can_retry else "no"
    alert = "at once" if row.alert_after == 1 else f"when it fails {row.alert_after} times in a row"
    return f"| {name} | {exit_code(kind)} | {attempts} | {alert} | {row.advice} |"


def test_a_subclass_has_the_policy_of_its_nearest_base_class() -> None:
    class Subclass(ObjectMissing):
        pass

    assert error_policy.find_policy(Subclass()) is POLICIES[ObjectMissing]
    assert error_policy.find_policy(OSError()) is POLICIES[Exception]
    assert exit_code(OSError) == errors.UNEXPECTED_ERROR_EXIT_CODE


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("kind", [*error_classes(), OSError])
def test_only_temporary_errors_are_retried_a_limited_number_of_times(kind: type[Exception]) -> None:
    attempts = 0

    def fail() -> None:
        nonlocal attempts
        attempts += 1
        raise kind("It failed.")

    with pytest.raises(kind, match="It failed"):
        retry(fail)
    assert attempts == (MAX_ATTEMPTS if error_policy.find_policy(kind()).can_retry else 1)


def test_pauses_double_up_to_a_maximum() -> None:
    pauses = [backoff_seconds(failures, 2.0, 60.0) for failures in (1, 2, 5, 6, 10_000)]
    assert pauses == [2, 4, 32, 60, 60]


@pytest.mark.usefixtures("no_pauses")
def test_retry_iterator_continues_after_an_error() -> None:
    results: list[int] = []
    failures = [SourceUnavailable("gone"), LakeUnavailable("busy"), WarehouseUnavailable("gone")]

    def work() -> Iterator[int]:
        for number in range(len(results), 10):
            if number % 3 == 1 and failures:
                raise failures.pop()
            results.append(number)
            yield number

    assert list(retry_iterator(work)) == results == list(range(10))
    assert not failures


@pytest.mark.usefixtures("no_pauses")
def test_every_item_resets_the_number_of_attempts() -> None:
    """A long load survives many temporary errors, but not as many at one item."""
    failures = 0
    items: list[int] = []

    def work() -> Iterator[int]:
        nonlocal failures
        for number in range(len(items), 4):
            if failures % MAX_ATTEMPTS != MAX_ATTEMPTS - 1:
                failures += 1
                raise SourceUnavailable("gone")
            failures += 1
            items.append(number)
            yield number

    assert list(retry_iterator(work)) == [0, 1, 2, 3]
    assert failures == 4 * MAX_ATTEMPTS


@pytest.mark.parametrize(
    ("error", "is_temporary"),
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
def test_temporary_database_errors_are_recognised(
    error: psycopg.Error, *, is_temporary: bool
) -> None:
    assert can_retry(error) is is_temporary


def test_temporary_errors_have_the_exit_code_of_their_part() -> None:
    assert issubclass(SourceUnavailable, SourceError)
    assert issubclass(LakeUnavailable, LakeError)
    assert {
        exit_code(kind) for kind in (SourceUnavailable, LakeUnavailable, WarehouseUnavailable)
    } == {3, 4, 5}
