"""The longest tests are spread over the workers."""

import pytest

LONGEST = ("aws/deployment/", "test_history.py", "test_soak.py::test_nothing_is_lost")


def spread_longest(items: list[pytest.Item]) -> None:
    """Spread the longest tests over the list, so that each worker begins with some of them."""
    longest = [[item for item in items if name in item.nodeid] for name in LONGEST]
    others = [item for item in items if not any(name in item.nodeid for name in LONGEST)]
    total = len(items)
    items[:] = others
    for number, group in enumerate(longest):  # one place earlier would be a worker's last
        start = -(-number * total // len(longest))
        items[start:start] = group
