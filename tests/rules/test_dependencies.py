"""The allowed imports between parts of the package, which have no cycles."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

import totes

PACKAGE = Path(totes.__file__).parent
ROOMS_OF_PARTS = {"config", "stages", "operations", "dashboard"}
"""Packages whose modules are separate parts; any other package is one part."""

VALUES = {
    "sql_text",
    "errors",
    "progress",
    "failpoint",
    "error_policy",
    "duckdb_engine",
    "config.dsn",
    "config.settings",
    "postgres",
    "lake",
}
PARTS = VALUES | {"source", "star", "warehouse"}
STAGES = {"stages.ingest", "stages.transform", "stages.load"}

READING = {
    "dashboard.preferences",
    "dashboard.text",
    "dashboard.world",
    "dashboard.filters",
    "dashboard.replica",
    "dashboard.reading",
}
"""How the dashboard reads its replica for a filter."""

METRICS = READING | {"dashboard.bookkeeping", "dashboard.metrics", "dashboard.config_file"}

MAY_IMPORT: dict[str, set[str]] = {
    # values and rules, without I/O of their own
    "errors": set(),
    "progress": set(),
    "failpoint": set(),
    "escape": set(),
    "sql_text": set(),
    "error_policy": {"errors"},
    "aws_client": set(),
    "config.dsn": set(),
    "config.values": {"errors", "config.dsn"},
    "config.settings": {"errors", "config.dsn", "config.values"},
    "config.secrets": {"errors", "aws_client", "config.dsn"},
    "config.sign_in": {"errors", "config.settings", "config.secrets"},
    "duckdb_engine": {"errors", "config.settings"},
    "postgres": {"errors", "config.dsn"},
    "alert": {"aws_client"},
    # the components of the stages, which import only the lake and the star's contract
    "lake": {"errors", "aws_client", "failpoint"},
    "rates": {"errors", "lake"},
    "star": {"errors", "sql_text", "lake", "duckdb_engine"},
    "source": VALUES,
    "warehouse": VALUES | {"star"},
    "lakehouse": VALUES | {"star", "aws_client", "stages.publish"},
    # the stages, which depend on each other only through manifests
    "stages.ingest": VALUES | {"rates", "source"},
    "stages.transform": VALUES | {"star"},
    "stages.load": VALUES | {"star", "warehouse"},
    "stages.publish": {"lake", "progress"},
    "spark": VALUES | {"star", "stages.transform"},
    "stages.runner": PARTS | STAGES | {"alert", "rates", "stages.publish"},
    "stages.replay": PARTS | STAGES | {"stages.runner"},
    # the databases and stores of the settings
    "embedded": {"errors", "sql_text", "progress", "config.dsn", "postgres"},
    "config.resources": PARTS
    | {"alert", "config.secrets", "embedded", "lakehouse", "rates"}
    | {"stages.publish", "stages.runner"},
    # the operator's other commands
    "operations.finding": set(),
    "operations.check_log": PARTS | {"operations.finding"},
    "operations.check": PARTS
    | {"config.resources", "operations.check_log", "operations.finding", "rates", "stages.ingest"},
    "operations.erase": VALUES | {"star"},
    "operations.gc": {"lake"},
    "operations.release": VALUES | {"stages.ingest"},
    "operations.status": PARTS | {"operations.unreadable", "stages.ingest", "stages.runner"},
    "operations.unreadable": {"duckdb_engine", "lake"},
    "operations.warehouse_creation": PARTS | {"config.secrets"},
    "operations.verify": PARTS | STAGES | {"stages.runner"},
    # the dashboard: reading, metrics, the server, and pages
    "dashboard.preferences": {"errors", "config.settings", "config.sign_in"},
    "dashboard.text": {"escape", "dashboard.preferences"},
    "dashboard.world": set(),
    "dashboard.filters": {"star", "dashboard.preferences", "dashboard.world"},
    "dashboard.replica": VALUES | {"star", "warehouse"},
    "dashboard.reading": {"errors", "sql_text", "dashboard.filters", "dashboard.replica"},
    "dashboard.bookkeeping": VALUES | {"warehouse"} | READING,
    "dashboard.metrics": READING | {"star", "operations.status", "dashboard.bookkeeping"},
    "dashboard.config_file": READING
    | {"errors", "config.settings", "config.values", "dashboard.metrics"},
    "dashboard.goals": METRICS,
    "dashboard.charts": READING,
    "dashboard.explore": READING | {"escape", "sql_text", "star", "dashboard.metrics"},
    "dashboard.server": METRICS
    | {"errors", "lake", "config.dsn", "config.sign_in"}
    | {"dashboard.charts", "dashboard.explore"},
    "dashboard.navigation": READING | {"dashboard.charts", "dashboard.server"},
    "dashboard.components": METRICS
    | {"errors", "lake", "operations.status"}
    | {"dashboard.charts", "dashboard.navigation", "dashboard.server"},
    "dashboard.pages": METRICS
    | {"errors", "lake", "operations.status", "dashboard.charts", "dashboard.components"}
    | {"dashboard.explore", "dashboard.goals", "dashboard.navigation", "dashboard.server"},
    # the entry points
    "notifications": PARTS
    | METRICS
    | {"alert", "config.secrets", "dashboard.server", "stages.runner"},
    "aws": PARTS
    | STAGES
    | {"aws_client", "config.resources", "operations.status", "rates", "stages.runner"},
    "demo": PARTS
    | {"alert", "config.resources", "dashboard.server", "embedded", "notifications"}
    | {"operations.verify", "stages.runner"},
}
TOP = {"cli", "__main__"}
"""May import everything, and is imported by nothing."""


def test_every_part_has_only_allowed_imports() -> None:
    wrong = {
        f"{part} imports {imported} ({path.relative_to(PACKAGE)})"
        for path in PACKAGE.rglob("*.py")
        if (part := _part(path.relative_to(PACKAGE).with_suffix("").parts)) not in TOP
        for imported in _imports(path)
        if imported not in MAY_IMPORT.get(part, set()) | {part, "__init__"}
    }
    assert not wrong


def test_the_allowed_imports_have_no_cycle() -> None:
    assert list(TopologicalSorter(MAY_IMPORT).static_order())


def test_the_pipeline_starts_without_packages_that_it_needs_later_or_never() -> None:
    """They take more than a second, which `totes run --once` would need for each batch."""
    modules = "totes.cli.stages, totes.notifications.background, totes.stages.runner"
    heavy = "{'pandas', 'streamlit', 'altair', 'numpy', 'pyiceberg'}"
    code = f"import sys, {modules}; print(*{heavy}.intersection(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.split() == []


def _imports(path: Path) -> Iterator[str]:
    """Yield the parts of totes that a module imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), names=names) if module in _ROOMS:
                modules = [f"{module}.{alias.name}" for alias in names]
            case ast.ImportFrom(module=str(module), level=0):
                modules = [module]
            case ast.ImportFrom():
                modules = ["totes.relative"]  # not used here: an import should name the part
            case _:
                modules = []
        for module in modules:
            package, *path_of_module = module.split(".")
            if package == "totes":
                yield _part(path_of_module)


_ROOMS = {"totes", *(f"totes.{room}" for room in ROOMS_OF_PARTS)}


def _part(names: Sequence[str]) -> str:
    """Return the part of a module, given the names below the package."""
    first, *others = [name for name in names if name != "__init__"] or ["__init__"]
    if first in ROOMS_OF_PARTS:
        return f"{first}.{others[0]}" if others else "__init__"
    return "__init__" if first == "__version__" else first
