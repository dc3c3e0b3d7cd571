"""Progress of long work, as the stages tell it and the command line shows it."""

from typing import Protocol, override


class Progress(Protocol):
    """Told by a stage: what it does now, and how far it got."""

    def start(self, what: str, total: int | None = None, batch: int | None = None) -> None:
        """A new piece of work begins, of `total` rows and for `batch` where known."""
        ...

    def advance(self, rows: int) -> None:
        """So many more rows of the current piece of work are done."""
        ...


class Quiet(Progress):
    """Progress that nobody watches."""

    @override
    def start(self, what: str, total: int | None = None, batch: int | None = None) -> None: ...

    @override
    def advance(self, rows: int) -> None: ...


QUIET: Progress = Quiet()
