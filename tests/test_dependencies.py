"""Dependencies point one way: what each part of the package may import, and nothing else."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import totes

pytestmark = pytest.mark.rules

PACKAGE = Path(totes.__file__).parent
VALUES = {
    "errors",
    "progress",
    "failpoint",
    "engine",
    "batch",
    "settings",
    "policy",
    "session",
    "sqlstate",
}
PARTS = VALUES | {"lake", "source", "star", "warehouse"}
STAGES = {"ingest", "transform", "load"}

MAY_IMPORT: dict[str, set[str]] = {
    # values and rules, without I/O of their own
    "errors": set(),
    "progress": set(),
    "failpoint": set(),
    "policy": {"errors"},
    "batch": {"errors"},
    "settings": {"errors"},
    "engine": {"errors", "settings"},
    "sqlstate": set(),
    "session": {"errors", "settings", "sqlstate"},
    "alert": {"errors"},
    "secret": {"errors", "settings"},
    "rates": {"batch"},
    # what the stages are made of: none knows another, but for the lake and the star's contract
    "lake": {"batch", "errors", "failpoint"},
    "star": {"batch", "errors"},
    "source": VALUES | {"lake"},
    "warehouse": VALUES | {"star"},
    # the stages, which know each other only through what they publish
    "ingest": VALUES | {"lake", "rates", "source"},
    "transform": VALUES | {"lake", "star"},
    "load": VALUES | {"lake", "star", "warehouse"},
    # the whole, and what is asked of it
    "pipeline": PARTS | STAGES | {"alert", "rates"},
    "status": PARTS | STAGES | {"pipeline"},
    "verify": PARTS | STAGES | {"pipeline"},
    "replay": PARTS | STAGES | {"pipeline"},
    "release": PARTS | STAGES,
    "erase": VALUES | {"lake", "star"},
    "orphans": {"batch", "lake"},
    "unreadable": {"batch", "engine", "lake"},
    # the demo, which the product does not know, and where the command line finds its parts
    "demo": {"errors", "progress", "session", "settings", "sqlstate"},
    "places": PARTS | {"alert", "demo", "pipeline", "rates", "secret"},
    "check": PARTS | {"ingest", "places", "rates"},
    "dashboard": PARTS | {"status"},
    "aws": PARTS | {"alert", "load", "pipeline", "places", "status"},
    "show": PARTS | {"dashboard", "demo", "places", "pipeline", "verify"},
}
TOP = {"cli", "__main__"}
"""May import everything, and is imported by nothing."""


def test_every_part_imports_only_what_it_may() -> None:
    wrong = {
        f"{part} imports {imported} ({path.relative_to(PACKAGE)})"
        for path in PACKAGE.rglob("*.py")
        if (part := path.relative_to(PACKAGE).parts[0].removesuffix(".py")) not in TOP
        for imported in _imports(path)
        if imported not in MAY_IMPORT.get(part, set()) | {part, "__init__"}
    }
    assert not wrong


def test_the_rules_themselves_have_no_circle() -> None:
    assert list(TopologicalSorter(MAY_IMPORT).static_order())


def _imports(path: Path) -> Iterator[str]:
    """The parts of totes that a module imports, at its head or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module="totes", names=names):
                modules = [f"totes.{alias.name}" for alias in names]
            case ast.ImportFrom(module=str(module), level=0):
                modules = [module]
            case ast.ImportFrom():
                modules = ["totes.relative"]  # not done here: a part should be seen at once
            case _:
                modules = []
        for module in modules:
            package, _, rest = module.partition(".")
            if package == "totes":
                name = rest.partition(".")[0]
                yield "__init__" if name.startswith("__") or not name else name
