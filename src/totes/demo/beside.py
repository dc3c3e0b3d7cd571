"""`totes`, as a process that ends with the one that started it: `python -m totes.demo.beside …`.

Its standard input is a pipe of which the other end is the starter's alone. Whatever becomes of the
starter, SIGKILL too, the system closes that end, on every system; then this one gets SIGTERM.
"""

import os
import runpy
import signal
import sys
from threading import Thread


def _end_with_the_starter() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    Thread(target=_end_with_the_starter, daemon=True).start()
    runpy.run_module("totes", run_name="__main__")
