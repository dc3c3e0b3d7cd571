"""Which tables can be read from the log, and since which transaction it has all their changes.

The manifest records this for each table (LogCoverage). A table whose changes the log may not have
exactly is scanned, in one batch or in all.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg

from totes.lake.manifest import LogCoverage, Manifest, Table
from totes.source.catalogue import SourceTable
from totes.source.log.publication import PublishedTable, read_definitions
from totes.source.snapshot import Snapshot, read_snapshot_text, snapshot_xmax, snapshot_xmin


@dataclass(frozen=True)
class BeforeSlot:
    """The state of the source before a slot was created.

    `definitions` are those of the tables by OID. All transactions below `xmax` had ended, and were
    visible, when the creation of the slot was complete.
    """

    definitions: Mapping[int, str]
    xmax: int

    @classmethod
    def read(cls, connection: psycopg.Connection, publication: str) -> "BeforeSlot":
        """Return the present state."""
        xmax = snapshot_xmax(read_snapshot_text(connection))
        return cls(read_definitions(connection, publication), xmax)


def describe_coverage(
    snapshot: Snapshot,
    previous: Manifest | None,
    published: Mapping[str, PublishedTable],
    before_slot: BeforeSlot | None,
) -> dict[str, LogCoverage | None]:
    """Return since when the log has all changes of each table of a snapshot; None if it has not.

    The tables were scanned in the snapshot. If the publication is altered later, its definition
    will differ from the one recorded now. `before_slot` is given if the slot was created for this
    batch.
    """
    entries = {table.name: table for table in previous.tables} if previous else {}
    coverage = {}
    for table in snapshot.catalogue.tables:
        now = published[table.name]
        since = _known_since(table, entries.get(table.name), now, before_slot)
        coverage[table.name] = (
            None
            if now.reason
            else LogCoverage(
                since=snapshot.xmax if since is None else since,
                definition=now.definition,
                class_xmin=now.class_xmin,
            )
        )
    return coverage


def _known_since(
    table: SourceTable,
    previous: Table | None,
    now: PublishedTable,
    before_slot: BeforeSlot | None,
) -> int | None:
    """Return since which xid a table has been published as it is now; None if it has just begun."""
    is_same = previous is not None and previous.fingerprint == table.fingerprint
    coverage = previous.log_coverage if previous and is_same else None
    if coverage and coverage.definition == now.definition:
        return coverage.since
    if before_slot and before_slot.definitions.get(table.oid) == now.definition:
        return before_slot.xmax
    return None


def find_scan_reasons(
    snapshot: Snapshot, previous: Manifest, published: Mapping[str, PublishedTable]
) -> dict[str, str]:
    """Return why the log can't have all changes of a table since a batch, by table."""
    reasons = {}
    for table in snapshot.catalogue.tables:
        entry, now = previous.table(table.name), published[table.name]
        if now.reason:
            reasons[table.name] = now.reason
        elif entry is None or entry.key != table.key or entry.fingerprint != table.fingerprint:
            reasons[table.name] = "it is new, or was altered"
        elif entry.unreadable:
            reasons[table.name] = "it has values that can't be read"
        elif entry.log_coverage is None or entry.log_coverage.definition != now.definition:
            reasons[table.name] = "it was added to the publication, or altered"
        elif snapshot_xmin(previous.snapshot) < entry.log_coverage.since:
            reasons[table.name] = "transactions may be running that began before it was published"
    return reasons
