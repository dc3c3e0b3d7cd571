"""What goes wrong on purpose: stores that fail, processes that are killed, connections cut.

Faults are data (an operation and what happens to it), so that a table or one seed can name them.
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
from totes.config.settings import Dsn
from totes.embedded.servers import EmbeddedServer
from totes.errors import LakeError, ObjectMissing, TotesError
from totes.lake.s3 import S3Store
from totes.lake.store import Store
from totes.operations.release import release
from totes.stages import ingest
from totes.stages.replay import replay
from totes.stages.runner import STAGES, Pipeline, run_once, steps
from totes.warehouse.quarantine import refused_batches
from totes.warehouse.schema import migrate

# --- a store that fails --------------------------------------------------------------------------


class Fault(Enum):
    """What may happen to one operation of a store."""

    BEFORE = "fails and does nothing"
    AFTER = "is done, but the answer is lost"
    SLOW = "takes its time"
    STALE = "doesn't see the newest object"
    CORRUPT = "reads something else than was written"


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
"""Every operation with every fault of its: a table for parametrised tests."""

SLOW_SECONDS = 0.02


class Plan(Protocol):
    """Says what happens to the next operation."""

    def __call__(self, operation: str, key: str) -> Fault | None: ...


@dataclass
class Given:
    """`fault` happens to an operation, from its n-th call on, so many times."""

    operation: str
    fault: Fault
    nth: int = 1
    times: int = 1
    calls: int = 0

    def __call__(self, operation: str, key: str) -> Fault | None:  # noqa: ARG002  a Plan's
        if operation != self.operation:
            return None
        self.calls += 1
        return self.fault if self.nth <= self.calls < self.nth + self.times else None


@dataclass
class Drawn:
    """A share of all operations fails, with a fault that `chance` draws."""

    chance: random.Random
    share: float
    faults: Collection[Fault] = tuple(Fault)

    def __call__(self, operation: str, key: str) -> Fault | None:  # noqa: ARG002  a Plan's
        possible = [fault for fault in self.faults if operation in POSSIBLE[fault]]
        if possible and self.chance.random() < self.share:
            return self.chance.choice(possible)
        return None


class FaultyStore:
    """A Store that keeps its contract except where `plan` says otherwise."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self.store, self.plan = store, plan
        self.url = store.url
        self.happened: Counter[tuple[str, Fault]] = Counter()
        self._one_by_one = Lock()  # a stage writes in several threads; a plan is no such thing

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

    def exists(self, key: str) -> bool:
        fault = self._before("exists", key)
        return fault is not Fault.STALE and self.store.exists(key)

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        fault = self._before("list", prefix)
        keys = list(self.store.list(prefix, after))
        yield from keys[:-1] if fault is Fault.STALE else keys

    def _before(self, operation: str, key: str) -> Fault | None:
        with self._one_by_one:
            fault = self.plan(operation, key)
            if fault is not None:
                self.happened[operation, fault] += 1
        if fault is Fault.SLOW:
            time.sleep(SLOW_SECONDS)
        if fault is Fault.BEFORE:
            raise LakeError(f"{key} in {self.url}: the fault asked for, before {operation}.")
        if fault is Fault.STALE and operation in {"get", "fetch"}:
            raise ObjectMissing(f"There is no {key} in {self.url}.")
        return fault

    def _after(self, fault: Fault | None, operation: str, key: str) -> None:
        if fault is Fault.AFTER:
            raise LakeError(f"{key} in {self.url}: the fault asked for, after {operation}.")

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_one_by_one"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state, _one_by_one=Lock())


# --- processes that are killed -------------------------------------------------------------------


def _stage(stage: str, pipeline: Pipeline) -> None:
    for _ in steps(pipeline, stage):
        pass


def _beat(pipeline: Pipeline) -> None:
    """An ingest for which the next heartbeat is due."""
    ingest.HEARTBEAT_EVERY = timedelta()
    _stage("ingest", pipeline)


def _release(pipeline: Pipeline) -> None:
    """What waits in quarantine; where nothing does, the first batch, which is as good."""
    release(pipeline.ingestion, refused_batches(pipeline.warehouse) or [1])


COMMANDS: Mapping[str, Callable[[Pipeline], object]] = MappingProxyType(
    {
        **{stage: partial(_stage, stage) for stage in STAGES},
        "migrate": lambda pipeline: migrate(pipeline.warehouse),
        "run": lambda pipeline: list(run_once(pipeline)),
        "replay": lambda pipeline: list(replay(pipeline)),
        "release": _release,
        "beat": _beat,
    }
)
"""What a process may be told to do, by the name a person gives it."""


def _reopened(url: str, environment: dict[str, str]) -> S3Store:
    os.environ.update(environment)
    return S3Store(url)


def _as_opened(store: S3Store) -> tuple[Callable[..., S3Store], tuple[Any, ...]]:
    """An S3 store goes to another process as its URL, with the variables that lead there."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return _reopened, (store.url, variables)


copyreg.pickle(S3Store, _as_opened)
copyreg.pickle(Dsn, lambda dsn: (Dsn, (dsn.reveal(),)))  # of servers that the test throws away

type Command = str | Callable[[Pipeline], object]
"""One of COMMANDS, or a function of some module that a child can import."""

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    ["faults", "totes.source.capture", "totes.stages.transform.build"]
)
"""A child is a fork of a process that has imported everything, and has done nothing yet."""

LONGEST_SECONDS = 120
"""A child that lives longer hangs."""


def killed_at(pipeline: Pipeline, command: Command, name: str, nth: int = 1) -> bool:
    """Run `command` in a process that SIGKILLs itself when it comes to failpoint `name`.

    At the n-th time; False where it never came so far, and did all of its work.
    """
    return killed_among(pipeline, command, {name: nth}) is not None


def killed_among(pipeline: Pipeline, command: Command, armed: Mapping[str, int]) -> str | None:
    """The same with several failpoints, each with its n-th time: the name of the first reached."""
    reading, writing = _PROCESSES.Pipe(duplex=False)
    child = _start(pipeline, command, armed=armed, last_words=writing)
    writing.close()
    code = _end(child)
    name = None
    with suppress(EOFError):  # it had nothing to say
        name = str(reading.recv())
    expected = -signal.SIGKILL if name else 0
    assert code == expected, f"{command} ended with {code} instead of {expected} at {name}"
    return name


def together(pipeline: Pipeline, commands: Sequence[str]) -> list[int]:
    """Run all of these at the same time, each in a process of its own; their exit codes."""
    gate = _PROCESSES.Barrier(len(commands))
    children = [_start(pipeline, command, gate=gate) for command in commands]
    return [_end(child) for child in children]


def _start(pipeline: Pipeline, command: Command, **circumstances: Any) -> BaseProcess:
    child = _PROCESSES.Process(
        target=_work, args=(pipeline, command), kwargs=circumstances, daemon=True
    )
    child.start()
    return child


def _end(child: BaseProcess) -> int:
    child.join(LONGEST_SECONDS)
    if child.exitcode is None:
        child.kill()
        child.join()
        raise AssertionError(f"The process was still at work after {LONGEST_SECONDS} s.")
    return child.exitcode


def _work(
    pipeline: Pipeline,
    command: Command,
    *,
    armed: Mapping[str, int] = MappingProxyType({}),
    last_words: Any = None,
    gate: Any = None,
) -> None:
    def die(name: str) -> None:
        last_words.send(name)
        os.kill(os.getpid(), signal.SIGKILL)

    for name, nth in armed.items():
        failpoint.actions[name] = at_the(nth, partial(die, name))
    if gate:
        gate.wait(LONGEST_SECONDS)
    try:
        (COMMANDS[command] if isinstance(command, str) else command)(pipeline)
    except TotesError as error:
        print(f"{command}: {error}", file=sys.stderr)  # noqa: T201  pytest shows it
        sys.exit(error.exit_code)


def at_the(nth: int, action: Callable[[], None]) -> Callable[[], None]:
    """A failpoint's action that happens the n-th time it is reached, and only then."""
    reached = 0
    counting = Lock()

    def act() -> None:
        nonlocal reached
        with counting:
            reached += 1
            now = reached == nth
        if now:
            action()

    return act


# --- connections that are cut --------------------------------------------------------------------


def terminate(admin: Dsn, application: str) -> int:
    """Let the server end the sessions of an application in a database; how many there were.

    `totes ingest` is the source's, `totes` the warehouse's.
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
"""The whole message: other statements have the word in them."""

_CHUNK_BYTES = 1 << 16


@dataclass
class Cut:
    """Ends a connection, once: when `message` passes, or `received_bytes` have come through.

    With `answered` the message arrives and is acted upon, and only its answer is lost.
    """

    message: bytes | None = None
    answered: bool = False
    received_bytes: int | None = None


@dataclass
class Proxy:
    """A TCP port before a server's socket that cuts connections as told; use it with `with`."""

    server: Dsn
    cut: Cut | None = None
    cuts: int = 0
    _doors: list[socket.socket] = field(default_factory=list)
    _one_by_one: Lock = field(default_factory=Lock)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for door in self._doors:
            door.close()

    def through(self, dsn: Dsn) -> Dsn:
        """The same database, reached through here."""
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
        self._doors += [client, server]
        with client, server, suppress(OSError):
            server.connect(f"{parts['host']}/.s.PGSQL.{parts['port']}")
            self._pass_on(client, server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        received_bytes = 0
        with selectors.DefaultSelector() as ready:
            for door, other in ((client, server), (server, client)):
                ready.register(door, selectors.EVENT_READ, other)
            while True:
                for key, _ in ready.select():
                    from_server = key.fileobj is server
                    data = (server if from_server else client).recv(_CHUNK_BYTES)
                    if from_server:
                        received_bytes += len(data)
                        ended = self._is_enough(received_bytes)
                    else:
                        ended = self._is_awaited(data, server)
                    if ended or not data:
                        return
                    key.data.sendall(data)

    def _is_enough(self, received_bytes: int) -> bool:
        cut = self.cut
        if cut is None or cut.received_bytes is None or received_bytes < cut.received_bytes:
            return False
        return self._done()

    def _is_awaited(self, data: bytes, server: socket.socket) -> bool:
        cut = self.cut
        if cut is None or cut.message is None or cut.message not in data:
            return False
        if cut.answered:
            server.sendall(data)
            server.recv(_CHUNK_BYTES)
        return self._done()

    def _done(self) -> bool:
        with self._one_by_one:
            self.cut = None
            self.cuts += 1
        return True


def restart(server: EmbeddedServer, mode: str) -> None:
    """`fast` ends all sessions first; `immediate` is a crash, from which the server recovers."""
    server.run(
        "pg_ctl",
        "restart",
        "--wait",
        f"--mode={mode}",
        f"--pgdata={server.data}",
        f"--log={server.log}",
    )
