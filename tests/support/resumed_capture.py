"""Captures of large tables that are killed at a failpoint, in very small pieces."""

import pytest
from faults import on_nth_call
from scratch_source import ScratchSource

from totes import failpoint
from totes.source import splitting
from totes.stages.ingest import AcceptOptions

ACCEPT_DELETES = AcceptOptions(deletes=True)

FAILPOINTS = (
    *("unfinished.before-attempt", "unfinished.attempt-stored"),
    *("unfinished.before-piece", "unfinished.piece-stored"),
    *("ingest.before-file", "ingest.file-stored", "ingest.captured", "ingest.before-manifest"),
)


class Killed(BaseException):
    """The process is killed at a failpoint."""


def use_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read two blocks with a statement, and four in a piece."""
    monkeypatch.setattr(splitting, "_RANGE_BYTES", 16 << 10)
    monkeypatch.setattr(splitting, "_RANGES_PER_PIECE", 2)


def capture_killed(
    source: ScratchSource, name: str, nth: int, accept: AcceptOptions = ACCEPT_DELETES
) -> bool:
    """Capture until failpoint `name` is reached the n-th time; return whether it was."""

    def kill() -> None:
        raise Killed

    failpoint.actions[name] = on_nth_call(nth, kill)
    try:
        source.capture(accept)
    except Killed:
        return True
    finally:
        del failpoint.actions[name]
    return False
