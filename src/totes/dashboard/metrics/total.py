"""A number as a page shows it: beside the equal period before, and what is not in it."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Direction = Literal["up", "down", "same", "unknown"]


@dataclass(frozen=True)
class Waiting:
    """Rows in quarantine that belong to a total and are missing: their value, but for `unvalued`.

    These hold no amount or currency that can be made out, or there is no rate. Beside them there
    are `unsure` ones, which may belong to it: that can't be told from what they hold.

    Of the `outdated` ones the total has an earlier version, as a change of theirs was refused. With
    the refused versions the total would differ by `difference`; by how much for `undetermined` of
    them, can't be told.
    """

    rows: int = 0
    value: Decimal = Decimal(0)
    unvalued: int = 0
    unsure: int = 0
    outdated: int = 0
    difference: Decimal = Decimal(0)
    undetermined: int = 0

    def __sub__(self, other: "Waiting") -> "Waiting":
        """Of what other rows are taken away from."""
        return Waiting(
            self.rows + other.rows,
            self.value - other.value,
            self.unvalued + other.unvalued,
            self.unsure + other.unsure,
            self.outdated + other.outdated,
            self.difference - other.difference,
            self.undetermined + other.undetermined,
        )


NOTHING_WAITS = Waiting()


@dataclass(frozen=True)
class Total:
    """A sum in the reporting currency, of `count` rows; `unconverted` of them had no rate.

    `value` is None where none of the rows had one. `before` is that of the equal period before;
    None where nothing compares: where there is no data of it, or a row of either had no rate.
    """

    name: str
    value: Decimal | None
    before: Decimal | None = None
    count: int = 0
    unconverted: int = 0
    waiting: Waiting = NOTHING_WAITS

    @property
    def change(self) -> Decimal | None:
        """By what part it changed: 0.12 is 12 % more. None where nothing compares."""
        if not self.before or self.value is None:
            return None
        return (self.value - self.before) / abs(self.before)

    @property
    def direction(self) -> Direction:
        """Whether the value rose or fell; `unknown` where it can't be compared."""
        if self.before is None or self.value is None:
            return "unknown"
        if self.value == self.before:
            return "same"
        return "up" if self.value > self.before else "down"
