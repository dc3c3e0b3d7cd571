"""A soak: a hostile business, a platform to which everything happens, and a proof every round.

    python tests/soak.py --seed 1 --minutes 60

One seed chooses all of it, and is one sequence of choices, however fast the machine; the minutes
only say at which round's end it stops. The last line is the verdict.
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
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TextIO

import lake_reader
import psycopg
from checksums import checksums
from faults import restart
from psycopg import sql
from soak_business import Business
from soak_child import HUNG, UNFORESEEN, Child, Errand, Report, gate
from soak_plan import FAULTS, STAGES, Round, Step, rounds
from source_audit import TABLES, Finding, SourceAudit

import totes
from totes.config.settings import Dsn
from totes.embedded.servers import EmbeddedServer, prepare_source, prepare_warehouse
from totes.lake.folder import FolderStore
from totes.source.catalogue import Scope
from totes.stages.runner import Pipeline

KINDS = ("lost", "doubled", "altered", "unforeseen")
"""What must be none: of the data, and errors of the platform that are not its own messages."""

SHOWN = 20
"""Findings that are printed."""

KILLED = -9

MANY = 1000
"""Minutes, where the number of rounds is what ends it."""

_VERIFIED = {"missing": "lost", "surplus": "doubled", "different": "altered"}

_SERVER = {
    "fsync": "off",  # servers are killed here, the machine isn't
    "full_page_writes": "off",
    "shared_buffers": "64MB",
}


@dataclass
class Tally:
    """What a soak has done and found."""

    seed: int
    rounds: int = 0
    changes: int = 0
    events: int = 0
    batches: int = 0
    kills: int = 0
    replays: int = 0
    faults: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(FAULTS, 0)))
    """How often each kind did happen, not only was meant to."""

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


class World:
    """A source, a lake and a warehouse, from their beginning on."""

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
            Scope(),
            FolderStore(folder / "ingestion"),
            FolderStore(folder / "processed"),
            self._warehouses[0].loader,
        )
        self.source_audit = SourceAudit(source.superuser.reveal(), folder / "ingestion")
        self.source_audit.install()
        self.business = Business(self._source_server, source, seed)
        self._numbers = count(1)
        self._published: dict[str, str] = {}
        self._objects: dict[Path, tuple[int, int]] = {}
        self._checksums: dict[int, dict[str, Any]] = {}
        (folder / "reports").mkdir(parents=True)

    def remove(self) -> None:
        """Nothing of it is left."""
        self.business.close()
        _drop(self._source_server, self.pipeline.source)
        for made in self._warehouses:
            _drop(self._warehouse_server, made.loader)
        shutil.rmtree(self._folder)

    def start(
        self, *commands: str, step: Step | None = None, gate: Any = None, **into: Any
    ) -> Child:
        report = self._folder / "reports" / f"{next(self._numbers)}.json"
        return Child(Errand(self.pipeline, commands, report, step, **into), gate)

    def unharmed(self, *commands: str, **into: Any) -> tuple[list[Finding], Report]:
        """Run this without a fault; it must succeed."""
        child = self.start(*commands, **into)
        findings = list(_innocent(child))
        return findings + list(self.noted(child)), child.report

    def noted(self, child: Child) -> Iterator[Finding]:
        """What one was told to have published, and another has published otherwise."""
        for path, content in child.report.created.items():
            if self._published.setdefault(path, content) != content:
                yield Finding("altered", "lake", path, None, "two have published it")

    def restart(self, which: str, mode: str) -> None:
        if which == "source":
            self.business.restart(mode)
        else:
            restart(self._warehouse_server, mode)

    def rewritten(self) -> Iterator[Finding]:
        """What the lake had and has no more, or otherwise."""
        found = {
            path: (path.stat().st_size, path.stat().st_mtime_ns)
            for store in (self.pipeline.ingestion, self.pipeline.processed)
            for path in Path(store.url).rglob("*")
            if path.is_file() and ".incoming" not in path.parts
        }
        for path, state in self._objects.items():
            if found.get(path) != state:
                kind = "altered" if path in found else "lost"
                yield Finding(kind, "lake", str(path), None, "was there before")
        for name, content in self._published.items():
            path = Path(name)
            if path not in found:
                yield Finding("lost", "lake", name, None, "was published")
            elif hashlib.sha256(path.read_bytes()).hexdigest() != content:
                yield Finding("altered", "lake", name, None, "was published otherwise")
        self._objects = found

    def ingested(self) -> Iterator[Finding]:
        """Every column of every table, also those that no star has."""
        for table in TABLES:
            expected = lake_reader.sorted_rows(self.source_audit.rows(table))
            try:
                found = lake_reader.rows(self.pipeline.ingestion, table)
            except (AssertionError, KeyError) as error:
                yield Finding("doubled", table, "-", None, f"the lake has {error!r}")
                continue
            for row in {*expected} ^ {*found}:
                kind = "altered" if row in found else "lost"
                yield Finding(kind, table, str(row[0]), None, f"of the lake: {row}")

    def replayed(self, which: str, number: int, chosen: float) -> Iterator[Finding]:
        """A new database has the same in it, as of now or as of the end of an earlier round."""
        batches = sorted(self._checksums)
        earlier = batches[:-1] or batches
        batch = batches[-1] if which == "all" else earlier[int(chosen * len(earlier))]
        new = prepare_warehouse(self._warehouse_server.dsn, f"replay_{number}")
        self._warehouses.append(new)
        upto = None if which == "all" else batch
        findings, _ = self.unharmed("replay-into", into=new.loader, upto=upto)
        yield from findings
        if not findings:
            yield from _unequal(self._checksums[batch], checksums(new.loader), batch)

    def remember(self) -> None:
        """What the warehouse has as of its newest batch."""
        self._checksums[max(self.source_audit.batches)] = checksums(self.pipeline.warehouse)


def _drop(server: EmbeddedServer, database: Dsn) -> None:
    with psycopg.connect(server.dsn.reveal(), autocommit=True) as connection:
        name = sql.Identifier(str(database.parts["dbname"]))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def _unequal(live: dict[str, Any], new: dict[str, Any], batch: int) -> Iterator[Finding]:
    for table, content in live.items():
        if content != new[table]:
            text = f"replayed it is {new[table]}, not {content}"
            yield Finding("altered", table, "-", batch, text)


def _innocent(child: Child) -> Iterator[Finding]:
    """A child that nothing happened to must succeed."""
    if code := child.end():
        commands = ", ".join(child.errand.commands)
        yield Finding("unforeseen", commands, "-", None, f"ended with {code}: {child.report.said}")


class Soak:
    def __init__(self, seed: int, home: Path, stack: ExitStack) -> None:
        self.tally = Tally(seed)
        self._home = home
        self._servers = (
            stack.enter_context(EmbeddedServer(home / "source", _SERVER)),
            stack.enter_context(EmbeddedServer(home / "warehouse", _SERVER)),
        )
        self._world: World | None = None
        self._before: Counter[str] = Counter()
        """Changes and batches of earlier worlds."""

    def round(self, plan: Round) -> None:
        if plan.begins_a_world or self._world is None:
            self.leave()
            folder = self._home / str(plan.number)
            self._world = World(self._servers, folder, f"{self.tally.seed}, {plan.number}")
        world, tally = self._world, self.tally
        for step in plan.steps:
            tally.findings += self._step(world, step)
        tally.findings += self._compare(world, plan)
        tally.rounds += 1
        tally.changes = self._before["changes"] + world.source_audit.changes()
        tally.events = self._before["events"] + world.business.events
        tally.batches = self._before["batches"] + len(world.source_audit.batches)

    def leave(self) -> None:
        if self._world is not None:
            tally = self.tally
            self._before = Counter(
                changes=tally.changes, events=tally.events, batches=tally.batches
            )
            if tally.findings:  # to be looked at
                self._world.business.close()
            else:
                self._world.remove()
            self._world = None

    def _step(self, world: World, step: Step) -> Iterator[Finding]:
        world.business.run(step.before)
        if step.prepared and (earlier := STAGES[: _position(step.command)]):
            findings, _ = world.unharmed(*earlier)
            yield from findings
        rivals = step.nth if step.fault == "rivals" else 1
        together = gate(rivals) if rivals > 1 else None
        victims = [world.start(step.command, step=step, gate=together) for _ in range(rivals)]
        beside = [world.start(command) for command in step.beside]
        world.business.run(step.moment)
        if step.fault == "kill-at-random":
            victims[0].kill()
        elif step.fault.startswith("restart-"):
            world.restart(step.fault.removeprefix("restart-"), step.what)
        world.business.run(step.during - step.moment)
        codes = [child.end() for child in victims + beside][:rivals]
        self._count(step, codes, sum(victim.report.happened for victim in victims))
        harmed = [] if step.fault == "rivals" else victims
        if step.fault.startswith("restart-"):
            harmed = harmed + beside
        for child in victims + beside:
            yield from _guilty(step, child) if child in harmed else _innocent(child)
            yield from world.noted(child)
        yield from world.source_audit.half_loaded(world.pipeline.warehouse.reveal())

    def _count(self, step: Step, codes: list[int], happened: int) -> None:
        """Only what did happen: a killed child has died of it."""
        if step.fault.startswith("kill-"):
            happened = codes.count(KILLED)
            self.tally.kills += happened
        elif step.fault == "full-disk":
            happened = int(codes[0] != 0)
        elif step.fault == "rivals":
            happened = int(not any(codes))
        elif step.fault.startswith("restart-"):
            happened = 1
        self.tally.faults[step.fault] += happened

    def _compare(self, world: World, plan: Round) -> Iterator[Finding]:
        """All that is pending, unharmed; then what the platform says of itself, and the witness."""
        findings, _ = world.unharmed("run")
        yield from findings
        if findings:
            return
        findings, report = world.unharmed("verify")
        yield from findings
        for kind, table, key in report.found:
            yield Finding(_VERIFIED[kind], table, key, None, "says verify")
        yield from world.source_audit.follow()
        yield from world.source_audit.compare(world.pipeline.warehouse.reveal())
        yield from world.ingested()
        yield from world.rewritten()
        world.remember()
        if plan.replay:
            self.tally.replays += 1
            yield from world.replayed(plan.replay, plan.number, plan.chosen)


def _position(command: str) -> int:
    return STAGES.index(command) if command in STAGES else 0


def _guilty(step: Step, child: Child) -> Iterator[Finding]:
    """One that a fault happened to may fail, in the platform's own words."""
    code = child.end()
    if code == HUNG or (code == UNFORESEEN and step.fault != "full-disk"):
        commands = ", ".join(child.errand.commands)
        yield Finding("unforeseen", commands, "-", None, f"{step.fault}: {child.report.said}")


def failpoints() -> list[str]:
    """All that the platform has."""
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
    most_rounds: int | None = None,
    watch: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Rounds until the time is over, or there were so many, or one has found something.

    `watch` is told after each.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        run = Soak(seed, home, stack)
        stack.callback(run.leave)
        for plan in rounds(seed, failpoints()):
            run.round(plan)
            run.tally.seconds = time.monotonic() - began
            watch(run.tally)
            enough = most_rounds is not None and plan.number >= most_rounds
            if run.tally.findings or enough or run.tally.seconds >= seconds:
                return run.tally
    raise AssertionError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, required=True, help="chooses everything")
    parser.add_argument("--minutes", type=float, default=1.0, help="ends with the round after them")
    parser.add_argument("--rounds", type=int, help="ends after so many rounds at the latest")
    parser.add_argument("--home", type=Path, help="an empty folder, where what went wrong stays")
    parser.add_argument("--json", action="store_true", help="the verdict as JSON")
    chosen = parser.parse_args(arguments)
    with ExitStack() as stack:
        temporary = chosen.home or stack.enter_context(
            tempfile.TemporaryDirectory(prefix="totes-soak-")
        )
        tally = soak(
            chosen.seed,
            Path(temporary),
            seconds=chosen.minutes * 60,
            most_rounds=chosen.rounds,
            watch=lambda tally: _say(f"round {tally.rounds}, {tally.seconds:.0f} s", sys.stderr),
        )
    for finding in tally.findings[:SHOWN]:
        _say(
            f"{finding.kind}: {finding.table}, key {finding.key}, batch {finding.batch}:"
            f" {finding.text}",
            sys.stderr,
        )
    if tally.findings:
        again = f"--seed {tally.seed} --rounds {tally.rounds} --minutes {MANY}"
        _say(f"Found in round {tally.rounds}. Again: python tests/soak.py {again}", sys.stderr)
    _say(tally.to_json() if chosen.json else str(tally), sys.stdout)
    return 1 if tally.findings else 0


def _say(text: str, where: TextIO) -> None:
    print(text, file=where, flush=True)


if __name__ == "__main__":
    sys.exit(main())
