"""TEST_SEED determines all random input of a test run, also in CI."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import depth
import pytest

ROOT = Path(__file__).parents[2]

DRAWING_TEST = """
from depth import seeded_random
from hypothesis import given
from hypothesis import strategies as st

def test_draws():
    print("random", seeded_random().random())

@given(st.integers())
def test_draws_examples(number):
    print("example", number)
"""


def draw(folder: Path, seed: int) -> tuple[set[str], set[str]]:
    """Return the numbers and the examples that tests draw in a run with this TEST_SEED."""
    test = folder / "test_draws.py"
    test.write_text(DRAWING_TEST)
    options = ["-s", "-c", str(ROOT / "pyproject.toml"), "-p", "conftest", "-p", "no:cacheprovider"]
    output = subprocess.check_output(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={folder}", str(test)],
        cwd=folder,
        env=os.environ
        | {
            "CI": "true",
            "TEST_SEED": str(seed),
            "PYTHONPATH": os.pathsep.join(str(ROOT / path) for path in ("tests", "tests/support")),
        },
        text=True,
    )
    assert f"TEST_SEED={seed}" in output
    lines = output.splitlines()
    numbers, examples = (
        {line for line in lines if f"{word} " in line} for word in ("random", "example")
    )
    assert numbers
    assert examples
    return numbers, examples


@pytest.fixture(scope="module")
def first_draw(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    return draw(tmp_path_factory.mktemp("draw"), seed=1)


def test_the_same_seed_draws_the_same_input(
    first_draw: tuple[set[str], set[str]], tmp_path: Path
) -> None:
    assert draw(tmp_path, seed=1) == first_draw


def test_a_different_seed_draws_different_input(
    first_draw: tuple[set[str], set[str]], tmp_path: Path
) -> None:
    numbers, examples = draw(tmp_path, seed=2)
    assert numbers != first_draw[0]
    assert examples != first_draw[1]


@dataclass(frozen=True)
class Test:
    """What is read of a collected test."""

    __test__ = False
    nodeid: str


@pytest.mark.parametrize("is_drawn", [True, False])
def test_the_deployment_is_drawn_beside_other_tests_and_always_runs_alone(
    monkeypatch: pytest.MonkeyPatch, *, is_drawn: bool
) -> None:
    monkeypatch.setattr(depth, "sample", lambda *_: [is_drawn])
    deployed: Any = Test(nodeid=f"{depth.DEPLOYMENT}test_a.py::test_b")
    other: Any = Test(nodeid="tests/unit/test_a.py::test_b")
    assert depth._draw_deployment([deployed, other]) == (set() if is_drawn else {deployed})
    assert depth._draw_deployment([deployed]) == set()
