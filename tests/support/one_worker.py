"""Work stealing over the workers of pytest-xdist that keeps groups of tests together.

The tests of a group share what takes long to make, such as a deployment, a browser, a lake or
Spark. Each worker that runs one of them would make its own.
"""

from typing import TYPE_CHECKING

from xdist.scheduler import WorkStealingScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

GROUPS = (
    "tests/aws/deployment/",
    "tests/aws/plan/",
    "tests/e2e/test_browser",
    "tests/integration/test_dashboard",
    "tests/integration/test_replay.py",
    "tests/spark/",
)
"""Prefixes of the ids of the tests that one worker must run, which are adjacent in the order."""


class GroupsOnOneWorker(WorkStealingScheduling):  # type: ignore[misc]  # xdist ships no types
    """Work stealing that leaves a group of tests on the worker that got its first."""

    def check_schedule(self) -> None:
        """Distribute tests as usual, but hide those of groups: they can't be stolen."""
        hidden = {
            node: [test for test in tests if self._group(test)]
            for node, tests in self.node2pending.items()
        }
        for node, tests in hidden.items():
            self.node2pending[node] = [
                test for test in self.node2pending[node] if test not in tests
            ]
        super().check_schedule()
        for node, tests in hidden.items():
            self.node2pending[node] = tests + self.node2pending[node]

    def _send_tests(self, node: "WorkerController", num: int) -> None:
        """Send `num` tests, and the rest of a group that this would split."""
        while 0 < num < len(self.pending):
            last, following = map(self._group, self.pending[num - 1 : num + 1])
            if not last or last != following:
                break
            num += 1
        super()._send_tests(node, num)

    def _group(self, test: int) -> str:
        """Return the prefix of a test's group; empty if it has none."""
        if self.collection is None:
            return ""
        name = self.collection[test]
        return next((group for group in GROUPS if name.startswith(group)), "")
