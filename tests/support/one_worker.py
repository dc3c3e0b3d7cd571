"""Work stealing over the workers of pytest-xdist that keeps a group of tests together.

One deployment serves all tests of tests/aws/deployment, and each worker would make its own.
"""

from typing import TYPE_CHECKING

from xdist.scheduler import WorkStealingScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

GROUP = "tests/aws/deployment/"
"""Prefix of the ids of the tests that one worker must run, which are adjacent in the order."""


class GroupOnOneWorker(WorkStealingScheduling):  # type: ignore[misc]  # xdist ships no types
    """Work stealing that leaves a group of tests on the worker that got its first."""

    def check_schedule(self) -> None:
        """Distribute tests as usual, but hide the group's: they can't be stolen."""
        hidden = {
            node: [test for test in tests if self._is_in_group(test)]
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
        """Send `num` tests, and the rest of the group if that would split it."""
        while 0 < num < len(self.pending) and all(
            map(self._is_in_group, self.pending[num - 1 : num + 1])
        ):
            num += 1
        super()._send_tests(node, num)

    def _is_in_group(self, test: int) -> bool:
        return self.collection is not None and self.collection[test].startswith(GROUP)
