"""The errors a person may see, each with the exit code of the part that failed.

TotesError
 ├─ UsageError      2  wrong usage or settings
 ├─ SourceError     3  totesys: not readable, or not the database of last time
 │   └─ SourceAway     not reachable, or locked just now
 ├─ LakeError       4  a store: unreachable, not writable, an object missing, damaged or too new
 │   ├─ ObjectMissing
 │   └─ LakeAway       busy just now
 ├─ WarehouseError  5  the warehouse: refuses, or is not as the contract says
 │   ├─ WarehouseAway  not reachable just now
 │   │   └─ WarehouseLocked   another session holds its tables
 │   └─ WarehouseOutdated  has not had all migrations
 └─ ModelError      6  a star model or the contract
     └─ OutOfMemory     a batch needs more memory than TOTES_MEMORY allows

What is away may come back by itself; `totes.policy` says what is done about each kind.

A message is one sentence or two: what happened, where (table, key, batch), what to do next.
"""

BUG = 70
"""Exit code of any other error, which is unexpected."""


class TotesError(Exception):
    """One plain message for a person."""

    exit_code = 1


class UsageError(TotesError):
    """Settings or arguments that can't be meant."""

    exit_code = 2


class SourceError(TotesError):
    """The source can't be read, or is not what it was."""

    exit_code = 3


class SourceAway(SourceError):
    """The source can't be read just now."""


class LakeError(TotesError):
    """A store can't be used, or holds something that is not what its manifest says."""

    exit_code = 4


class ObjectMissing(LakeError):
    """No object has this key."""


class LakeAway(LakeError):
    """A store can't be used just now."""


class WarehouseError(TotesError):
    """The warehouse can't be used, or is not as the contract says."""

    exit_code = 5


class WarehouseAway(WarehouseError):
    """The warehouse can't be used just now."""


class WarehouseLocked(WarehouseAway):
    """Another session holds the warehouse's tables: it is being rebuilt, as a rule."""


class WarehouseOutdated(WarehouseError):
    """The warehouse has not had all of this program's migrations."""


class ModelError(TotesError):
    """A star model can't run, or breaks the contract as a whole."""

    exit_code = 6


class OutOfMemory(ModelError):
    """A batch needs more memory than TOTES_MEMORY allows, whatever is written to disk."""
