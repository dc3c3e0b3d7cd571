"""How much the tests with many cases run: a random part in `make test`, all in `make test-deep`.

A test run has one seed, which is printed; TEST_SEED=… repeats its choices, and all random input.
"""

import os
from collections.abc import Iterable
from random import Random, SystemRandom

DEEP = bool(os.environ.get("DEEP"))

SEED = int(os.environ.setdefault("TEST_SEED", str(SystemRandom().randrange(10**6))))
"""The workers of pytest-xdist inherit it."""


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
