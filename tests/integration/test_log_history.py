"""Random concurrent transactions, read from the log and scanned, beside an audit of triggers.

Every version after the first batch is in the lake once and in order, whatever is interrupted. Where
tables are scanned in between, the lake has some of the versions, in order, and ends equal.
"""

import random
from collections import Counter
from collections.abc import Callable
from functools import partial

import lake_reader
import pytest
from depth import SEED, drawn
from log_history import TABLES, Change, Writers, audited_changes, create_audited_tables
from log_source import ACCEPT_DELETES, LakeVersion, LogSource, versions

from totes import failpoint
from totes.errors import SourceUnavailable
from totes.source.log.reader import LOG_TIMEOUT_SECONDS
from totes.source.snapshot import VisibleTransactions

FAILPOINTS = (
    *("log.read", "ingest.file-stored", "log.stored", "ingest.before-manifest"),
    *("ingest.published", "log.confirmed", "ingest.before-heartbeat"),
    *("log.before-position", "log.position-stored"),
    *("log.before-slot-record", "log.slot-recorded"),
)

Record = Callable[[str, object], None]

MODES = ("pure", "crashes", "rivals", "gap")


class CrashError(Exception):
    """What ends a batch at a failpoint."""


class Driver:
    """Publishes batches of a source in one mode, in random ways."""

    def __init__(self, source: LogSource, chance: random.Random, mode: str) -> None:
        self.source = source
        self.chance = chance
        self.mode = mode
        self.counts = Counter[str]()

    def set_failpoints(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in FAILPOINTS:
            monkeypatch.setitem(failpoint.actions, name, partial(self._reach, name))

    def _reach(self, name: str) -> None:
        if self.mode in {"crashes", "rivals"} and self.chance.random() < 0.06:
            self.counts[name] += 1
            raise CrashError(name)
        if (
            self.mode == "rivals"
            and name == "ingest.before-manifest"
            and self.chance.random() < 0.1
        ):
            self.scan()  # this process is first

    def scan(self) -> None:
        """Publish a batch as another process that scans."""
        mode, self.mode = self.mode, "pure"
        try:
            self.counts["scans"] += self.source.capture(ACCEPT_DELETES) is not None
        except SourceUnavailable:  # a table is locked
            self.counts["locked"] += 1
        finally:
            self.mode = mode

    def step(self) -> None:
        """Publish a batch from the log, unless a crash ends it."""
        try:
            result = self.source.read_log()
        except CrashError:
            if self.chance.random() < 0.5:
                self._renew_reader()
            return
        except SourceUnavailable:
            self.counts["locked"] += 1
            return
        if result.batch:
            self.counts["batches"] += 1
            self.counts["incomplete batches"] += bool(result.batch.log and result.batch.log.ahead)
        if self.mode == "rivals" and self.chance.random() < 0.15:
            self.scan()
        if self.mode == "gap" and self.chance.random() < 0.2:
            self._make_gap()

    def _renew_reader(self) -> None:
        self.source.new_reader(self.chance.choice((0, 0.003, LOG_TIMEOUT_SECONDS)))

    def _make_gap(self) -> None:
        self.source.reader.close()
        ways = {
            "drop": "SELECT pg_drop_replication_slot(slot_name)",
            "advance": "SELECT pg_replication_slot_advance(slot_name, pg_current_wal_flush_lsn())",
            "remake": "SELECT pg_drop_replication_slot(slot_name)",
        }
        way = self.chance.choice([*ways])
        if self.source.ask(
            "SELECT true FROM pg_replication_slots WHERE slot_name = %s", self.source.slot
        ):
            self.source.wait_until_slot_is_free()
            self.source.ask(
                f"{ways[way]} FROM pg_replication_slots WHERE slot_name = %s", self.source.slot
            )
            if way == "remake":
                self.source.ask(
                    "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", self.source.slot
                )
            self.counts[way] += 1
        self._renew_reader()


@pytest.mark.few(3)
@pytest.mark.parametrize("number", range(drawn(1, 5)))
@pytest.mark.parametrize("mode", MODES)
def test_the_lake_has_each_version_once_and_in_order(
    any_log_source: LogSource,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Record,
    mode: str,
    number: int,
) -> None:
    seed = f"{SEED} {number} {mode}"
    chance = random.Random(seed)  # noqa: S311  not for secrets
    source = any_log_source
    create_audited_tables(source)
    writers = Writers(source, seed, writers=5, transactions=drawn(60, 250))
    driver = Driver(source, chance, mode)
    source.new_reader(chance.choice((0, 0.003, 0.05, LOG_TIMEOUT_SECONDS)))
    with writers.running():
        driver.step()
        while not lake_reader.batches(source.store):
            driver.step()
        driver.set_failpoints(monkeypatch)
        while writers.are_running:
            driver.step()
    monkeypatch.undo()
    source.new_reader()
    source.read_log()
    record_property(f"history {seed}", f"{dict(driver.counts)} {dict(writers.counts)}")
    check_history(source, is_whole=mode in {"pure", "crashes"})
    source.check_lake(*TABLES)
    source.check_scan_finds_nothing()


def check_history(source: LogSource, *, is_whole: bool) -> None:
    """Compare the versions of the lake with the audit."""
    first = VisibleTransactions(lake_reader.batches(source.store)[0].snapshot)
    check_moments(source)
    for table in TABLES:
        audit, lake = audited_changes(source, table), versions(source.store, table)
        for key in audit.keys() | lake.keys():
            begun = [change for change in audit.get(key, []) if first.sees(change.xid)]
            later = [change for change in audit.get(key, []) if not first.sees(change.xid)]
            in_first = [version for version in lake.get(key, []) if version.batch == 1]
            after = [version for version in lake.get(key, []) if version.batch > 1]
            expected = [begun[-1].row] if begun and begun[-1].row else []
            assert [version.row for version in in_first] == expected, (table, key)
            if is_whole:
                assert [(one.xid, one.row) for one in after] == [
                    (one.xid, one.row) for one in later
                ], (table, key)
            else:
                check_subsequence(after, begun[-1:], later)


def check_subsequence(found: list[LakeVersion], begun: list[Change], later: list[Change]) -> None:
    """Check that versions are in the order of the audit, and that the last is the same.

    A scan may have left versions out, and repeats one that is known.
    """
    rows = [
        row
        for one, row in enumerate(row.row for row in found)
        if not one or found[one - 1].row != row
    ]
    remaining = iter([one.row for one in (*begun, *later)])
    assert all(any(row == other for other in remaining) for row in rows), (rows, later)
    last = (later or begun)[-1].row if later or begun else None
    if found or last is not None:
        last_in_lake = found[-1].row if found else (begun[-1].row if begun else None)
        assert last_in_lake == last


def check_moments(source: LogSource) -> None:
    """Check that moments increase from transaction to transaction and from batch to batch."""
    before = ""
    for batch in lake_reader.batches(source.store):
        moments: dict[str, set[str]] = {}
        for table in batch.source_tables:
            if table.of_log:
                for line in lake_reader.lines(source.store, batch, table.name):
                    moments.setdefault(line["_at"], set()).add(line["_xid"])
        captured_at = batch.captured_at.isoformat(timespec="microseconds").replace("+00:00", "Z")
        assert all(len(xids) == 1 for xids in moments.values())
        assert all(before < moment <= captured_at for moment in moments)
        assert before < captured_at
        before = captured_at
