"""Events that explain a jump in a chart: schema changes, replays, and mass deletions."""

from collections.abc import Iterator
from datetime import date, datetime
from functools import lru_cache
from typing import NamedTuple

from totes.dashboard import text
from totes.dashboard.bookkeeping import open_bookkeeping
from totes.dashboard.preferences import local
from totes.dashboard.reading import Reading, open_reading
from totes.dashboard.server.backends import Backends, backends
from totes.errors import TotesError
from totes.lake.manifest import manifest_path
from totes.lake.manifests import find_newest_number, read_manifest
from totes.operations.status import find_schema_changes

MASS_DELETION_ROWS = 100
"""Deletions of at least so many rows and 1 % of a table in one batch are a mass deletion."""


class Annotation(NamedTuple):
    """What happened on a day."""

    day: date
    event: str


def annotations(reading: Reading) -> tuple[Annotation, ...]:
    """Return all events, the oldest first, as of at most a minute ago.

    Events of a store or database that can't be read are left out: the page reports that elsewhere.
    """
    return _annotations(backends(), reading.now.replace(second=0, microsecond=0))


@lru_cache(maxsize=1)  # a new batch every few seconds would search the manifests as often
def _annotations(sources: Backends, _: object) -> tuple[Annotation, ...]:
    annotations: list[Annotation] = []
    for read in (_mass_deletions, _replays, _schema_changes):
        try:
            annotations += (Annotation(local(at).date(), event) for at, event in read(sources))
        except TotesError:
            continue
    return tuple(sorted(annotations))


def _mass_deletions(sources: Backends) -> Iterator[tuple[datetime, str]]:
    with open_reading(sources.replica) as reading:
        for at, kind, rows in reading.rows("mass_deletions", at_least=MASS_DELETION_ROWS):
            yield at, f"{text.count(rows, kind)} deleted"


def _replays(sources: Backends) -> Iterator[tuple[datetime, str]]:
    with open_bookkeeping(sources.warehouse) as bookkeeping:
        for (at,) in bookkeeping.rows("replays"):
            yield at, "replay of all batches"


def _schema_changes(sources: Backends) -> Iterator[tuple[datetime, str]]:
    store = sources.ingestion
    if store is None:
        return
    last = find_newest_number(store, manifest_path)
    for change in find_schema_changes(lambda batch: read_manifest(store, batch)[0], last):
        yield change.captured_at, f"schema change of {text.plain(f'{change.table}: {change.what}')}"
