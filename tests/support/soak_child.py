"""A process of a soak: runs some of the platform's commands while a fault happens to it."""

import json
import multiprocessing
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import faults
from faults import COMMIT, Cut, Fault, FaultyStore, Given, Proxy, at_the
from soak_plan import Step

from totes import failpoint
from totes.config.settings import Dsn
from totes.errors import TotesError
from totes.lake.folder import FolderStore
from totes.lake.manifest import digest
from totes.operations.verify import verify
from totes.source import snapshot
from totes.stages.replay import replay
from totes.stages.runner import Pipeline

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

LONGEST_SECONDS = 600
"""A child that lives longer hangs."""

HUNG = 124
"""Exit code of one that did."""

UNFORESEEN = 1
"""Exit code of an error that is none of the platform's own."""

_STORE_FAULTS: Mapping[str, Fault] = MappingProxyType(
    {f"store-{fault.name.lower()}": fault for fault in Fault}
)

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    [
        "soak_child",
        "totes.source.capture",
        "totes.stages.transform.build",
        "totes.operations.verify",
    ]
)
"""A child is a fork of a process that has imported everything, and has done nothing yet."""


@dataclass(frozen=True)
class Errand:
    """What a child is to do, what happens to it (nothing without `step`), where it reports."""

    pipeline: Pipeline
    commands: tuple[str, ...]
    report: Path
    step: Step | None = None
    into: Dsn | None = None
    upto: int | None = None


@dataclass
class Report:
    """What a child that lived to its end has to say: how often the fault happened."""

    happened: int = 0
    said: str = ""
    found: list[tuple[str, str, str]] = field(default_factory=list)
    """By verify: what is different, the table, the key."""

    created: dict[str, str] = field(default_factory=dict)
    """What it published, by path: the digest of its content."""


class NotedStore(FolderStore):
    """Remembers what it was told to have published."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.created: dict[str, str] = {}

    def create(self, key: str, data: bytes) -> bool:
        created = super().create(key, data)
        if created:
            self.created[f"{self.url}/{key}"] = digest(data)
        return created


def gate(children: int) -> Any:
    """Where so many wait for one another."""
    return _PROCESSES.Barrier(children)


class Child:
    """One errand, under way from the beginning."""

    def __init__(self, errand: Errand, gate: Any = None) -> None:
        """It begins when all have come to the `gate`, where one is given."""
        self.errand = errand
        self._process: BaseProcess = _PROCESSES.Process(
            target=_work, args=(errand, gate), daemon=True
        )
        self._process.start()

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> int:
        """Its exit code, once it has ended."""
        self._process.join(LONGEST_SECONDS)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
            return HUNG
        return self._process.exitcode

    @property
    def report(self) -> Report:
        path = self.errand.report
        return Report(**json.loads(path.read_text())) if path.exists() else Report()


def _work(errand: Errand, gate: Any) -> None:
    report, code = Report(), 0
    if gate:
        gate.wait(LONGEST_SECONDS)
    with ExitStack() as stack:
        stores = [
            NotedStore(Path(store.url))
            for store in (errand.pipeline.ingestion, errand.pipeline.processed)
        ]
        pipeline = replace(errand.pipeline, ingestion=stores[0], processed=stores[1])
        count: Callable[[], int] = int
        if errand.step:
            pipeline, count = stack.enter_context(_suffering(pipeline, errand.step))
        try:
            for command in errand.commands:
                report.found += _run(command, replace(errand, pipeline=pipeline))
        except TotesError as error:
            report.said, code = str(error), error.exit_code
        except BaseException:  # noqa: BLE001  the soak tells it
            report.said, code = traceback.format_exc(), UNFORESEEN
        report.happened = count()
        report.created = stores[0].created | stores[1].created
    _lift_limit()
    errand.report.write_text(json.dumps(vars(report)))
    sys.stdout.flush()
    os._exit(code)


def _run(command: str, errand: Errand) -> list[tuple[str, str, str]]:
    if command == "verify":
        return [
            (difference.kind, table.name, difference.key)
            for table in verify(errand.pipeline).tables
            for difference in table.differing
        ]
    if command == "replay-into":
        list(replay(errand.pipeline, into=errand.into, upto=errand.upto))
    else:
        faults.COMMANDS[command](errand.pipeline)
    return []


@contextmanager
def _suffering(pipeline: Pipeline, step: Step) -> Iterator[tuple[Pipeline, Callable[[], int]]]:
    """The pipeline under a step's fault, and how often that has happened."""
    if step.fault in _STORE_FAULTS:
        plan = Given(step.what, _STORE_FAULTS[step.fault], step.nth)
        ingestion, processed = (
            FaultyStore(store, plan) for store in (pipeline.ingestion, pipeline.processed)
        )
        stores = replace(pipeline, ingestion=ingestion, processed=processed)
        yield stores, lambda: sum((ingestion.happened + processed.happened).values())
    elif step.fault == "cut-source":
        with Proxy(pipeline.source, Cut(received_bytes=step.nth)) as proxy:
            yield replace(pipeline, source=proxy.through(pipeline.source)), lambda: proxy.cuts
    elif step.fault in {"cut-before-commit", "cut-after-commit"}:
        cut = Cut(message=COMMIT, answered=step.fault == "cut-after-commit")
        with Proxy(pipeline.warehouse, cut) as proxy:
            through = replace(pipeline, warehouse=proxy.through(pipeline.warehouse))
            yield through, lambda: proxy.cuts
    elif step.fault == "kill-at-failpoint":
        failpoint.actions[step.what] = at_the(
            step.nth, partial(os.kill, os.getpid(), signal.SIGKILL)
        )
        yield pipeline, int
    elif step.fault == "full-disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (step.nth, resource.RLIM_INFINITY))
        yield pipeline, int
    elif step.fault == "clock-jump":
        _jump(step.nth)
        yield pipeline, lambda: 1
    else:  # what is done from outside
        yield pipeline, int


def _lift_limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


def _jump(seconds: int) -> None:
    """The source's clock is so many seconds off."""
    here = "clock_timestamp()"
    assert here in snapshot._LOOK
    there = f"{here} + interval '{seconds} s'"
    vars(snapshot)["_LOOK"] = snapshot._LOOK.replace(here, there)
