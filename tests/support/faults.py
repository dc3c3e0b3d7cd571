"""Fault injection: stores that fail, processes that are killed, connections that are cut.

Faults are data (an operation and what happens to it), so that a table or a seed determines them.
"""

import copyreg
import multiprocessing
import os
import random
import selectors
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any, Protocol, Self

import psycopg

from totes import failpoint
from totes.config.dsn import Dsn
from totes.embedded.servers import EmbeddedServer
from totes.errors import LakeError, ObjectMissing, TotesError
from totes.lake.s3 import S3Store
from totes.lake.store import Store
from totes.operations.release import release
from totes.source.log.reader import LogReader
from totes.stages import ingest
from totes.stages.replay import replay
from totes.stages.runner import STAGES, Pipeline, run_once, run_stage
from totes.warehouse.quarantine import find_rejected_batches
from totes.warehouse.schema import migrate

# --- a store that fails --------------------------------------------------------------------------


class Fault(Enum):
    """The faults of a store's operation."""

    BEFORE = "fails and does nothing"
    AFTER = "is done, but the response is lost"
    SLOW = "takes longer"
    STALE = "does not see the newest object"
    CORRUPT = "reads other data than was written"


POSSIBLE: Mapping[Fault, tuple[str, ...]] = MappingProxyType(
    {
        Fault.BEFORE: ("get", "fetch", "put", "create", "exists", "list"),
        Fault.AFTER: ("put", "create"),
        Fault.SLOW: ("get", "fetch", "put", "create", "exists", "list"),
        Fault.STALE: ("get", "fetch", "exists", "list"),
        Fault.CORRUPT: ("get", "fetch"),
    }
)
"""The operations that each fault can happen to."""

CASES = [(operation, fault) for fault, operations in POSSIBLE.items() for operation in operations]
"""All pairs of an operation and a fault, for parametrized tests."""

SLOW_SECONDS = 0.02


class Plan(Protocol):
    """Determines the fault of the next operation."""

    def __call__(self, operation: str, key: str) -> Fault | None: ...


@dataclass
class Given:
    """`fault` happens to an operation `times` times, from its n-th call on."""

    operation: str
    fault: Fault
    nth: int = 1
    times: int = 1
    calls: int = 0

    def __call__(self, operation: str, key: str) -> Fault | None:  # noqa: ARG002  Plan's signature
        if operation != self.operation:
            return None
        self.calls += 1
        return self.fault if self.nth <= self.calls < self.nth + self.times else None


@dataclass
class Drawn:
    """A share of all operations has a random fault."""

    chance: random.Random
    share: float
    faults: Collection[Fault] = tuple(Fault)

    def __call__(self, operation: str, key: str) -> Fault | None:  # noqa: ARG002  Plan's signature
        possible = [fault for fault in self.faults if operation in POSSIBLE[fault]]
        if possible and self.chance.random() < self.share:
            return self.chance.choice(possible)
        return None


class FaultyStore:
    """A store with the faults of `plan`."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self.store, self.plan = store, plan
        self.url = store.url
        self.happened: Counter[tuple[str, Fault]] = Counter()
        self._lock = Lock()  # a stage writes in several threads, and a plan is not thread-safe

    def get(self, key: str) -> bytes:
        fault = self._before("get", key)
        data = self.store.get(key)
        return data[: len(data) // 2] if fault is Fault.CORRUPT else data

    def fetch(self, key: str, path: Path) -> None:
        fault = self._before("fetch", key)
        self.store.fetch(key, path)
        if fault is Fault.CORRUPT and (data := bytearray(path.read_bytes())):
            data[len(data) // 2] ^= 1
            path.write_bytes(data)

    def put(self, key: str, path: Path) -> None:
        fault = self._before("put", key)
        self.store.put(key, path)
        self._after(fault, "put", key)

    def create(self, key: str, data: bytes) -> bool:
        fault = self._before("create", key)
        created = self.store.create(key, data)
        self._after(fault, "create", key)
        return created

    def secure(self, key: str) -> None:
        fault = self._before("secure", key)
        self.store.secure(key)
        self._after(fault, "secure", key)

    def exists(self, key: str) -> bool:
        fault = self._before("exists", key)
        return fault is not Fault.STALE and self.store.exists(key)

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        fault = self._before("list", prefix)
        keys = list(self.store.list(prefix, after))
        yield from keys[:-1] if fault is Fault.STALE else keys

    def _before(self, operation: str, key: str) -> Fault | None:
        with self._lock:
            fault = self.plan(operation, key)
            if fault is not None:
                self.happened[operation, fault] += 1
        if fault is Fault.SLOW:
            time.sleep(SLOW_SECONDS)
        if fault is Fault.BEFORE:
            raise LakeError(f"{key} in {self.url}: an injected fault before {operation}.")
        if fault is Fault.STALE and operation in {"get", "fetch"}:
            raise ObjectMissing(f"There is no {key} in {self.url}.")
        return fault

    def _after(self, fault: Fault | None, operation: str, key: str) -> None:
        if fault is Fault.AFTER:
            raise LakeError(f"{key} in {self.url}: an injected fault after {operation}.")

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state, _lock=Lock())


# --- processes that are killed -------------------------------------------------------------------


def _stage(stage: str, pipeline: Pipeline) -> None:
    for _ in run_stage(pipeline, stage):
        pass


def _write_heartbeat(pipeline: Pipeline) -> None:
    """Ingest with the next heartbeat due."""
    ingest.HEARTBEAT_INTERVAL = timedelta()
    _stage("ingest", pipeline)


def _release(pipeline: Pipeline) -> None:
    """Release the rows in quarantine, or the first batch if there are none."""
    release(pipeline.ingestion, find_rejected_batches(pipeline.warehouse) or [1])


COMMANDS: Mapping[str, Callable[[Pipeline], object]] = MappingProxyType(
    {
        **{stage: partial(_stage, stage) for stage in STAGES},
        "migrate": lambda pipeline: migrate(pipeline.warehouse),
        "run": lambda pipeline: list(run_once(pipeline)),
        "replay": lambda pipeline: list(replay(pipeline)),
        "release": _release,
        "heartbeat": _write_heartbeat,
    }
)
"""Commands that a child process can run, by name."""


def _reopened(url: str, environment: dict[str, str]) -> S3Store:
    os.environ.update(environment)
    return S3Store(url)


def _as_opened(store: S3Store) -> tuple[Callable[..., S3Store], tuple[Any, ...]]:
    """Pickle an S3 store as its URL and the environment variables of AWS."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return _reopened, (store.url, variables)


copyreg.pickle(S3Store, _as_opened)
copyreg.pickle(
    LogReader,
    lambda one: (LogReader, (one.dsn, one.slot, one.publication, one.quiet_seconds)),
)
copyreg.pickle(Dsn, lambda dsn: (Dsn, (dsn.reveal(),)))  # of temporary servers

type Command = str | Callable[[Pipeline], object]
"""One of COMMANDS, or a function that a child process can import."""

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    ["faults", "totes.lakehouse.publish", "totes.source.capture", "totes.stages.transform.build"]
)
"""A child is a fork of a process that has only imported these modules."""

LONGEST_SECONDS = 600
"""Timeout of a child process."""


def killed_at(pipeline: Pipeline, command: Command, name: str, nth: int = 1) -> bool:
    """Run `command` in a process that is killed when it reaches failpoint `name` the n-th time.

    Return whether it was killed; False means that it completed.
    """
    return killed_at_any(pipeline, command, {name: nth}) is not None


def killed_at_any(pipeline: Pipeline, command: Command, armed: Mapping[str, int]) -> str | None:
    """Run `command` with several failpoints, each with its n; return the first one reached."""
    reading, writing = _PROCESSES.Pipe(duplex=False)
    child = _start(pipeline, command, armed=armed, reached=writing)
    writing.close()
    code = _end(child)
    name = None
    with suppress(EOFError):  # it reached none
        name = str(reading.recv())
    expected = -signal.SIGKILL if name else 0
    assert code == expected, f"{command} ended with {code} instead of {expected} at {name}"
    return name


def run_concurrently(pipeline: Pipeline, commands: Sequence[str]) -> list[int]:
    """Run commands at the same time, each in a process of its own; return their exit codes."""
    gate = _PROCESSES.Barrier(len(commands))
    children = [_start(pipeline, command, gate=gate) for command in commands]
    return [_end(child) for child in children]


def _start(pipeline: Pipeline, command: Command, **options: Any) -> BaseProcess:
    child = _PROCESSES.Process(target=_work, args=(pipeline, command), kwargs=options, daemon=True)
    child.start()
    return child


def _end(child: BaseProcess) -> int:
    child.join(LONGEST_SECONDS)
    if child.exitcode is None:
        child.kill()
        child.join()
        raise AssertionError(f"The process did not end within {LONGEST_SECONDS} s.")
    return child.exitcode


def _work(
    pipeline: Pipeline,
    command: Command,
    *,
    armed: Mapping[str, int] = MappingProxyType({}),
    reached: Any = None,
    gate: Any = None,
) -> None:
    def kill(name: str) -> None:
        reached.send(name)
        os.kill(os.getpid(), signal.SIGKILL)

    for name, nth in armed.items():
        failpoint.actions[name] = on_nth_call(nth, partial(kill, name))
    if gate:
        gate.wait(LONGEST_SECONDS)
    try:
        (COMMANDS[command] if isinstance(command, str) else command)(pipeline)
    except TotesError as error:
        print(f"{command}: {error}", file=sys.stderr)  # noqa: T201  pytest shows it
        sys.exit(error.exit_code)


def on_nth_call(nth: int, action: Callable[[], None]) -> Callable[[], None]:
    """Return a failpoint's action that runs only the n-th time that it is reached."""
    count = 0
    counting = Lock()

    def act() -> None:
        nonlocal count
        with counting:
            count += 1
            now = count == nth
        if now:
            action()

    return act


# --- connections that are cut --------------------------------------------------------------------


def terminate(admin: Dsn, application: str) -> int:
    """Terminate the sessions of an application in a database; return how many there were.

    `totes ingest` connects to the source, `totes` to the warehouse.
    """
    with psycopg.connect(admin.reveal(), autocommit=True) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = %s"
            " AND pid <> pg_backend_pid()",
            [application],
        )
        return len(ended.fetchall())


COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""The complete message, as other statements contain the word."""

_CHUNK_BYTES = 1 << 16


@dataclass
class Cut:
    """Cuts a connection once: when `message` is sent, or after `received_bytes` from the server.

    With `answered` the server executes the message, and only its response is lost.
    """

    message: bytes | None = None
    answered: bool = False
    received_bytes: int | None = None


@dataclass
class Proxy:
    """A TCP proxy of a server's socket that cuts connections; a context manager."""

    server: Dsn
    cut: Cut | None = None
    cuts: int = 0
    _sockets: list[socket.socket] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._sockets:
            end.close()

    def through(self, dsn: Dsn) -> Dsn:
        """Return the DSN of the same database through the proxy."""
        port = str(self._listener.getsockname()[1])
        return dsn.replace(host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")

    def _accept(self) -> None:
        with suppress(OSError):  # closed at the end
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        parts = self.server.parts
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sockets += [client, server]
        with client, server, suppress(OSError):
            server.connect(f"{parts['host']}/.s.PGSQL.{parts['port']}")
            self._forward(client, server)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        received_bytes = 0
        with selectors.DefaultSelector() as ready:
            for end, other in ((client, server), (server, client)):
                ready.register(end, selectors.EVENT_READ, other)
            while True:
                for key, _ in ready.select():
                    from_server = key.fileobj is server
                    data = (server if from_server else client).recv(_CHUNK_BYTES)
                    if from_server:
                        received_bytes += len(data)
                        ended = self._is_limit(received_bytes)
                    else:
                        ended = self._is_message(data, server)
                    if ended or not data:
                        return
                    key.data.sendall(data)

    def _is_limit(self, received_bytes: int) -> bool:
        cut = self.cut
        if cut is None or cut.received_bytes is None or received_bytes < cut.received_bytes:
            return False
        return self._record_cut()

    def _is_message(self, data: bytes, server: socket.socket) -> bool:
        cut = self.cut
        if cut is None or cut.message is None or cut.message not in data:
            return False
        if cut.answered:
            server.sendall(data)
            server.recv(_CHUNK_BYTES)
        return self._record_cut()

    def _record_cut(self) -> bool:
        with self._lock:
            self.cut = None
            self.cuts += 1
        return True


def restart(server: EmbeddedServer, mode: str) -> None:
    """Restart a server: mode `fast` ends all sessions first, `immediate` is a crash."""
    server.run(
        "pg_ctl",
        "restart",
        "--wait",
        f"--mode={mode}",
        f"--pgdata={server.data}",
        f"--log={server.log}",
    )
