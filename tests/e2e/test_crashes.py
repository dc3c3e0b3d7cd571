"""Killed anywhere, it goes on: nothing lost, nothing doubled, nothing altered.

Both lists are derived from the source: what makes something durable, and the failpoints around it.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from checked_installation import CheckedInstallation
from faults import killed_among, killed_at
from installation import Installation
from s3_service import S3Service

import totes
from totes.lake import open_store
from totes.lake.s3 import PART_BYTES
from totes.stages.runner import Pipeline

pytestmark = pytest.mark.bare  # making its tables is among the steps

PACKAGE = Path(totes.__file__).parent

NOT_THE_PLATFORM = ("dashboard/", "demo/", "operations/check.py", "operations/erase.py")
"""What these write is no part of any batch, and the dashboard only reads; `check` leaves the same
bytes whenever it runs.

`erase` writes a new store that nothing reads until its operator says so, and never goes on with one
that was interrupted.
"""

STORING = {"put", "create", "link"}
COMMITTING = {"transaction", "commit"}

HARMLESS = {
    "source/scan.py": {"self._readers.put"},  # a queue
    "source/changes.py": {"connection.transaction"},  # the source is only read
    "source/snapshot.py": {"other.transaction", "connection.transaction"},
    "source/capture.py": {"reader.connection.transaction"},
    "source/reading.py": {"self.connection.transaction"},
    "postgres/session.py": {"other.transaction"},  # nothing is written in it
    "warehouse/dependents.py": {"connection.transaction"},  # rolled back, or a savepoint
    "operations/verify/__init__.py": {"warehouse.transaction"},  # read only, too
    "warehouse/merge.py": {"self.connection.transaction"},  # a savepoint
    "lake/s3.py": {"self.create"},  # which has its own
}
"""Calls that look durable and are not, by file."""

SAVEPOINTS = {"_ensure_reader"}
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
        if not name.startswith(NOT_THE_PLATFORM):
            yield name, ast.parse(path.read_text())


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def reached(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The failpoints in a piece of code, with their lines."""
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
    points = list(reached(function))
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
        if call.func.attr not in STORING | COMMITTING or what in HARMLESS.get(module, ()):
            continue
        # A transaction commits at the end of its block, a file is stored where the call is.
        begins = call.lineno
        ends_at = ends.get(id(call), call.end_lineno or 0)
        yield Step(
            f"{module}:{begins} {what}",
            [name for name, line in points if line < begins or begins < line <= ends_at],
            [name for name, line in points if line > ends_at],
        )


FAILPOINTS = sorted({name for _, tree in modules() for name, _ in reached(tree)})


def test_before_and_after_every_durable_step_there_is_a_failpoint() -> None:
    steps = list(durable_steps())
    assert len(steps) > 12, "the durable steps are no longer found"
    assert [step.where for step in steps if not (step.before and step.after)] == []


def test_the_warehouse_is_written_in_transactions_only() -> None:
    """A statement on an autocommit connection would be a durable step that nobody counts."""
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


# --- killed there --------------------------------------------------------------------------------


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
    ("SELECT 'as it was filled'", "run"),
    (CHANGES[0], "run"),
    ("SELECT 'a quiet source'", "beat"),
    ("SELECT 'the same'", "release"),
    ("SELECT 'the same'", "replay"),
    (CHANGES[1], "run"),
)
"""What changes in totesys, and what is run then: every failpoint is reached on the way."""

IN_PARTS = {"s3.before-parts", "s3.parts-joined"}
"""Reached by large files only."""


@pytest.fixture
def bucket(
    installation: Installation, service: S3Service, monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    """The installation's pipeline with a lake in S3."""
    service.environment(monkeypatch)
    url = f"s3://{service.new_bucket()}"
    ingestion, processed = open_store(f"{url}/ingestion"), open_store(f"{url}/processed")
    return replace(installation.pipeline, ingestion=ingestion, processed=processed)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("place", "nth"), [("folder", 1), ("folder", 4), ("s3", 1)])
def test_killed_at_every_failpoint_in_turn_it_goes_on_and_the_warehouse_is_whole(
    request: pytest.FixtureRequest, installation: Installation, place: str, nth: int
) -> None:
    """Each process dies at the first failpoint at which none died yet in this round."""
    pipeline = request.getfixturevalue("bucket") if place == "s3" else installation.pipeline
    names = {name for name in FAILPOINTS if name.startswith("s3.") == (place == "s3")} - IN_PARTS
    journey = CheckedInstallation(installation.filled(6), pipeline)
    killed: list[str] = []
    for change, command in ROUNDS:
        installation.change(change)
        armed = dict.fromkeys(names, nth)
        while name := killed_among(pipeline, command, armed):
            killed.append(name)
            print(command, "killed at", name)  # noqa: T201  pytest shows it when it fails
            del armed[name]
        journey.note()
    journey.assert_whole()
    if nth == 1:
        assert set(killed) == names, "nothing that is run here comes to some failpoint"
    assert len(killed) > 10


def put_large(pipeline: Pipeline) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "large")
        path.write_bytes(LARGE)
        pipeline.ingestion.put("large/1", path)


LARGE = bytes(range(256)) * ((PART_BYTES + 256) // 256)


@pytest.mark.parametrize("name", sorted(IN_PARTS))
def test_killed_in_an_upload_in_parts_it_leaves_a_whole_file_or_none(
    bucket: Pipeline, name: str
) -> None:
    assert killed_at(bucket, put_large, name)
    if not bucket.ingestion.exists("large/1"):
        put_large(bucket)
    assert bucket.ingestion.get("large/1") == LARGE
