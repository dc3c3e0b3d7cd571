"""What a soak does, as data: one seed is one sequence of rounds, steps and faults. Pure.

Nothing here depends on what happens: moments are counted in events of the business, not in time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType

STEPS = 8
"""Of a round."""

ROUNDS_OF_A_WORLD = 6
"""Then source, lake and warehouse begin anew, so that late rounds cost what early ones do."""

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
    "rivals",
    "full-disk",
    "clock-jump",
)

STAGES = ("ingest", "transform", "load")

_COMMANDS = MappingProxyType(
    {
        "source": ("ingest",),
        "ingest": ("ingest",),
        "folder": ("ingest", "transform"),
        "transform": ("transform",),
        "load": ("load",),
        "checked": ("run",),
        "release": ("release",),
        "replay": ("replay",),
        "rebuild": ("replay",),
    }
)
"""Who comes to a failpoint, by its first word."""

ELSEWHERE = frozenset({"migrate", "s3"})
"""First words of failpoints that no world comes to once it has begun, or that has no S3."""

NEVER = frozenset({"ingest.before-heartbeat", "ingest.heartbeat-left"})
"""Come to after ten quiet minutes; test_crashes kills there."""

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
"""Whom a fault is meant for, where not for any stage."""

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
"""What each stage asks of its stores, and can so be answered wrongly."""


@dataclass(frozen=True)
class Step:
    """`command` runs while the business goes on, and `fault` happens to it.

    Before it, `before` events happen and, if `prepared`, the earlier stages run, so that there is
    work. During it, `during` events happen; what is done from outside comes after `moment` of
    them. `what` and `nth` say more of the fault: a failpoint, an operation, a mode, a size.
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
    """What else runs at the same time, unharmed."""


@dataclass(frozen=True)
class Round:
    """Its steps; then everything runs unharmed and is compared.

    `replay` says whether all batches, or those up to an earlier round's end, are replayed into a
    new database.
    """

    number: int
    steps: tuple[Step, ...]
    replay: str | None
    chosen: float
    """Which of the earlier rounds, as a share of them."""

    @property
    def begins_a_world(self) -> bool:
        return self.number % ROUNDS_OF_A_WORLD == 1


class Deck[T]:
    """Cards in random order, all of them before one comes again."""

    def __init__(self, chance: Random, cards: Sequence[T]) -> None:
        self._chance, self._all, self._left = chance, cards, list[T]()

    def deal(self) -> T:
        if not self._left:
            self._left = self._chance.sample(self._all, len(self._all))
        return self._left.pop()


def rounds(seed: int, failpoints: Sequence[str]) -> Iterator[Round]:
    """Without end. What fails is chosen apart, so that a new failpoint changes nothing else."""
    chance, places, replays = (Random(f"{seed} {use}") for use in ("steps", "places", "replays"))  # noqa: S311  not for secrets
    faults = Deck(chance, FAULTS)
    reachable = [
        name
        for name in sorted(failpoints)
        if name.partition(".")[0] in _COMMANDS and name not in NEVER
    ]
    failpoint = Deck(places, reachable)
    operations = {stage: Deck(chance, asked) for stage, asked in _OPERATIONS.items()}
    number = 0
    while True:
        number += 1
        steps = tuple(_step(chance, faults.deal(), failpoint, operations) for _ in range(STEPS))
        replay = replays.choice([None, None, None, "all", "some"])
        yield Round(number, steps, replay, replays.random())


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
        comes_to_it = _COMMANDS[what.partition(".")[0]]
        command = comes_to_it[nth % len(comes_to_it)]
    elif fault.startswith("store-"):
        what = operations[fault, command].deal()
    elif fault.startswith("restart-"):
        what = chance.choice(["immediate", "fast"])
    elif fault == "rivals":
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
        prepared=chance.random() < 0.8 or fault == "rivals",
        beside=tuple(chance.sample(others, chance.choice([0, 0, 1, 2]))),
    )
