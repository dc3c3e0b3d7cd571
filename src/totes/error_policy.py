"""The reaction to each class of error: a table of policies, and the retries that they define."""

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from random import uniform
from types import MappingProxyType

from totes.errors import (
    UNEXPECTED_ERROR_EXIT_CODE,
    DeliveryError,
    IcebergBusy,
    IcebergError,
    LakeError,
    LakeUnavailable,
    LogBehind,
    LogUnreadable,
    ModelError,
    ObjectMissing,
    OutOfMemory,
    SourceError,
    SourceUnavailable,
    SparkError,
    TotesError,
    UsageError,
    WarehouseError,
    WarehouseLocked,
    WarehouseOutdated,
    WarehouseUnavailable,
)

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.2
MAX_PAUSE_SECONDS = 5.0
"""Pauses double up to this length; jitter of up to the first pause separates concurrent writers."""


@dataclass(frozen=True)
class Policy:
    """The reaction to one class of error.

    can_retry: a command retries, MAX_ATTEMPTS attempts in all, before it fails.
    alert_after: how many times in a row a stage of `totes run` fails before an alert is sent.
    advice: what the user can do, as docs/running.md lists it.
    """

    can_retry: bool
    alert_after: int
    advice: str


POLICIES: Mapping[type[Exception], Policy] = MappingProxyType(
    {
        UsageError: Policy(
            can_retry=False, alert_after=1, advice="correct the settings or arguments"
        ),
        SourceUnavailable: Policy(
            can_retry=True, alert_after=3, advice="check that the source's server runs"
        ),
        LogBehind: Policy(
            can_retry=True, alert_after=3, advice="look for a long-running transaction"
        ),
        LogUnreadable: Policy(
            can_retry=True, alert_after=3, advice="`totes check` shows the state of the slot"
        ),
        SourceError: Policy(can_retry=False, alert_after=1, advice="follow the message"),
        LakeUnavailable: Policy(
            can_retry=True, alert_after=3, advice="none: another process writes the same object"
        ),
        ObjectMissing: Policy(can_retry=False, alert_after=1, advice="restore it from a backup"),
        LakeError: Policy(
            can_retry=False,  # boto3 has already retried each request
            alert_after=1,
            advice="check that the store is writable and has free space",
        ),
        WarehouseUnavailable: Policy(
            can_retry=True, alert_after=3, advice="check that the warehouse's server runs"
        ),
        WarehouseLocked: Policy(
            can_retry=True, alert_after=3, advice="end the session that locks its tables"
        ),
        WarehouseOutdated: Policy(
            can_retry=False, alert_after=1, advice="run `totes warehouse migrate`"
        ),
        WarehouseError: Policy(can_retry=False, alert_after=1, advice="follow the message"),
        OutOfMemory: Policy(can_retry=False, alert_after=1, advice="increase TOTES_MEMORY"),
        ModelError: Policy(can_retry=False, alert_after=1, advice="fix the model or the source"),
        DeliveryError: Policy(
            can_retry=False,  # the next check sends it again
            alert_after=3,
            advice="follow the message",
        ),
        IcebergBusy: Policy(
            can_retry=True, alert_after=3, advice="check that the catalogue's server runs"
        ),
        IcebergError: Policy(can_retry=False, alert_after=1, advice="follow the message"),
        SparkError: Policy(
            can_retry=False,  # Spark has already repeated each task
            alert_after=1,
            advice="follow the message; Spark's log says more",
        ),
        Exception: Policy(can_retry=False, alert_after=1, advice="run with --debug and report it"),
    }
)
"""Every class of error. A subclass that is not listed has the policy of its nearest base class."""


def find_policy(error: Exception) -> Policy:
    """Return the policy of an error."""
    return next(POLICIES[base] for base in type(error).__mro__ if base in POLICIES)


def exit_code(kind: type[Exception]) -> int:
    """Return the exit code of a command that fails with this class of error."""
    return kind.exit_code if issubclass(kind, TotesError) else UNEXPECTED_ERROR_EXIT_CODE


def retry[T](action: Callable[[], T]) -> T:
    """Return the result of `action`; call it again after an error that can be retried."""
    for attempt in range(1, MAX_ATTEMPTS):
        try:
            return action()
        except Exception as error:
            if not find_policy(error).can_retry:
                raise
            pause_seconds = backoff_seconds(attempt, FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
            pause_seconds += uniform(0, FIRST_PAUSE_SECONDS)  # noqa: S311  not for secrets
            log.info("%s Retrying in %.1f s.", error, pause_seconds)
        time.sleep(pause_seconds)
    return action()


def retry_iterator[T](start: Callable[[], Iterator[T]]) -> Generator[T, None, None]:
    """Yield the items of `start()`; call it again after an error that can be retried.

    A second call must continue where the first one failed, as the stages do. Every item resets the
    number of attempts.
    """
    iterator = start()

    def advance() -> T | None:
        nonlocal iterator
        try:
            return next(iterator, None)
        except Exception:
            iterator = start()
            raise

    while (item := retry(advance)) is not None:
        yield item


def backoff_seconds(failures: int, first_seconds: float, max_seconds: float) -> float:
    """Return the pause after this many failures: it doubles up to `max_seconds`."""
    doublings = min(failures - 1, 30)  # more would overflow after a day of failures
    return min(first_seconds * 2.0**doublings, max_seconds)
