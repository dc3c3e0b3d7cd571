"""The handler of the function that fetches the ECB's exchange rates into the ingestion store.

Ingest reads the newest of these files, as its network has no route to the internet. This function
runs outside of the platform's network, has no login, and may only create objects below `rates/`.
"""

from datetime import UTC, date, datetime
from typing import Any

from aws_lambda_powertools import Logger

from totes.config.settings import Settings, load_settings
from totes.errors import LakeUnavailable, UsageError
from totes.lake import open_store
from totes.lake.manifest import RATES_PREFIX
from totes.rates import READ_AFTER, host_name
from totes.rates.ecb import READ_ERRORS, fetch, parse

logger = Logger(service="rates")


def handler(event: object, context: object) -> dict[str, Any]:  # noqa: ARG001  only a hint
    """Store the file as `rates/YYYY-MM-DD.zip`, its newest day, unless there is one.

    If the ECB is unavailable or its file damaged, the next call tries again. Load reports how many
    days have no rates in the warehouse, for an alarm. Raises UsageError if TOTES_RATES_URL is
    not set.
    """
    settings = load_settings()
    today = datetime.now(UTC).date()
    try:
        day, content = _read(settings, today)
    except READ_ERRORS as error:
        logger.warning("The exchange rates can't be read: %s. The next call tries again.", error)
        return {"day": None}
    _store(settings, day, content)
    logger.info("The newest exchange rates are those of %s.", day)
    return {"day": str(day)}


def _read(settings: Settings, today: date) -> tuple[date, bytes]:
    """Return the newest day and the file, which ingest can read; one of READ_ERRORS otherwise."""
    if settings.rates_url is None:
        raise UsageError("TOTES_RATES_URL is not set: set it to the URL of eurofxref-hist.zip.")
    content = fetch(settings.rates_url)
    day = max(parse(content, host_name(settings.rates_url), READ_AFTER), default=None)
    if day is None:
        raise ValueError(f"the file has no day after {READ_AFTER}")
    if day > today:
        # It would remain the newest file for ever: no role can replace or remove it.
        raise ValueError(f"the file has rates of {day}, which is in the future")
    return day, content


def _store(settings: Settings, day: date, content: bytes) -> None:
    """Create the day's file, unless there is one: the first remains."""
    try:
        open_store(settings.ingestion).create(f"{RATES_PREFIX}/{day}.zip", content)
    except LakeUnavailable as error:  # this function may not read, so both look the same
        logger.info(
            "The file of %s exists, or could not be stored: %s The next call tries again.",
            day,
            error,
        )
