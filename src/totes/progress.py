"""Progress of long operations: stages report it, the command line shows it."""

from typing import Protocol, override


class Progress(Protocol):
    """Receives what a stage does and how many rows it has processed."""

    def start(self, what: str, total: int | None = None, batch: int | None = None) -> None:
        """Begin a new operation `what`, of `total` rows and for `batch` if these are known."""
        ...

    def advance(self, rows: int) -> None:
        """Add `rows` to the processed rows of the current operation."""
        ...


class NoProgress(Progress):
    """Discards all progress."""

    @override
    def start(self, what: str, total: int | None = None, batch: int | None = None) -> None: ...

    @override
    def advance(self, rows: int) -> None: ...


NO_PROGRESS: Progress = NoProgress()
