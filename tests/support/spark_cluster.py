"""A standalone cluster of Spark on this machine: a master and workers, on loopback."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import IO, Self

import psutil

MINUTE = 60.0

LOOPBACK: Mapping[str, str] = {
    "SPARK_LOCAL_IP": "127.0.0.1",
    "SPARK_LOCAL_HOSTNAME": "127.0.0.1",
    "SPARK_NO_DAEMONIZE": "1",
    "PYSPARK_PYTHON": sys.executable,
}
"""Variables with which Spark's processes and drivers listen on loopback only."""


class NoJavaError(Exception):
    """Java, which Spark needs, is not installed."""


@contextmanager
def standalone_cluster(
    folder: Path, *, workers: int = 2, cores: int = 1, memory: str = "1g"
) -> Iterator[str]:
    """Run a master and workers, with logs and scratch files in `folder`; yield the master's URL.

    All ports are free ones. At the end of the block, all processes have ended.
    """
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        raise NoJavaError("Spark needs Java 17: install openjdk-17-jre-headless, or set JAVA_HOME.")
    with ExitStack() as stack:
        master = _Daemon(folder, "master", "org.apache.spark.deploy.master.Master", "--port", "0")
        stack.enter_context(master)
        url = master.wait_for(r"Starting Spark master at (spark://\S+)")
        started = [
            stack.enter_context(
                _Daemon(
                    folder,
                    f"worker-{number}",
                    "org.apache.spark.deploy.worker.Worker",
                    *("--cores", str(cores), "--memory", memory),
                    *("--work-dir", str(folder / f"worker-{number}"), url),
                )
            )
            for number in range(1, workers + 1)
        ]
        for worker in started:
            worker.wait_for(r"Successfully registered with master (\S+)")
        yield url


class _Daemon:
    """A process of the cluster; its log is in `folder`."""

    def __init__(self, folder: Path, name: str, main: str, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / f"{name}.log"
        self._lines: list[str] = []
        self._process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("spark-class")),
                main,
                *("--host", "127.0.0.1", "--webui-port", "0"),
                *arguments,
            ],
            env=os.environ | LOOPBACK | {"SPARK_DAEMON_MEMORY": "256m"},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process and its children: a worker's executors."""
        try:
            main = psutil.Process(self._process.pid)
            family = [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            family = []
        self._process.terminate()
        for process in psutil.wait_procs(family, timeout=MINUTE)[1]:
            process.kill()
        self._process.wait()

    def wait_for(self, pattern: str) -> str:
        """Return the first group of a pattern in the log, once it is there."""
        output = self._process.stdout
        assert output is not None
        for line in output:
            self._lines.append(line)
            if found := re.search(pattern, line):
                Thread(target=self._keep, args=(output,), daemon=True).start()
                return found[1]
        log = "".join(self._lines)
        raise RuntimeError(f"Spark's process ended with {self._process.wait()}:\n{log}")

    def _keep(self, output: IO[str]) -> None:
        """Write the log to its file until the process ends."""
        with self._log.open("w") as log:
            log.writelines(self._lines)
            for line in output:
                log.write(line)
