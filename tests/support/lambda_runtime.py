"""AWS Lambda's Runtime API: runs a function's files with AWS's own runtime, as Lambda does.

Lambda starts a process that requests work over HTTP (`/2018-06-01/runtime/invocation/next`) and
posts its response there. The process is AWS's runtime for Python (awslambdaric); this module is the
server.
"""

import importlib.metadata
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

RUNTIME = ("awslambdaric", "simplejson", "snapshot-restore-py")
"""The packages in the folder of Lambda's runtime, beside the function's own files."""

START = """
import sys
task, runtime, handler = sys.argv[1:]
sys.path[:0] = [task]
sys.path.append(runtime)
from awslambdaric.__main__ import main
main(["bootstrap", handler])
"""
"""The process sees Python's standard library, but no package of this environment."""


@dataclass(frozen=True)
class Function:
    """A function's configuration; `task` is the folder that its zip is unpacked in."""

    name: str
    arn: str
    handler: str
    task: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 900
    memory_mb: int = 1024


@dataclass(frozen=True)
class Response:
    """The result of an invocation: the function's `value`, or Lambda's description of its error."""

    value: Any
    error: Mapping[str, Any] | None
    log: tuple[str, ...]
    seconds: float


def runtime_folder(folder: Path) -> Path:
    """Copy AWS's runtime from this environment into a folder of its own, and return that."""
    for distribution in map(importlib.metadata.distribution, RUNTIME):
        for file in distribution.files or ():
            source = Path(str(file.locate()))
            if ".." not in file.parts and source.suffix != ".pyc":
                (folder / file.parent).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, folder / file)
    return folder


class Sandbox:
    """One process of a function, for one invocation at a time; a context manager.

    The first invocation starts the process and later ones reuse it. It is killed if it passes its
    deadline; the next invocation then starts another one.
    """

    def __init__(self, function: Function, runtime: Path, folder: Path) -> None:
        """`runtime` is runtime_folder()'s; `folder` takes the log and the function's /tmp.

        The working directory is the function's files, as on Lambda.
        """
        self.function = function
        self.starts: list[float] = []
        """Seconds of each start, until the process requests work."""
        self._runtime = runtime
        self._log = folder / "log"
        self._temporary = folder / "tmp"
        self._temporary.mkdir(parents=True)
        self._log.touch()
        self._server = _Server(function)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._server.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._server.close()

    def invoke(self, event: Any) -> Response:
        """Call the function with an event and wait for its response, or its exit."""
        log_start = self._log.stat().st_size
        began = time.monotonic()
        process = self._running()
        invocation = self._server.enqueue(event)
        outcome = self._await(process, invocation)
        if outcome.fatal:
            self.stop()
        with self._log.open("rb") as log:
            log.seek(log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return Response(outcome.value, outcome.error, tuple(lines), time.monotonic() - began)

    def stop(self) -> None:
        """Kill the process, as Lambda may; the next invocation is a cold start."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._server.reset()
        began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", "-B", "-c", START),
                    *(self.function.task, self._runtime, self.function.handler),
                ],
                cwd=self.function.task,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C must not end it before its callers
            )
        while not self._server.ready.wait(0.02) and self._process.poll() is None:
            pass
        self.starts.append(time.monotonic() - began)
        return self._process

    def _await(self, process: subprocess.Popen[bytes], invocation: "_Invocation") -> "_Outcome":
        while True:
            try:
                return invocation.outcome.get(timeout=0.05)
            except queue.Empty:
                if time.time() >= invocation.deadline:
                    return _Outcome.failed(
                        "Sandbox.Timedout",
                        f"{invocation.number} Task timed out after "
                        f"{self.function.timeout_seconds:.2f} seconds",
                    )
                if process.poll() is None:
                    continue
            if self._server.init_error is not None:
                return _Outcome(None, self._server.init_error, fatal=True)
            return _Outcome.failed("Runtime.ExitError", f"exit status {process.returncode}")

    def _environment(self) -> dict[str, str]:
        """Return Lambda's own variables and the function's."""
        function = self.function
        return {
            "PATH": os.defpath,
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "TMPDIR": str(self._temporary),  # Lambda has a /tmp for each sandbox
            "LAMBDA_TASK_ROOT": str(function.task),
            "LAMBDA_RUNTIME_DIR": str(self._runtime),
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python3.{sys.version_info.minor}",
            "AWS_LAMBDA_RUNTIME_API": self._server.address,
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"[$LATEST]{uuid.uuid4().hex}",
            "_HANDLER": function.handler,
            **function.environment,
        }


@dataclass(frozen=True)
class _Outcome:
    value: Any
    error: Mapping[str, Any] | None
    fatal: bool = False
    """Whether the process can't be used again."""

    @classmethod
    def failed(cls, kind: str, message: str) -> Self:
        return cls(None, {"errorType": kind, "errorMessage": message}, fatal=True)


@dataclass(frozen=True)
class _Invocation:
    number: str
    event: bytes
    deadline: float
    outcome: "queue.Queue[_Outcome]" = field(default_factory=queue.Queue)


class _Server(ThreadingHTTPServer):
    """The Runtime API of one function."""

    daemon_threads = True

    def __init__(self, function: Function) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.thread = threading.Thread(target=self.serve_forever, args=[0.02], daemon=True)
        self.function = function
        self.reset()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def reset(self) -> None:
        """Forget the process that ended, and its invocations."""
        self.ready = threading.Event()
        self.init_error: Mapping[str, Any] | None = None
        self.waiting: queue.Queue[_Invocation] = queue.Queue()
        self.active: dict[str, _Invocation] = {}

    def enqueue(self, event: Any) -> _Invocation:
        deadline = time.time() + self.function.timeout_seconds
        invocation = _Invocation(str(uuid.uuid4()), json.dumps(event).encode(), deadline)
        self.active[invocation.number] = invocation
        self.waiting.put(invocation)
        return invocation

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore broken connections of killed processes."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the headers wait 40 ms for the body's acknowledgement

    def do_GET(self) -> None:
        if self.path != f"{_API}/invocation/next":
            self._respond(HTTPStatus.NOT_FOUND)
            return
        self.server.ready.set()
        invocation = self.server.waiting.get()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.number,
            "Lambda-Runtime-Deadline-Ms": str(int(invocation.deadline * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": self.server.function.arn,
        }
        self._respond(HTTPStatus.OK, invocation.event, headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match self.path.removeprefix(_API).split("/")[1:]:
            case ["init", "error"]:
                self.server.init_error = json.loads(body)
            case ["invocation", number, "response"] if number in self.server.active:
                self._finish(number, _Outcome(json.loads(body), None))
            case ["invocation", number, "error"] if number in self.server.active:
                self._finish(number, _Outcome(None, json.loads(body)))
            case _:
                self._respond(HTTPStatus.NOT_FOUND)
                return
        self._respond(HTTPStatus.ACCEPTED, b'{"status":"OK"}')

    def _finish(self, number: str, outcome: _Outcome) -> None:
        self.server.active.pop(number).outcome.put(outcome)

    def _respond(
        self, status: HTTPStatus, body: bytes = b"{}", headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None: ...  # noqa: A002


_API = "/2018-06-01/runtime"
