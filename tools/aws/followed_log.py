"""What is common to programs that run a command of totes on AWS and show its log until its end."""

import sys
from collections.abc import Callable, Iterable, Sequence

from botocore.config import Config

from totes.aws_client import AWS_ERRORS, describe
from totes.errors import UsageError

CLIENT_CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 10})
"""A task or job may take hours, in which the network fails for a while."""

NOT_STARTED = 1
INTERRUPTED = 130


class RunFailed(Exception):
    """A task or job that could not start, or did not succeed."""


def follow[Ending](
    find_ending: Callable[[], Ending | None],
    new_lines: Callable[[], Iterable[str]],
    pause: Callable[[], object],
    commands_to_continue: str,
) -> Ending | None:
    """Print the log of what runs, until `find_ending` returns how it has ended; None after Ctrl-C.

    commands_to_continue: what a person can do when this program no longer follows it.
    """
    try:
        while True:
            try:
                ending = find_ending()
            finally:
                _print_all(new_lines())
            pause()
            if ending is not None:
                _print_all(new_lines())  # the last ones arrive late
                return ending
    except KeyboardInterrupt:
        print_notice(commands_to_continue)
        return None
    except AWS_ERRORS as error:
        raise RunFailed(f"{describe(error)}\n{commands_to_continue}") from None


def run_program(name: str, example: str, run: Callable[[Sequence[str]], int]) -> int:
    """Run the command in this program's arguments, and return the exit code.

    name: the target of make, which begins each message. example: a command of totes.
    """
    command = sys.argv[1:]
    if not command:
        print_notice(f"{name}: give a command of totes, such as `{example}`")
        return NOT_STARTED
    try:
        return run(command)
    except (RunFailed, UsageError) as failed:
        print_notice(f"{name}: {failed}")
    except AWS_ERRORS as error:
        print_notice(f"{name}: {describe(error)}")
    return NOT_STARTED


def print_notice(line: str) -> None:
    """Print a line that is not of the log."""
    print(line, file=sys.stderr, flush=True)


def _print_all(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)
