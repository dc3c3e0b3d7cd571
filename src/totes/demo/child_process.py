"""`totes` as a child process that ends with its parent: `python -m totes.demo.child_process …`.

Its standard input is a pipe whose other end only the parent holds. When the parent ends, even by
SIGKILL, the operating system closes that end, and this process sends itself SIGTERM.
"""

import os
import runpy
import signal
import sys
from threading import Thread


def _terminate_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    Thread(target=_terminate_with_parent, daemon=True).start()
    runpy.run_module("totes", run_name="__main__")
