"""How many cases tests run: a few that are drawn at random in `make test`, all in `make test-deep`.

A test draws fewer cases with `drawn`, `sample` or the marker `few(n)`. A test run has one seed,
which is printed; TEST_SEED=… repeats its choices, and all random input.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from random import Random, SystemRandom

import pytest

GUARANTEES = Path(__file__).parents[2] / "docs" / "guarantees.md"

DEEP = bool(os.environ.get("DEEP"))

SEED = int(os.environ.setdefault("TEST_SEED", str(SystemRandom().randrange(10**6))))
"""The workers of pytest-xdist inherit it."""

DEPLOYMENT = "tests/aws/deployment/"
"""No guarantee names a test of this folder, and its set-up takes most of a minute."""


def drawn(few: int, many: int) -> int:
    """How many examples, steps or rounds to draw in this run."""
    return many if DEEP else few


def sample[T](few: int, cases: Iterable[T], name: str) -> list[T]:
    """Return `few` of the cases in their order, drawn by the run's seed; all of them when DEEP.

    `name` makes the choices of different tests independent of each other.
    """
    all_cases = list(cases)
    if DEEP:
        return all_cases
    chance = Random(f"{SEED} {name}")  # noqa: S311  not for secrets
    places = sorted(chance.sample(range(len(all_cases)), few))
    return [all_cases[place] for place in places]


def sample_seed(name: str) -> int:
    """Return the seed of a test's own random numbers, which differs from run to run."""
    return Random(f"{SEED} {name}").randrange(10**6)  # noqa: S311  not for secrets


def seeded_random() -> Random:
    """Return the random numbers of the current test, which the run's seed determines."""
    return Random(f"{SEED} {os.environ['PYTEST_CURRENT_TEST']}")  # noqa: S311  not for secrets


def draw_marked(items: list[pytest.Item]) -> list[pytest.Item]:
    """Of a test or module marked `few(n)`, keep n cases that the run's seed draws; all when DEEP.

    The cases of a module are drawn from those that were drawn of its tests, without the tests that
    docs/guarantees.md names, which always run. Every second run has the deployment to moto. Removes
    the others from `items`, and returns them.
    """
    named = set(re.findall(r"test_\w+\.py::(test_\w+)", GUARANTEES.read_text()))
    left_out = _draw_deployment(items)
    for of_module in (False, True):
        cases_of: dict[tuple[str, int], list[pytest.Item]] = {}
        for item in items:
            if item in left_out or (of_module and item.name.partition("[")[0] in named):
                continue
            for node, marker in item.iter_markers_with_node("few"):
                if isinstance(node, pytest.Module) is of_module:
                    name = node.nodeid.partition("[")[0]
                    cases_of.setdefault((name, marker.args[0]), []).append(item)
        for (name, few), cases in cases_of.items():
            left_out |= {*cases} - {*sample(min(few, len(cases)), cases, name)}
    items[:] = [item for item in items if item not in left_out]
    return list(left_out)


def _draw_deployment(items: list[pytest.Item]) -> set[pytest.Item]:
    """Return the tests of the deployment if this run leaves it out; it always runs by itself."""
    deployment = {item for item in items if DEPLOYMENT in item.nodeid}
    runs = len(deployment) == len(items) or sample(1, (True, False), DEPLOYMENT)[0]
    return set() if runs else deployment
