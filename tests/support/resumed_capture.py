"""Captures of large tables that are killed at a failpoint."""

from faults import on_nth_call
from scratch_source import ScratchSource

from totes import failpoint
from totes.stages.ingest import AcceptOptions

ACCEPT_DELETES = AcceptOptions(deletes=True)

FAILPOINTS = (
    *("unfinished.before-attempt", "unfinished.attempt-stored"),
    *("unfinished.before-piece", "unfinished.piece-stored"),
    *("ingest.before-file", "ingest.file-stored", "ingest.captured", "ingest.before-manifest"),
)


class Killed(BaseException):
    """The process is killed at a failpoint."""


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
