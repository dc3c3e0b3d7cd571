"""Cards: the change of a total, and the rows that it excludes."""

from decimal import Decimal

import pytest

from totes.dashboard.components import totals
from totes.dashboard.metrics import Quarantined, Total


@pytest.mark.parametrize(
    ("value", "before", "expected"),
    [
        ("112", "100", ("+12.0 %", "up")),
        ("88", "100", ("-12.0 %", "down")),
        ("100", "100", ("no change", "off")),
        ("5", "0", ("up from 0", "up")),
        ("0", "0", ("no change", "off")),
        ("5", None, (None, "off")),
    ],
)
def test_a_change_has_a_sign_and_an_arrow(
    value: str, before: str | None, expected: tuple[str | None, str]
) -> None:
    what = Total(
        "x", Decimal(value), None if before is None else Decimal(before), 1, 0, Quarantined()
    )
    assert totals.change(what) == expected


def test_a_total_lists_the_rows_that_it_excludes() -> None:
    what = Total("x", Decimal(1), None, 1, 2, Quarantined(3, Decimal(40), 1))
    assert totals.exclusions(what, "GBP") == [
        "Not converted: 2 rows without an exchange rate, or with an amount of 10^18 or more",
        "In quarantine, not included: 3 rows (£40.00, and 1 of unknown amount)",
    ]
    unknown = Total("x", Decimal(1), None, 1, 0, Quarantined(1, Decimal(0), 1))
    assert totals.exclusions(unknown, "GBP") == [
        "In quarantine, not included: 1 row (amount unknown)"
    ]
    uncertain = Total("x", Decimal(1), quarantined=Quarantined(uncertain=2))
    assert totals.exclusions(uncertain, "GBP") == [
        "In quarantine, possibly part of this total: 2 rows"
    ]


@pytest.mark.parametrize(
    ("quarantined", "effect"),
    [
        (Quarantined(outdated=2), "no effect on the total"),
        (Quarantined(outdated=2, difference=Decimal(7)), "would change the total by +£7.00"),
        (Quarantined(outdated=2, difference=Decimal(-7)), "would change the total by -£7.00"),
        (Quarantined(outdated=2, unknown_differences=2), "effect on the total unknown"),
        (
            Quarantined(outdated=2, difference=Decimal(7), unknown_differences=1),
            "would change the total by +£7.00, unknown for 1 of them",
        ),
    ],
)
def test_a_total_lists_the_rows_that_it_has_in_an_earlier_version(
    quarantined: Quarantined, effect: str
) -> None:
    assert totals.exclusions(Total("x", Decimal(1), quarantined=quarantined), "GBP") == [
        f"Newest version in quarantine, previous one included: 2 rows ({effect})"
    ]
