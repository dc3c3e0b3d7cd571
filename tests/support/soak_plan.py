"""The plan of a soak: a seed determines one sequence of rounds, steps and faults.

The plan does not depend on the results: it measures time in events of the business.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType

STEPS = 8
"""Number of steps in a round."""

ROUNDS_OF_AN_ENVIRONMENT = 6
"""Then a new source, lake and warehouse are created, so that later rounds do not take longer."""

FAULTS = (
    "kill-at-failpoint",
    "kill-at-random",
    "store-before",
    "store-after",
    "store-slow",
    "store-stale",
    "store-corrupt",
    "cut-source",
    "cut-before-commit",
    "cut-after-commit",
    "restart-source",
    "restart-warehouse",
    "concurrent-runs",
    "full-disk",
    "clock-jump",
)

STAGES = ("ingest", "transform", "load")

_COMMANDS = MappingProxyType(
    {
        "source": ("ingest",),
        "ingest": ("ingest",),
        "log": ("ingest",),
        "folder": ("ingest", "transform"),
        "transform": ("transform",),
        "load": ("load",),
        "checked": ("run",),
        "release": ("release",),
        "replay": ("replay",),
        "rebuild": ("replay",),
    }
)
"""The commands that reach a failpoint, by the first word of its name."""

NOT_IN_SOAK = frozenset({"migrate", "s3", "iceberg", "spark", "unfinished"})
"""First words of failpoints that a soak can't reach.

It migrates once, has no S3, Iceberg tables or Spark, and its tables are read in one piece.
"""

AFTER_QUIET_MINUTES = frozenset(
    {
        *("ingest.before-heartbeat", "ingest.heartbeat-stored"),
        *("log.before-position", "log.position-stored"),
    }
)
"""Failpoints that are reached after ten minutes without changes; test_crashes kills there."""

_STAGES_OF = MappingProxyType(
    {
        "cut-source": ("ingest",),
        "cut-before-commit": ("load",),
        "cut-after-commit": ("load",),
        "restart-source": ("ingest",),
        "restart-warehouse": ("load", "run"),
        "store-after": ("ingest", "transform"),
        "full-disk": ("ingest", "transform"),
        "clock-jump": ("ingest",),
    }
)
"""The stages that a fault can happen to, if not to all."""

_OPERATIONS = MappingProxyType(
    {
        ("store-before", "ingest"): ("get", "put", "create", "exists"),
        ("store-before", "transform"): ("get", "fetch", "put", "create", "exists"),
        ("store-before", "load"): ("get", "fetch", "list"),
        ("store-after", "ingest"): ("put", "create"),
        ("store-after", "transform"): ("put", "create"),
        ("store-slow", "ingest"): ("get", "put", "create"),
        ("store-slow", "transform"): ("get", "fetch", "put", "create"),
        ("store-slow", "load"): ("get", "fetch"),
        ("store-stale", "ingest"): ("exists", "get"),
        ("store-stale", "transform"): ("exists", "get", "fetch", "list"),
        ("store-stale", "load"): ("get", "list"),
        ("store-corrupt", "ingest"): ("get",),
        ("store-corrupt", "transform"): ("get", "fetch"),
        ("store-corrupt", "load"): ("get", "fetch"),
    }
)
"""The operations of each stage's stores that a fault can happen to."""


@dataclass(frozen=True)
class Step:
    """A `command` that runs with a `fault` while the business continues.

    Before it, `before` events happen and, if `prepared`, the earlier stages run, so that there is
    work. During it, `during` events happen; a fault from outside happens after `moment` of them.
    `what` and `nth` are the fault's parameters: a failpoint, an operation, a mode, a size.
    """

    command: str
    fault: str
    what: str
    nth: int
    before: int
    during: int
    moment: int
    prepared: bool
    beside: tuple[str, ...]
    """Commands that run at the same time without faults."""


@dataclass(frozen=True)
class Round:
    """Some steps, after which all stages run without faults and everything is compared.

    `replay` determines whether all batches, those up to the end of an earlier round, or none are
    replayed into a new database.
    """

    number: int
    steps: tuple[Step, ...]
    replay: str | None
    earlier_share: float
    """Selects the earlier round, as a share of all earlier rounds."""
    capture: str
    """The way of capture: scan or log."""

    @property
    def needs_new_environment(self) -> bool:
        return self.number % ROUNDS_OF_AN_ENVIRONMENT == 1


class Deck[T]:
    """Deals items in random order, each of them once before any is repeated."""

    def __init__(self, chance: Random, cards: Sequence[T]) -> None:
        self._chance, self._all, self._left = chance, cards, list[T]()

    def deal(self) -> T:
        if not self._left:
            self._left = self._chance.sample(self._all, len(self._all))
        return self._left.pop()


def rounds(seed: int, failpoints: Sequence[str]) -> Iterator[Round]:
    """Yield rounds without end; a new failpoint changes only the choice of failpoints."""
    uses = ("steps", "places", "replays", "captures")
    chance, places, replays, captures = (Random(f"{seed} {use}") for use in uses)  # noqa: S311  not for secrets
    capture = Deck(captures, ("scan", "log"))
    faults = Deck(chance, FAULTS)
    reachable = [
        name
        for name in sorted(failpoints)
        if name.partition(".")[0] in _COMMANDS and name not in AFTER_QUIET_MINUTES
    ]
    failpoint = Deck(places, reachable)
    operations = {stage: Deck(chance, asked) for stage, asked in _OPERATIONS.items()}
    number = 0
    while True:
        number += 1
        steps = tuple(_step(chance, faults.deal(), failpoint, operations) for _ in range(STEPS))
        replay = replays.choice([None, None, None, "all", "some"])
        yield Round(number, steps, replay, replays.random(), capture.deal())


def _step(
    chance: Random,
    fault: str,
    failpoint: Deck[str],
    operations: dict[tuple[str, str], Deck[str]],
) -> Step:
    command = chance.choice(_STAGES_OF.get(fault, STAGES))
    what, nth = "", chance.choice([1, 1, 1, 2, 3])
    if fault == "kill-at-failpoint":
        what = failpoint.deal()
        commands = _COMMANDS[what.partition(".")[0]]
        command = commands[nth % len(commands)]
    elif fault.startswith("store-"):
        what = operations[fault, command].deal()
    elif fault.startswith("restart-"):
        what = chance.choice(["immediate", "fast"])
    elif fault == "concurrent-runs":
        nth = chance.choice([2, 2, 3])
    elif fault == "full-disk":
        nth = chance.choice([1, 300, 1_000, 3_000, 10_000])
    elif fault == "cut-source":
        nth = chance.choice([1_000, 5_000, 20_000, 40_000, 60_000])
    elif fault == "clock-jump":
        nth = chance.choice([-86_400, -3_600, -1, 1, 10])
    during = chance.randint(0, 30)
    others = [stage for stage in STAGES if stage != command]
    return Step(
        command=command,
        fault=fault,
        what=what,
        nth=nth,
        before=chance.randint(5, 30),
        during=during,
        moment=chance.randint(0, during),
        prepared=chance.random() < 0.8 or fault == "concurrent-runs",
        beside=tuple(chance.sample(others, chance.choice([0, 0, 1, 2]))),
    )
