"""Processes killed at any failpoint: the next run continues, and loses, doubles and alters nothing.

The durable steps and the failpoints around them are found in the source code.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from checked_installation import CheckedInstallation
from depth import DEEP, sample
from faults import killed_at, killed_at_any
from installation import Installation
from s3_service import S3Service

import totes
from totes.lake import open_store
from totes.lake.s3 import PART_BYTES
from totes.stages.runner import Pipeline

pytestmark = pytest.mark.bare  # creating the warehouse's tables is one of the steps

PACKAGE = Path(totes.__file__).parent

EXCLUDED = (
    *("dashboard/", "demo/", "notifications/"),
    *("operations/check.py", "operations/erase.py"),
)
"""Code that writes no part of a batch. The dashboard only reads; `check` always writes the same.

A message of `notifications` is sent before it is recorded: after a kill it is sent again.

`erase` writes a new store, which is not used until an operator configures it, and never continues
one that was interrupted.
"""

STORING = {"put", "create", "link"}
COMMITTING = {"transaction", "commit"}

NOT_DURABLE = {
    "aws/rates.py": {"open_store(settings.ingestion).create"},  # the only step, repeated daily
    "source/scan.py": {"self._readers.put", "self._connections.put", "self._engines.put"},  # queues
    "source/resuming.py": {"self.connection.transaction"},  # the source is only read
    "source/changes.py": {"connection.transaction"},  # the source is only read
    "source/snapshot.py": {"connection.transaction"},
    "source/deletions.py": {"connection.transaction"},
    "source/reading.py": {"self.connection.transaction"},
    "source/log/slot_creation.py": {"connection.transaction"},  # a slot: in the lake before
    "postgres/session.py": {"other.transaction"},  # nothing is written in it
    "warehouse/dependents.py": {"connection.transaction"},  # rolled back, or a savepoint
    "operations/verify/__init__.py": {"warehouse.transaction"},  # read only, too
    "warehouse/merge.py": {"self.connection.transaction"},  # a savepoint
    "lake/s3.py": {"self.create"},  # has failpoints of its own
    "lakehouse/catalogue.py": {"URL.create"},  # the address of a database
}
"""Calls with the name of a durable step that make nothing durable, by file."""

SAVEPOINTS = {"_create_reader_role"}
"""Functions whose transaction is always inside another."""


@dataclass(frozen=True)
class Step:
    """A call that makes something durable, and the failpoints before and after it."""

    where: str
    before: list[str]
    after: list[str]


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if not name.startswith(EXCLUDED):
            yield name, ast.parse(path.read_text())


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def failpoints(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the failpoints in a piece of code, with their lines."""
    for call in calls(tree):
        if ast.unparse(call.func) == "reach":
            [argument] = call.args
            assert isinstance(argument, ast.Constant), "a failpoint's name is a literal"
            yield str(argument.value), call.lineno


def durable_steps() -> Iterator[Step]:
    for module, tree in modules():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and function.name not in SAVEPOINTS:
                yield from _durable_steps(module, function)


def _durable_steps(module: str, function: ast.FunctionDef) -> Iterator[Step]:
    points = list(failpoints(function))
    ends = {
        id(item.context_expr): (node.end_lineno or 0)
        for node in ast.walk(function)
        if isinstance(node, ast.With)
        for item in node.items
    }
    for call in calls(function):
        if not isinstance(call.func, ast.Attribute):
            continue
        what = ast.unparse(call.func)
        if call.func.attr not in STORING | COMMITTING or what in NOT_DURABLE.get(module, ()):
            continue
        # A transaction commits at the end of its block, a file is stored where the call is.
        begins = call.lineno
        ends_at = ends.get(id(call), call.end_lineno or 0)
        yield Step(
            f"{module}:{begins} {what}",
            [name for name, line in points if line < begins or begins < line <= ends_at],
            [name for name, line in points if line > ends_at],
        )


FAILPOINTS = sorted(
    {
        name
        for _, tree in modules()
        for name, _ in failpoints(tree)
        # test_log_history, test_resumed_load, test_iceberg and the tests of Spark fail there
        if not name.startswith(("log.", "unfinished.", "iceberg.", "spark."))
    }
)


def test_every_durable_step_has_a_failpoint_before_and_after_it() -> None:
    steps = list(durable_steps())
    assert len(steps) > 12, "the durable steps are no longer found"
    assert [step.where for step in steps if not (step.before and step.after)] == []


def test_the_warehouse_is_written_in_transactions_only() -> None:
    """A statement on an autocommit connection would be a durable step that is not found above."""
    bare = [
        f"{module}:{call.lineno}"
        for module, tree in modules()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        and any(ast.unparse(call.func) == "connect" for call in calls(function))
        for call in set(calls(function)) - set(_calls_in_transactions(function))
        if _writes(call)
    ]
    assert bare == []


def _calls_in_transactions(function: ast.FunctionDef) -> Iterator[ast.Call]:
    for node in ast.walk(function):
        if isinstance(node, ast.With) and any(
            "transaction()" in ast.unparse(item.context_expr) for item in node.items
        ):
            for statement in node.body:
                yield from calls(statement)


def _writes(call: ast.Call) -> bool:
    verbs = ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "CREATE", "DROP", "ALTER", "GRANT")
    return (
        isinstance(call.func, ast.Attribute)
        and call.func.attr == "execute"
        and isinstance(call.args[0], ast.Constant)
        and str(call.args[0].value).lstrip().startswith(verbs)
    )


# --- processes are killed -------------------------------------------------------------------------


CHANGES = (
    (
        "UPDATE sales_order SET units_sold = units_sold + 1 WHERE sales_order_id % 2 = 0;"
        "UPDATE department SET department_name = department_name || '!' WHERE department_id = 1;"
        "DELETE FROM payment WHERE payment_id = 1"
    ),
    (
        "UPDATE sales_order SET unit_price = 7.25 WHERE sales_order_id <= 3;"
        "UPDATE payment SET payment_id = payment_id + 1000 WHERE payment_id = 2;"
        "INSERT INTO design (design_name, file_location, file_name, last_updated)"
        " VALUES ('New', '/', 'new.json', '2025-01-01')"
    ),
)

ROUNDS = (
    ("SELECT 'the first rows'", "run"),
    (CHANGES[0], "run"),
    ("SELECT 'no change'", "heartbeat"),
    ("SELECT 'no change'", "release"),
    ("SELECT 'no change'", "replay"),
    (CHANGES[1], "run"),
)
"""Changes of totesys, and the command that runs then; together they reach every failpoint."""

MULTIPART = {"s3.before-parts", "s3.upload-completed"}
"""Failpoints that only large files reach."""


@pytest.fixture
def bucket(
    installation: Installation, service: S3Service, monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    """The installation's pipeline with a lake in S3."""
    service.environment(monkeypatch)
    url = f"s3://{service.new_bucket()}"
    ingestion, processed = open_store(f"{url}/ingestion"), open_store(f"{url}/processed")
    return replace(installation.pipeline, ingestion=ingestion, processed=processed)


def drawn_failpoints(place: str, nth: int) -> set[str]:
    """Return failpoints of a lake's kind: one or two of each stage, or all when DEEP."""
    names = [name for name in FAILPOINTS if name.startswith("s3.") == (place == "s3")]
    stages = groupby(sorted({*names} - MULTIPART), key=lambda name: name.partition(".")[0])
    return {
        name
        for stage, of_stage in stages
        for points in (list(of_stage),)
        for name in sample(1 + len(points) // 8, points, f"killed {place} {nth} {stage}")
    }


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("place", "nth"), [("folder", 1), *sample(1, [("folder", 4), ("s3", 1)], "killed")]
)
def test_a_run_killed_at_any_failpoint_is_continued_without_loss(
    request: pytest.FixtureRequest, installation: Installation, place: str, nth: int
) -> None:
    """Each process is killed at the first failpoint that has not killed one in this round."""
    pipeline = request.getfixturevalue("bucket") if place == "s3" else installation.pipeline
    names = drawn_failpoints(place, nth)
    journey = CheckedInstallation(installation.add_orders(6), pipeline)
    killed: list[str] = []
    for change, command in ROUNDS:
        installation.change(change)
        armed = dict.fromkeys(names, nth)
        while name := killed_at_any(pipeline, command, armed):
            killed.append(name)
            print(command, "killed at", name)  # noqa: T201  pytest shows it when it fails
            del armed[name]
        journey.record_batches()
    journey.assert_correct()
    if nth == 1:
        assert set(killed) == names, "no command reaches some of the failpoints"
    assert len(killed) > (10 if DEEP else 2)


def put_large(pipeline: Pipeline) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "large")
        path.write_bytes(LARGE)
        pipeline.ingestion.put("large/1", path)


LARGE = bytes(range(256)) * ((PART_BYTES + 256) // 256)


@pytest.mark.few(1)
@pytest.mark.parametrize("name", sorted(MULTIPART))
def test_a_killed_multipart_upload_leaves_a_complete_file_or_none(
    bucket: Pipeline, name: str
) -> None:
    assert killed_at(bucket, put_large, name)
    if not bucket.ingestion.exists("large/1"):
        put_large(bucket)
    assert bucket.ingestion.get("large/1") == LARGE
