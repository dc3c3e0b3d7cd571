"""A child process of a soak, which runs commands of the platform with a fault."""

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
from faults import COMMIT, Cut, Fault, FaultyStore, Given, Proxy, on_nth_call
from soak_plan import Step

from totes import failpoint
from totes.config.dsn import Dsn
from totes.errors import TotesError
from totes.lake.folder import FolderStore
from totes.lake.manifest import sha256_hex
from totes.operations.verify import verify
from totes.source import snapshot
from totes.source.log.reader import LogReader
from totes.stages.replay import replay
from totes.stages.runner import Pipeline

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

LONGEST_SECONDS = 600
"""Timeout of a child process."""

HUNG = 124
"""Exit code of a child that timed out."""

UNEXPECTED = 1
"""Exit code of an error that is not a TotesError."""

_STORE_FAULTS: Mapping[str, Fault] = MappingProxyType(
    {f"store-{fault.name.lower()}": fault for fault in Fault}
)

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    [
        "soak_child",
        "totes.source.capture",
        "totes.source.log.capture",
        "totes.stages.transform.build",
        "totes.operations.verify",
    ]
)
"""A child is a fork of a process that has only imported these modules."""


@dataclass(frozen=True)
class Task:
    """A child's commands, its fault (none without `step`), and the file of its report."""

    pipeline: Pipeline
    commands: tuple[str, ...]
    report: Path
    step: Step | None = None
    into: Dsn | None = None
    last_batch: int | None = None


@dataclass
class Report:
    """The result of a child that was not killed; `happened` is how often the fault happened."""

    happened: int = 0
    error: str = ""
    found: list[tuple[str, str, str]] = field(default_factory=list)
    """Differences that verify found: kind, table, key."""

    created: dict[str, str] = field(default_factory=dict)
    """Digests of the objects that it created, by path."""


class RecordingStore(FolderStore):
    """A folder store that records the objects that it created."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.created: dict[str, str] = {}

    def create(self, key: str, data: bytes) -> bool:
        created = super().create(key, data)
        if created:
            self.created[f"{self.url}/{key}"] = sha256_hex(data)
        return created


def gate(children: int) -> Any:
    """Return a barrier for a number of children."""
    return _PROCESSES.Barrier(children)


class Child:
    """A process that runs a task."""

    def __init__(self, task: Task, gate: Any = None) -> None:
        """The process starts its commands when all children have reached the `gate`."""
        self.task = task
        self._process: BaseProcess = _PROCESSES.Process(
            target=_work, args=(task, gate), daemon=True
        )
        self._process.start()

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> int:
        """Wait for the end of the process, and return its exit code."""
        self._process.join(LONGEST_SECONDS)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
            return HUNG
        return self._process.exitcode

    @property
    def report(self) -> Report:
        path = self.task.report
        return Report(**json.loads(path.read_text())) if path.exists() else Report()


def _work(task: Task, gate: Any) -> None:
    report, code = Report(), 0
    if gate:
        gate.wait(LONGEST_SECONDS)
    with ExitStack() as stack:
        stores = [
            RecordingStore(Path(store.url))
            for store in (task.pipeline.ingestion, task.pipeline.processed)
        ]
        pipeline = replace(task.pipeline, ingestion=stores[0], processed=stores[1])
        count: Callable[[], int] = int
        if task.step:
            pipeline, count = stack.enter_context(_with_fault(pipeline, task.step))
        try:
            for command in task.commands:
                report.found += _run(command, replace(task, pipeline=pipeline))
        except TotesError as error:
            report.error, code = str(error), error.exit_code
        except BaseException:  # noqa: BLE001  the soak reports it
            report.error, code = traceback.format_exc(), UNEXPECTED
        report.happened = count()
        report.created = stores[0].created | stores[1].created
    _lift_limit()
    task.report.write_text(json.dumps(vars(report)))
    sys.stdout.flush()
    os._exit(code)


def _run(command: str, task: Task) -> list[tuple[str, str, str]]:
    if command == "verify":
        return [
            (difference.kind, table.name, difference.key)
            for table in verify(task.pipeline).tables
            for difference in table.differing
        ]
    if command == "replay-into":
        list(replay(task.pipeline, into=task.into, last_batch=task.last_batch))
    else:
        faults.COMMANDS[command](task.pipeline)
    return []


@contextmanager
def _with_fault(pipeline: Pipeline, step: Step) -> Iterator[tuple[Pipeline, Callable[[], int]]]:
    """Yield the pipeline with a step's fault, and a function that counts how often it happened."""
    if step.fault in _STORE_FAULTS:
        plan = Given(step.what, _STORE_FAULTS[step.fault], step.nth)
        ingestion, processed = (
            FaultyStore(store, plan) for store in (pipeline.ingestion, pipeline.processed)
        )
        stores = replace(pipeline, ingestion=ingestion, processed=processed)
        yield stores, lambda: sum((ingestion.happened + processed.happened).values())
    elif step.fault == "cut-source":
        with Proxy(pipeline.source, Cut(received_bytes=step.nth)) as proxy:
            source, reader = proxy.through(pipeline.source), pipeline.log_reader
            if reader:
                reader = LogReader(source, reader.slot, reader.publication)
            yield replace(pipeline, source=source, log_reader=reader), lambda: proxy.cuts
    elif step.fault in {"cut-before-commit", "cut-after-commit"}:
        cut = Cut(message=COMMIT, answered=step.fault == "cut-after-commit")
        with Proxy(pipeline.warehouse, cut) as proxy:
            through = replace(pipeline, warehouse=proxy.through(pipeline.warehouse))
            yield through, lambda: proxy.cuts
    elif step.fault == "kill-at-failpoint":
        failpoint.actions[step.what] = on_nth_call(
            step.nth, partial(os.kill, os.getpid(), signal.SIGKILL)
        )
        yield pipeline, int
    elif step.fault == "full-disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (step.nth, resource.RLIM_INFINITY))
        yield pipeline, int
    elif step.fault == "clock-jump":
        _jump(step.nth)
        yield pipeline, lambda: 1
    else:  # a fault from outside
        yield pipeline, int


def _lift_limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


def _jump(seconds: int) -> None:
    """Shift the source's clock by a number of seconds."""
    clock = "clock_timestamp()"
    assert clock in snapshot._SNAPSHOT_QUERY
    shifted = f"{clock} + interval '{seconds} s'"
    vars(snapshot)["_SNAPSHOT_QUERY"] = snapshot._SNAPSHOT_QUERY.replace(clock, shifted)
