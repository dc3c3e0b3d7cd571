"""What to do about each kind of error: one table, and the trying again that it asks for."""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential_jitter,
)

from totes.errors import (
    BUG,
    LakeAway,
    LakeError,
    ModelError,
    ObjectMissing,
    OutOfMemory,
    SourceAway,
    SourceError,
    TotesError,
    UsageError,
    WarehouseAway,
    WarehouseError,
    WarehouseLocked,
    WarehouseOutdated,
)

log = logging.getLogger(__name__)

TRIES = 5
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
"""A pause doubles from try to try, and chance adds up to the first: rivals come apart."""


@dataclass(frozen=True)
class Policy:
    """`retry`: a command tries again by itself, TRIES times in all, before it fails.

    `alarm_after` is how often in a row a stage of `totes run` must fail before a person is told.
    """

    retry: bool
    alarm_after: int
    advice: str


POLICIES: Mapping[type[Exception], Policy] = MappingProxyType(
    {
        UsageError: Policy(retry=False, alarm_after=1, advice="correct the settings or arguments"),
        SourceAway: Policy(retry=True, alarm_after=3, advice="see that totesys's server runs"),
        SourceError: Policy(retry=False, alarm_after=1, advice="do what the message says"),
        LakeAway: Policy(retry=True, alarm_after=3, advice="nothing: a rival writes there, too"),
        ObjectMissing: Policy(retry=False, alarm_after=1, advice="restore it from a backup"),
        LakeError: Policy(
            retry=False,  # S3's driver has sent each request several times by then
            alarm_after=1,
            advice="see that the store can be written and has room",
        ),
        WarehouseAway: Policy(retry=True, alarm_after=3, advice="see that its server runs"),
        WarehouseLocked: Policy(retry=True, alarm_after=3, advice="end the session that holds it"),
        WarehouseOutdated: Policy(
            retry=False, alarm_after=1, advice="run `totes warehouse migrate`"
        ),
        WarehouseError: Policy(retry=False, alarm_after=1, advice="do what the message says"),
        OutOfMemory: Policy(retry=False, alarm_after=1, advice="set TOTES_MEMORY higher"),
        ModelError: Policy(retry=False, alarm_after=1, advice="mend the model or totesys"),
        Exception: Policy(retry=False, alarm_after=1, advice="run with --debug and report it"),
    }
)
"""Every kind of error; what is not named here is what the nearest kind above it is."""


def policy(error: Exception) -> Policy:
    """The table's row for an error."""
    kinds = (kind for kind in type(error).__mro__ if kind in POLICIES)
    return POLICIES[next(kinds)]


def exit_code(kind: type[Exception]) -> int:
    """What a command ends with where this kind of error ends it."""
    return kind.exit_code if issubclass(kind, TotesError) else BUG


def persistently[T](action: Callable[[], T]) -> T:
    """What `action` returns; it is tried again where the table says so."""
    return _patience()(action)


def steadily[T](begin: Callable[[], Iterator[T]]) -> Generator[T, None, None]:
    """All that `begin()` gives; begun again where a passing error interrupts it.

    For work that goes on where it was when it is begun again, as every stage does. Each thing it
    gives begins the count of tries anew.
    """
    at_work = begin()

    def advance() -> T | None:
        nonlocal at_work
        try:
            return next(at_work, None)
        except Exception:
            at_work = begin()
            raise

    while (given := persistently(advance)) is not None:
        yield given


def _patience() -> Retrying:
    return Retrying(
        retry=retry_if_exception(_passes),
        wait=wait_exponential_jitter(
            multiplier=FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS, jitter=FIRST_PAUSE_SECONDS
        ),
        stop=stop_after_attempt(TRIES),
        before_sleep=_tell,
        reraise=True,
    )


def _passes(error: BaseException) -> bool:
    return isinstance(error, Exception) and policy(error).retry


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.info("%s Trying again in %.1f s.", error, state.upcoming_sleep)
