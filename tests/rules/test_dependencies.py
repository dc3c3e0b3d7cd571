"""Dependencies point one way: what each part of the package may import, and nothing else."""

import ast
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

import totes

PACKAGE = Path(totes.__file__).parent
ROOMS_OF_PARTS = {"config", "stages", "operations"}
"""Packages whose modules are parts of their own; any other package is one part."""

VALUES = {
    "errors",
    "progress",
    "failpoint",
    "policy",
    "engine",
    "config.settings",
    "postgres",
    "lake",
}
PARTS = VALUES | {"source", "star", "warehouse"}
STAGES = {"stages.ingest", "stages.transform", "stages.load"}

MAY_IMPORT: dict[str, set[str]] = {
    # values and rules, without I/O of their own
    "errors": set(),
    "progress": set(),
    "failpoint": set(),
    "policy": {"errors"},
    "config.settings": {"errors"},
    "config.secrets": {"errors", "config.settings"},
    "engine": {"errors", "config.settings"},
    "postgres": {"errors", "config.settings"},
    "alert": {"errors"},
    # what the stages are made of: none knows another, but for the lake and the star's contract
    "lake": {"errors", "failpoint"},
    "rates": {"lake"},
    "star": {"errors", "lake"},
    "source": VALUES,
    "warehouse": VALUES | {"star"},
    # the stages, which know each other only through what they publish
    "stages.ingest": VALUES | {"rates", "source"},
    "stages.transform": VALUES | {"star"},
    "stages.load": VALUES | {"star", "warehouse"},
    "stages.runner": PARTS | STAGES | {"alert", "rates"},
    "stages.replay": PARTS | STAGES | {"stages.runner"},
    # where everything is
    "embedded": {"errors", "progress", "config.settings", "postgres"},
    "config.resources": PARTS | {"alert", "config.secrets", "embedded", "rates", "stages.runner"},
    # what an operator does beside the stages
    "operations.check": PARTS | {"config.resources", "rates", "stages.ingest"},
    "operations.erase": VALUES | {"star"},
    "operations.gc": {"lake"},
    "operations.release": VALUES | {"stages.ingest"},
    "operations.status": PARTS | {"operations.unreadable", "stages.ingest", "stages.runner"},
    "operations.unreadable": {"engine", "lake"},
    "operations.verify": PARTS | STAGES | {"stages.runner"},
    # who calls all of it
    "dashboard": PARTS | {"operations.status"},
    "aws": PARTS | STAGES | {"alert", "config.resources", "operations.status", "stages.runner"},
    "demo": PARTS
    | {"config.resources", "dashboard", "embedded", "operations.verify", "stages.runner"},
}
TOP = {"cli", "__main__"}
"""May import everything, and is imported by nothing."""


def test_every_part_imports_only_what_it_may() -> None:
    wrong = {
        f"{part} imports {imported} ({path.relative_to(PACKAGE)})"
        for path in PACKAGE.rglob("*.py")
        if (part := _part(path.relative_to(PACKAGE).with_suffix("").parts)) not in TOP
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
            case ast.ImportFrom(module=str(module), names=names) if module in _ROOMS:
                modules = [f"{module}.{alias.name}" for alias in names]
            case ast.ImportFrom(module=str(module), level=0):
                modules = [module]
            case ast.ImportFrom():
                modules = ["totes.relative"]  # not done here: a part should be seen at once
            case _:
                modules = []
        for module in modules:
            package, *path_of_module = module.split(".")
            if package == "totes":
                yield _part(path_of_module)


_ROOMS = {"totes", *(f"totes.{room}" for room in ROOMS_OF_PARTS)}


def _part(names: Sequence[str]) -> str:
    """The part that a module belongs to, by the names below the package."""
    first, *others = [name for name in names if name != "__init__"] or ["__init__"]
    if first in ROOMS_OF_PARTS:
        return f"{first}.{others[0]}" if others else "__init__"
    return "__init__" if first == "__version__" else first
