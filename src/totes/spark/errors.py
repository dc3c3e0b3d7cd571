"""Spark's errors as one line without values: of the model, of a stored file, or of Spark itself."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote

from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException

from totes.errors import LakeError, ModelError, SparkError

_MISSING_FILE = "42K03"
"""The SQLSTATE of a path that does not exist."""

_OF_MODEL = re.compile(r"0A|21|22|42(?!K0[34])|P0")
"""Beginnings of the SQLSTATEs of errors that a query, its values or raise_error() cause.

42K03 and 42K04 are about paths.
"""

_OF_VALUES = "22"
"""The beginning of the SQLSTATEs of errors whose messages contain values."""

_UNREADABLE_FILE = re.compile(r"\[FAILED_READ_FILE.*? reading file (\S+?)\.?(\s|$)")
"""Spark's message about a file, which names it."""

_FAILURES = {
    "No space left on device": "a disk is full: free the folder of temporary files",
    "OutOfMemoryError|Java heap space|exit(ed|) code 137|GC overhead": "it ran out of memory: "
    "increase TOTES_MEMORY on this machine, or the memory of its executors on a cluster",
    "ExecutorLostFailure|executor .*(lost|exited)|FetchFailed": "it lost executors: run it again, "
    "and look into its log if it fails again",
}
"""What a person can do about the failures that big data causes, by a pattern of their messages."""

_JAVA_ENDED = re.compile("Error while sending or receiving|Connection refused|Java side is empty")
"""Messages about the connection to Java, if no exception of Java caused them."""


@dataclass(frozen=True)
class _Cause:
    """An exception: its message's first line; condition and SQLSTATE if it is one of Spark."""

    message: str
    condition: str = ""
    state: str = ""
    fragment: str = ""
    """The part of the SQL that failed."""

    @property
    def without_values(self) -> str:
        if not self.state.startswith(_OF_VALUES):
            return re.sub(r" *SQLSTATE: .*", "", self.message).rstrip(".")
        return f"{self.condition} in {self.fragment}" if self.fragment else self.condition


@contextmanager
def convert_errors(action: str) -> Iterator[None]:
    """Convert Spark's errors during an action, such as "compute model dim_date".

    Raises ModelError for what a query or its values cause, LakeError for a file that Spark can't
    read, and else SparkError.
    """
    try:
        yield
    except (PySparkException, Py4JError, ConnectionError) as error:
        raise _convert(action, error) from error


def _convert(action: str, error: Exception) -> LakeError | ModelError | SparkError:
    causes, failure = _find_causes(error), f"Spark can't {action}"
    messages = [cause.message for cause in causes]
    of_values = (cause for cause in causes if cause.state.startswith(_OF_VALUES))
    reason = next(of_values, causes[-1]).without_values
    if read := next(filter(None, map(_UNREADABLE_FILE.search, messages)), None):
        return LakeError(
            f"{failure}: {unquote(read[1])} can't be read ({reason}). Restore it from a backup if "
            "it is damaged."
        )
    states = [cause.state for cause in causes]
    if _MISSING_FILE in states:
        return LakeError(f"{failure}: {reason}. Restore it from a backup.")
    if any(map(_OF_MODEL.match, states)):
        return ModelError(f"{failure}: {reason}.")
    if _java_exception(error) is None and _JAVA_ENDED.search(messages[0]):
        return SparkError(
            f"{failure}: its Java process has ended, perhaps for lack of memory: increase "
            "TOTES_MEMORY, and run it again."
        )
    for pattern, advice in _FAILURES.items():
        if any(map(partial(re.search, pattern), messages)):
            return SparkError(f"{failure}: {advice}.")
    return SparkError(f"{failure}: {reason}. See Spark's log.")


def _java_exception(error: Exception) -> Any:
    return getattr(error, "java_exception", None) or getattr(error, "_origin", None)


def _find_causes(error: Exception) -> list[_Cause]:
    """Return an error of Spark and its causes, the outermost first."""
    java = _java_exception(error)
    if java is None:
        return [_Cause(_first_line(str(error)) or type(error).__name__)]
    causes = []
    while java is not None:
        causes.append(_describe(java))
        java = java.getCause()
    return causes


def _describe(java: Any) -> _Cause:
    message = _first_line(java.getMessage() or java.toString())
    try:
        condition, state = java.getCondition(), java.getSqlState()
        contexts = java.getQueryContext()
    except Py4JError:  # not an exception of Spark's own
        return _Cause(message)
    fragment = _first_line(contexts[0].fragment()) if contexts else ""
    return _Cause(message, condition or "", state or "", fragment)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
