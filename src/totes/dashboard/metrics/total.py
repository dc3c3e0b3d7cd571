"""A total, compared with the previous period, and the rows that it excludes."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

Direction = Literal["up", "down", "same", "unknown"]


@dataclass(frozen=True)
class Quarantined:
    """Rows in quarantine that concern a total.

    The total excludes `rows` of them, with the amount `value`. For `unknown_values` of these rows
    the amount is unknown, because a value is invalid or there is no exchange rate. In addition,
    `uncertain` rows may belong to the total: a field that decides this is invalid.

    For `outdated` rows, the total includes the last accepted version. With their newest versions it
    would change by `difference`; for `unknown_differences` of these rows the change is unknown.
    """

    rows: int = 0
    value: Decimal = Decimal(0)
    unknown_values: int = 0
    uncertain: int = 0
    outdated: int = 0
    difference: Decimal = Decimal(0)
    unknown_differences: int = 0

    def __sub__(self, other: "Quarantined") -> "Quarantined":
        """Return the rows that concern a difference of two totals."""
        return Quarantined(
            self.rows + other.rows,
            self.value - other.value,
            self.unknown_values + other.unknown_values,
            self.uncertain + other.uncertain,
            self.outdated + other.outdated,
            self.difference - other.difference,
            self.unknown_differences + other.unknown_differences,
        )


NONE_QUARANTINED = Quarantined()


@dataclass(frozen=True)
class Total:
    """A metric: a sum of `count` rows in the reporting currency, without the `unconverted` of them.

    `value` is None if there are rows and none can be converted. `before` is the value of the
    previous period; None if the data does not reach back so far, or a row of either period can't
    be converted. `scale` times `before` is comparable with `value`.
    """

    metric: str
    value: Decimal | None
    before: Decimal | None = None
    count: int = 0
    unconverted: int = 0
    quarantined: Quarantined = NONE_QUARANTINED
    scale: Fraction = Fraction(1)

    @property
    def change(self) -> Decimal | None:
        """The relative change: 0.12 for 12 % more. None if there is no comparison."""
        if self.value is None or self.before is None:
            return None
        return relative_change(self.value, self.before, self.scale)

    @property
    def direction(self) -> Direction:
        """Whether the value rose or fell; `unknown` if there is no comparison."""
        if self.before is None or self.value is None:
            return "unknown"
        before = Fraction(self.before) * self.scale
        if self.value == before:
            return "same"
        return "up" if self.value > before else "down"


def relative_change(now: Decimal | int, before: Decimal | int, scale: Fraction) -> Decimal | None:
    """Return 0.12 if `now` is 12 % more than `scale` times `before`; None if that is zero."""
    if not before:
        return None
    comparable = Fraction(before) * scale
    share = (Fraction(now) - comparable) / abs(comparable)
    return Decimal(share.numerator) / Decimal(share.denominator)
