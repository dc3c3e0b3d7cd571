"""Run a command in a pseudo-terminal and return the text on its screen."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Thread

_SEQUENCE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])")


@dataclass(frozen=True)
class ScreenOutput:
    """A command's exit code and all that it wrote to its terminal."""

    exit_code: int
    written: str

    @property
    def lines(self) -> list[str]:
        """The text on the screen at the end, down to the cursor's line, without colours."""
        return _lines(self.written)


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    columns: int = 80,
    rows: int = 24,
    meanwhile: Callable[[Callable[[bytes], object]], object] = lambda _type: None,
) -> ScreenOutput:
    r"""Run a command in a terminal of that size.

    `meanwhile` is called in a thread with a function that types keys: b"\x03" is Ctrl-C.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    inherited = {k: v for k, v in environment.items() if k not in {"COLUMNS", "LINES"}}
    with subprocess.Popen(
        command,
        env={"TERM": "xterm-256color", **inherited},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    ) as process:
        os.close(follower)
        typist = Thread(target=meanwhile, args=[partial(os.write, leader)])
        typist.start()
        written = b""
        while chunk := _read(leader):
            written += chunk
        typist.join()
    os.close(leader)
    return ScreenOutput(process.returncode, written.decode(errors="replace"))


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65_536)
    except OSError:  # Linux raises it when the other end is closed
        return b""


def _lines(written: str) -> list[str]:
    lines, row, column, position = [""], 0, 0, 0
    while position < len(written):
        if found := _SEQUENCE.match(written, position):
            position = found.end()
            match found[2]:
                case "A":
                    row = max(row - int(found[1] or 1), 0)
                case "K":
                    lines[row] = "" if found[1] == "2" else lines[row][:column]
            continue
        character, position = written[position], position + 1
        if character == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif character == "\r":
            column = 0
        else:
            lines[row] = lines[row].ljust(column)
            lines[row] = lines[row][:column] + character + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines[: row + 1]]
