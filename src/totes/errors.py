"""The errors shown to users, each with the exit code of the part that failed.

TotesError
 ├─ UsageError      2  wrong usage or settings
 ├─ SourceError     3  the source: not readable, or not the database of the last batch
 │   └─ SourceUnavailable     unreachable or locked, temporarily
 │       ├─ LogBehind         its write-ahead log does not reach the snapshot yet
 │       └─ LogUnreadable     its write-ahead log can't be decoded
 ├─ LakeError       4  a store: unreachable or not writable; an object missing, damaged or too new
 │   ├─ ObjectMissing
 │   └─ LakeUnavailable       busy, temporarily
 ├─ WarehouseError  5  the warehouse: rejects a statement, or differs from the contract
 │   ├─ WarehouseUnavailable  unreachable, temporarily
 │   │   └─ WarehouseLocked   another session locks its tables
 │   └─ WarehouseOutdated  lacks a migration
 ├─ ModelError      6  a star model or the contract
 │   └─ OutOfMemory     a batch needs more memory than TOTES_MEMORY allows
 ├─ DeliveryError   7  a mail server or SNS topic does not accept a report
 ├─ IcebergError    8  the Iceberg tables: not usable, or not those of this lake and star
 │   └─ IcebergBusy     changed by another process, or the catalogue is temporarily unreachable
 └─ SparkError      9  Spark: lost executors, a full disk, too little memory

`totes.error_policy` defines for each class whether a command retries, and when an alert is sent.

A message is one sentence or two: what happened, where (table, key, batch), what to do next.
"""

UNEXPECTED_ERROR_EXIT_CODE = 70
"""Exit code of every other exception."""


class TotesError(Exception):
    """An error whose message is shown to the user."""

    exit_code = 1


class UsageError(TotesError):
    """A setting or argument is invalid."""

    exit_code = 2


class SourceError(TotesError):
    """The source can't be read, or is not the database of the last batch."""

    exit_code = 3


class SourceUnavailable(SourceError):
    """The source is temporarily unreachable or locked."""


class LogBehind(SourceUnavailable):
    """The source's write-ahead log does not reach the snapshot; nothing was taken from it."""


class LogUnreadable(SourceUnavailable):
    """The source's write-ahead log can't be decoded; the next batch re-creates the slot."""


class LakeError(TotesError):
    """A store can't be used, or an object in it differs from its manifest."""

    exit_code = 4


class ObjectMissing(LakeError):
    """No object has this key."""


class LakeUnavailable(LakeError):
    """A store is temporarily busy."""


class WarehouseError(TotesError):
    """The warehouse can't be used, or differs from the contract."""

    exit_code = 5


class WarehouseUnavailable(WarehouseError):
    """The warehouse is temporarily unreachable."""


class WarehouseLocked(WarehouseUnavailable):
    """Another session locks the warehouse's tables, usually because it rebuilds them."""


class WarehouseOutdated(WarehouseError):
    """The warehouse lacks a migration of this program version."""


class ModelError(TotesError):
    """A model can't run, or its output as a whole breaks the contract."""

    exit_code = 6


class OutOfMemory(ModelError):
    """A batch needs more memory than TOTES_MEMORY allows, even when DuckDB spills to disk."""


class DeliveryError(TotesError):
    """A mail server or SNS topic does not accept a report."""

    exit_code = 7


class IcebergError(TotesError):
    """The Iceberg catalogue or its tables can't be used, or belong to another lake or star."""

    exit_code = 8


class IcebergBusy(IcebergError):
    """Another process has changed a table, or the catalogue is temporarily unreachable."""


class SparkError(TotesError):
    """Spark has failed: it lost executors, a disk is full, it has too little memory."""

    exit_code = 9
