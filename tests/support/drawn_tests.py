"""Which of the collected tests run, and in which order."""

import re
from pathlib import Path

import depth
import pytest

GUARANTEES = Path(__file__).parents[2] / "docs" / "guarantees.md"

LONGEST = ("aws/deployment/", "test_history.py", "test_soak.py::test_nothing_is_lost")


def draw(items: list[pytest.Item]) -> list[pytest.Item]:
    """Of a test or module marked `few(n)`, keep n cases that the run's seed draws; all when DEEP.

    The cases of a module are drawn from those that were drawn of its tests, without the tests that
    docs/guarantees.md names, which always run. Removes the others from `items`, and returns them.
    """
    named = set(re.findall(r"test_\w+\.py::(test_\w+)", GUARANTEES.read_text()))
    left_out: set[pytest.Item] = set()
    for of_module in (False, True):
        drawn: dict[tuple[str, int], list[pytest.Item]] = {}
        for item in items:
            if item in left_out or (of_module and item.name.partition("[")[0] in named):
                continue
            for node, marker in item.iter_markers_with_node("few"):
                if isinstance(node, pytest.Module) is of_module:
                    name = node.nodeid.partition("[")[0]
                    drawn.setdefault((name, marker.args[0]), []).append(item)
        for (name, few), cases in drawn.items():
            left_out |= {*cases} - {*depth.sample(min(few, len(cases)), cases, name)}
    items[:] = [item for item in items if item not in left_out]
    return list(left_out)


def spread_longest(items: list[pytest.Item]) -> None:
    """Spread the longest tests over the list, so that each worker begins with some of them."""
    longest = [[item for item in items if name in item.nodeid] for name in LONGEST]
    others = [item for item in items if not any(name in item.nodeid for name in LONGEST)]
    total = len(items)
    items[:] = others
    for number, group in enumerate(longest):  # one place earlier would be a worker's last
        start = -(-number * total // len(longest))
        items[start:start] = group
