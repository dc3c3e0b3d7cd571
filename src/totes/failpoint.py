"""Fail points: named places between steps, where tests run an action such as a crash."""

from collections.abc import Callable

actions: dict[str, Callable[[], None]] = {}
"""The action of each fail point, by name; empty outside tests."""


def reach(name: str) -> None:
    """Run the action of the fail point `name`, if there is one."""
    if action := actions.get(name):
        action()
