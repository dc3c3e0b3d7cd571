"""Named places between steps, where tests make something happen."""

from collections.abc import Callable

actions: dict[str, Callable[[], None]] = {}
"""What to do at a failpoint, by its name; empty outside tests."""


def reach(name: str) -> None:
    """Say that the program is at failpoint `name`."""
    if action := actions.get(name):
        action()
