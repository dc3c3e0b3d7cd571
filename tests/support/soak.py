"""A soak: a hostile business and a platform with random faults, compared after each round.

    python tests/support/soak.py --seed 1 --minutes 60

The seed determines all random choices, independent of the machine's speed; the minutes only
determine the round after which it stops. The last line is the result.
"""

import argparse
import hashlib
import json
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, TextIO

import lake_reader
import psycopg
from checksums import checksums
from database import execute
from faults import restart
from log_source import PUBLISH, drop_logged_database
from psycopg import sql
from soak_business import Business
from soak_child import HUNG, UNEXPECTED, Child, Report, Task, gate
from soak_plan import FAULTS, STAGES, Round, Step, rounds
from source_audit import TABLES, Finding, SourceAudit

import totes
from totes.config.dsn import Dsn
from totes.embedded.servers import EmbeddedServer, prepare_source, prepare_warehouse
from totes.lake.folder import FolderStore
from totes.source.catalogue import CaptureScope
from totes.source.log.reader import LogReader
from totes.stages.runner import Pipeline

KINDS = ("lost", "doubled", "altered", "unexpected")
"""Kinds of findings: in the data, and errors of the platform without a message of its own."""

PRINTED_FINDINGS = 20

KILLED = -9

REPEAT_MINUTES = 1000
"""For a repetition, which the number of rounds ends."""

_VERIFIED = {"missing": "lost", "surplus": "doubled", "different": "altered"}

_SERVER = {
    "fsync": "off",  # servers are killed, but the machine is not
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "wal_level": "logical",
    "max_slot_wal_keep_size": "4GB",
}


@dataclass
class Tally:
    """The counts and findings of a soak."""

    seed: int
    rounds: int = 0
    changes: int = 0
    events: int = 0
    batches: int = 0
    kills: int = 0
    replays: int = 0
    faults: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(FAULTS, 0)))
    """How often each fault happened; a planned fault may not happen."""

    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    def found(self, kind: str) -> int:
        return sum(finding.kind == kind for finding in self.findings)

    def __str__(self) -> str:
        faults = " ".join(f"{name}={times}" for name, times in self.faults.items())
        found = " ".join(f"{kind} {self.found(kind)}" for kind in KINDS)
        return (
            f"soak seed={self.seed} minutes={self.seconds / 60:.1f} rounds={self.rounds}"
            f" changes={self.changes} batches={self.batches} kills={self.kills}"
            f" replays={self.replays} faults: {faults} {found}"
        )

    def to_json(self) -> str:
        counted = {"faults": dict(self.faults)} | {kind: self.found(kind) for kind in KINDS}
        return json.dumps(
            vars(self) | counted | {"findings": [asdict(one) for one in self.findings]}
        )


class Environment:
    """A source, a lake and a warehouse, which begin empty."""

    def __init__(
        self, servers: tuple[EmbeddedServer, EmbeddedServer], folder: Path, seed: str
    ) -> None:
        self._source_server, self._warehouse_server = servers
        self._folder = folder
        source = prepare_source(self._source_server.dsn, f"totesys_{folder.name}")
        self._warehouses = [
            prepare_warehouse(self._warehouse_server.dsn, f"warehouse_{folder.name}")
        ]
        self.pipeline = Pipeline(
            source.reader,
            CaptureScope(),
            FolderStore(folder / "ingestion"),
            FolderStore(folder / "processed"),
            self._warehouses[0].loader,
        )
        execute(source.superuser, "ALTER ROLE totes_ingest REPLICATION", PUBLISH)
        self._log_reader = LogReader(source.reader, f"totes_{folder.name}", "totes")
        self.source_audit = SourceAudit(source.superuser.reveal(), folder / "ingestion")
        self.source_audit.install()
        self._numbers = count(1)
        self._published: dict[str, str] = {}
        self._objects: dict[Path, tuple[int, int]] = {}
        self._checksums: dict[int, dict[str, Any]] = {}
        (folder / "reports").mkdir(parents=True)
        self.capture_by("log")
        self.first_findings, _ = self.run_without_fault("ingest")
        """Of the capture that creates the slot, before transactions of the business are open."""
        self.business = Business(self._source_server, source, seed)

    def capture_by(self, way: str) -> None:
        """Let commands capture by scan or from the log from now on."""
        log_reader = self._log_reader if way == "log" else None
        self.pipeline = replace(self.pipeline, log_reader=log_reader)

    def remove(self) -> None:
        """Remove all databases and files."""
        self.business.close()
        drop_logged_database(
            self._source_server.dsn,
            self._source_server.dsn.replace(dbname=str(self.pipeline.source.parts["dbname"])),
            str(self.pipeline.source.parts["dbname"]),
        )
        for warehouse in self._warehouses:
            _drop(self._warehouse_server, warehouse.loader)
        shutil.rmtree(self._folder)

    def start(
        self, *commands: str, step: Step | None = None, gate: Any = None, **into: Any
    ) -> Child:
        report = self._folder / "reports" / f"{next(self._numbers)}.json"
        return Child(Task(self.pipeline, commands, report, step, **into), gate)

    def run_without_fault(self, *commands: str, **into: Any) -> tuple[list[Finding], Report]:
        """Run commands without a fault; they must succeed."""
        child = self.start(*commands, **into)
        findings = list(_require_success(child))
        return findings + list(self.record_created(child)), child.report

    def record_created(self, child: Child) -> Iterator[Finding]:
        """Record the objects that a child created; yield those that another created differently."""
        for path, content in child.report.created.items():
            if self._published.setdefault(path, content) != content:
                yield Finding("altered", "lake", path, None, "two processes created it")

    def restart(self, which: str, mode: str) -> None:
        if which == "source":
            self.business.restart(mode)
        else:
            restart(self._warehouse_server, mode)

    def changed_objects(self) -> Iterator[Finding]:
        """Yield objects of the lake that were deleted or changed."""
        found = {
            path: (path.stat().st_size, path.stat().st_mtime_ns)
            for store in (self.pipeline.ingestion, self.pipeline.processed)
            for path in Path(store.url).rglob("*")
            if path.is_file() and ".incoming" not in path.parts
        }
        for path, state in self._objects.items():
            if found.get(path) != state:
                kind = "altered" if path in found else "lost"
                yield Finding(kind, "lake", str(path), None, "existed before")
        for name, content in self._published.items():
            path = Path(name)
            if path not in found:
                yield Finding("lost", "lake", name, None, "was published")
            elif hashlib.sha256(path.read_bytes()).hexdigest() != content:
                yield Finding("altered", "lake", name, None, "was published with other content")
        self._objects = found

    def compare_ingested(self) -> Iterator[Finding]:
        """Compare the ingestion store with the source: every column of every table."""
        for table in TABLES:
            expected = lake_reader.sorted_rows(self.source_audit.rows(table))
            try:
                found = lake_reader.rows(self.pipeline.ingestion, table)
            except (AssertionError, KeyError) as error:
                yield Finding("doubled", table, "-", None, f"the lake has {error!r}")
                continue
            for row in {*expected} ^ {*found}:
                kind = "altered" if row in found else "lost"
                yield Finding(kind, table, str(row[0]), None, f"in the lake: {row}")

    def compare_replayed(self, which: str, number: int, earlier_share: float) -> Iterator[Finding]:
        """Replay into a new database, and compare it as of now or of an earlier round's end."""
        batches = sorted(self._checksums)
        earlier = batches[:-1] or batches
        batch = batches[-1] if which == "all" else earlier[int(earlier_share * len(earlier))]
        new = prepare_warehouse(self._warehouse_server.dsn, f"replay_{number}")
        self._warehouses.append(new)
        last_batch = None if which == "all" else batch
        findings, _ = self.run_without_fault("replay-into", into=new.loader, last_batch=last_batch)
        yield from findings
        if not findings:
            yield from _compare_checksums(self._checksums[batch], checksums(new.loader), batch)

    def record_checksums(self) -> None:
        """Record the warehouse's checksums as of its newest batch."""
        self._checksums[max(self.source_audit.batches)] = checksums(self.pipeline.warehouse)


def _drop(server: EmbeddedServer, database: Dsn) -> None:
    with psycopg.connect(server.dsn.reveal(), autocommit=True) as connection:
        name = sql.Identifier(str(database.parts["dbname"]))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def _compare_checksums(live: dict[str, Any], new: dict[str, Any], batch: int) -> Iterator[Finding]:
    for table, content in live.items():
        if content != new[table]:
            text = f"replayed as {new[table]}, loaded as {content}"
            yield Finding("altered", table, "-", batch, text)


def _require_success(child: Child) -> Iterator[Finding]:
    """Wait for a child without a fault, which must succeed."""
    if code := child.end():
        commands = ", ".join(child.task.commands)
        yield Finding("unexpected", commands, "-", None, f"ended with {code}: {child.report.error}")


class Soak:
    def __init__(self, seed: int, home: Path, stack: ExitStack) -> None:
        self.tally = Tally(seed)
        self._home = home
        self._servers = (
            stack.enter_context(EmbeddedServer(home / "source", _SERVER)),
            stack.enter_context(EmbeddedServer(home / "warehouse", _SERVER)),
        )
        self._environment: Environment | None = None
        self._before: Counter[str] = Counter()
        """Changes, events and batches of earlier environments."""

    def round(self, plan: Round) -> None:
        if plan.needs_new_environment or self._environment is None:
            self.close_environment()
            folder = self._home / str(plan.number)
            self._environment = Environment(
                self._servers, folder, f"{self.tally.seed}, {plan.number}"
            )
        environment, tally = self._environment, self.tally
        tally.findings += environment.first_findings
        environment.capture_by(plan.capture)
        for step in plan.steps:
            tally.findings += self._step(environment, step)
        tally.findings += self._compare(environment, plan)
        tally.rounds += 1
        tally.changes = self._before["changes"] + environment.source_audit.changes()
        tally.events = self._before["events"] + environment.business.events
        tally.batches = self._before["batches"] + len(environment.source_audit.batches)

    def close_environment(self) -> None:
        if self._environment is not None:
            tally = self.tally
            self._before = Counter(
                changes=tally.changes, events=tally.events, batches=tally.batches
            )
            if tally.findings:  # keep it for analysis
                self._environment.business.close()
            else:
                self._environment.remove()
            self._environment = None

    def _step(self, environment: Environment, step: Step) -> Iterator[Finding]:
        environment.business.run(step.before)
        if step.prepared and (earlier := STAGES[: _position(step.command)]):
            findings, _ = environment.run_without_fault(*earlier)
            yield from findings
        processes = step.nth if step.fault == "concurrent-runs" else 1
        together = gate(processes) if processes > 1 else None
        faulty = [
            environment.start(step.command, step=step, gate=together) for _ in range(processes)
        ]
        beside = [environment.start(command) for command in step.beside]
        environment.business.run(step.moment)
        if step.fault == "kill-at-random":
            faulty[0].kill()
        elif step.fault.startswith("restart-"):
            environment.restart(step.fault.removeprefix("restart-"), step.what)
        environment.business.run(step.during - step.moment)
        codes = [child.end() for child in faulty + beside][:processes]
        self._count(step, codes, sum(child.report.happened for child in faulty))
        harmed = [] if step.fault == "concurrent-runs" else faulty
        if step.fault.startswith("restart-"):
            harmed = harmed + beside
        for child in faulty + beside:
            yield from _allow_failure(step, child) if child in harmed else _require_success(child)
            yield from environment.record_created(child)
        yield from environment.source_audit.find_partial_loads(
            environment.pipeline.warehouse.reveal()
        )

    def _count(self, step: Step, codes: list[int], happened: int) -> None:
        """Count the faults that happened; for kills, the killed children."""
        if step.fault.startswith("kill-"):
            happened = codes.count(KILLED)
            self.tally.kills += happened
        elif step.fault == "full-disk":
            happened = int(codes[0] != 0)
        elif step.fault == "concurrent-runs":
            happened = int(not any(codes))
        elif step.fault.startswith("restart-"):
            happened = 1
        self.tally.faults[step.fault] += happened

    def _compare(self, environment: Environment, plan: Round) -> Iterator[Finding]:
        """Run all stages without faults; compare with verify and with the source audit."""
        findings, _ = environment.run_without_fault("run")
        yield from findings
        if findings:
            return
        findings, report = environment.run_without_fault("verify")
        yield from findings
        for kind, table, key in report.found:
            yield Finding(_VERIFIED[kind], table, key, None, "found by verify")
        yield from environment.source_audit.replay_batches()
        yield from environment.source_audit.compare(environment.pipeline.warehouse.reveal())
        yield from environment.compare_ingested()
        yield from environment.changed_objects()
        environment.record_checksums()
        if plan.replay:
            self.tally.replays += 1
            yield from environment.compare_replayed(plan.replay, plan.number, plan.earlier_share)


def _position(command: str) -> int:
    return STAGES.index(command) if command in STAGES else 0


def _allow_failure(step: Step, child: Child) -> Iterator[Finding]:
    """Wait for a child with a fault, which may fail with one of the platform's errors."""
    code = child.end()
    if code == HUNG or (code == UNEXPECTED and step.fault != "full-disk"):
        commands = ", ".join(child.task.commands)
        yield Finding("unexpected", commands, "-", None, f"{step.fault}: {child.report.error}")


def failpoints() -> list[str]:
    """Return the names of all failpoints."""
    package = Path(totes.__file__).parent
    return sorted(
        {
            name
            for path in package.rglob("*.py")
            for name in re.findall(r'\breach\("([\w.-]+)"\)', path.read_text(encoding="utf-8"))
        }
    )


def soak(
    seed: int,
    home: Path,
    *,
    seconds: float,
    max_rounds: int | None = None,
    watch: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Run rounds until the time is over, there were `max_rounds`, or one has findings.

    `watch` is called after each round.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        run = Soak(seed, home, stack)
        stack.callback(run.close_environment)
        for plan in rounds(seed, failpoints()):
            run.round(plan)
            run.tally.seconds = time.monotonic() - began
            watch(run.tally)
            enough = max_rounds is not None and plan.number >= max_rounds
            if run.tally.findings or enough or run.tally.seconds >= seconds:
                return run.tally
    raise AssertionError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, required=True, help="random seed")
    parser.add_argument(
        "--minutes", type=float, default=1.0, help="stop after the round in which this time ends"
    )
    parser.add_argument("--rounds", type=int, help="maximum number of rounds")
    parser.add_argument(
        "--home", type=Path, help="an empty folder, which is kept if there are findings"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        temporary = options.home or stack.enter_context(
            tempfile.TemporaryDirectory(prefix="totes-soak-")
        )
        tally = soak(
            options.seed,
            Path(temporary),
            seconds=options.minutes * 60,
            max_rounds=options.rounds,
            watch=lambda tally: _print(f"round {tally.rounds}, {tally.seconds:.0f} s", sys.stderr),
        )
    for finding in tally.findings[:PRINTED_FINDINGS]:
        _print(
            f"{finding.kind}: {finding.table}, key {finding.key}, batch {finding.batch}:"
            f" {finding.text}",
            sys.stderr,
        )
    if tally.findings:
        again = f"--seed {tally.seed} --rounds {tally.rounds} --minutes {REPEAT_MINUTES}"
        _print(
            f"Found in round {tally.rounds}. Repeat with: python tests/support/soak.py {again}",
            sys.stderr,
        )
    _print(tally.to_json() if options.json else str(tally), sys.stdout)
    return 1 if tally.findings else 0


def _print(text: str, where: TextIO) -> None:
    print(text, file=where, flush=True)


if __name__ == "__main__":
    sys.exit(main())
