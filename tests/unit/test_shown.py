"""What a page shows, as values: files, tables, charts, colours, maps and words."""

import csv as csv_module
import io
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pycountry
import pytest
from sample_business import SCRIPT

import outlines
from totes.dashboard import charts, drill, tables, text, totals, world
from totes.dashboard.filters import Choices, Filter
from totes.dashboard.metrics import Total, Waiting


def test_files_hold_exactly_the_rows_that_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.DataFrame(
        {
            "name": [SCRIPT, 'quoted "x", é\n', "=1+1"],
            "value": [Decimal("0.10"), Decimal("-12345678901234.56"), None],
            "day": [date(2026, 1, 1), date(1999, 12, 31), None],
        }
    )
    given: dict[str, bytes] = {}

    def button(label: str, *, data: Callable[[], bytes], **_: object) -> None:
        given[label] = data()

    monkeypatch.setattr("totes.dashboard.tables.st.download_button", button)
    tables.downloads(frame, key="x", file_name="x")
    rows = list(csv_module.reader(io.StringIO(given["CSV"].decode("utf-8-sig"), newline="")))
    assert rows[0] == ["name", "value", "day"]
    assert rows[1:3] == [
        [SCRIPT, "0.10", "2026-01-01"],
        ['quoted "x", é\n', "-12345678901234.56", "1999-12-31"],
    ]
    assert rows[3][0] == "'=1+1"  # a spreadsheet runs nothing
    path = tmp_path / "made.parquet"
    path.write_bytes(given["Parquet"])
    read = duckdb.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
    assert [tuple(row) for row in read] == list(frame.itertuples(index=False, name=None))


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT])
def test_what_is_missing_is_no_text(missing: object) -> None:
    assert text.is_missing(missing)
    assert text.plain(missing) == ""
    assert text.money(missing, "GBP") == "not converted"  # type: ignore[arg-type]
    shown = tables.readable(pd.Series(["a", missing], dtype=object))
    assert list(shown) == ["a", None]


def test_a_column_is_wide_enough_for_what_comes_after_its_first_rows() -> None:
    def width_of(values: list[str | None]) -> int | None:
        made = tables.column(pd.Series(values, dtype=object, name="name"), "Name")
        width: int | None = made["width"]
        return width

    long = "agreed_delivery_location_id"
    assert width_of([long, *["id"] * 20]) is None  # the browser sees it itself
    assert width_of([*["id"] * 20, None, long]) == 27 * 6 + 20
    assert width_of([*["id"] * 20, long * 9]) == tables.MOST_PIXELS  # no column is for a story
    assert width_of([long * 4, *["id"] * 20, long * 9]) is None  # it is that wide already
    assert width_of([]) is None


def test_only_what_tells_rows_apart_is_a_number_without_commas() -> None:
    def format_of(name: str) -> str:
        made = tables.column(pd.Series([1234], name=name), "Paid, id and number")
        return str(made["type_config"]["format"])

    names = ["payment_id", "id", "key", "batch", "rows", "paid", "valid", "units"]
    assert [name for name in names if format_of(name) == "%d"] == names[:4]


def test_more_than_seven_categories_are_told_in_words() -> None:
    values = [Decimal(n) for n in (*range(10, 2, -1), 4000, 9)]
    frame = pd.DataFrame({"name": list("abcdefghij"), "value": values, "orders": [1] * 10})
    made = charts.ranked(frame, "Revenue", "GBP", dark=False)
    assert made.says == (
        "Revenue, the largest first: a £10.00; b £9.00; c £8.00; d £7.00; e £6.00; f £5.00; "
        "g £4.00; all others together £4,012.00."
    )
    drawn = made.drawn.to_dict()
    [bars] = drawn["datasets"].values()
    assert [bar["name"] for bar in bars] == list("abcdefg")
    assert max(bar["plotted"] for bar in bars) == 10  # so that the seven can be read
    assert drawn["title"]["text"] == "Not drawn: all others together £4,012.00"
    assert "title" not in charts.ranked(frame.head(7), "x", "GBP", dark=False).drawn.to_dict()


def test_two_names_of_one_country_are_one() -> None:
    frame = pd.DataFrame(
        {
            "key": ["Japan", "Turkey", "Türkiye", "Atlantis"],
            "name": ["Japan", "Turkey", "Türkiye", "Atlantis"],
            "value": [Decimal(9), Decimal(8), Decimal(6), None],
            "share": [Decimal("0.4"), Decimal("0.35"), Decimal("0.25"), None],
            "orders": [1, 2, 3, 4],
            "units": [10, 20, 8, 1],
            "average_price": [Decimal("0.9"), Decimal("0.4"), Decimal("0.75"), None],
            "unconverted": [0, 0, 0, 4],
        }
    )
    merged = charts.by_country(frame)
    assert list(merged["name"]) == ["Turkey", "Japan", "Atlantis"]
    assert list(merged["value"]) == [14, 9, None]
    assert list(merged["orders"]) == [5, 1, 4]
    assert merged["average_price"].iloc[0] == Decimal("0.5")
    assert charts.by_country(frame.drop(index=2)).equals(frame.drop(index=2))


def test_what_is_not_converted_is_no_zero() -> None:
    frame = pd.DataFrame(
        {
            "start": [date(2026, 11, 1), date(2026, 11, 2)],
            "name": ["a", "b"],
            "value": [Decimal(5), None],
            "unconverted": [0, 3],
        }
    )
    made = charts.over_time(frame, "value", "Revenue", "day", "GBP", dark=False)
    assert made.says.endswith(
        "£5.00 in all, the most in 1 Nov 2026 (£5.00). Not converted: 3 rows."
    )
    [bars] = made.drawn.to_dict()["datasets"].values()
    assert [(bar["plotted"], bar["exact"]) for bar in bars] == [
        (5.0, "£5.00"),
        (None, "not converted"),
    ]
    nothing = charts.over_time(frame.tail(1), "value", "Revenue", "day", "GBP", dark=False)
    assert "2 Nov 2026: not converted. Not converted: 3 rows." in nothing.says
    assert "b not converted." in charts.ranked(frame, "Revenue", "GBP", dark=False).says
    assert charts.added([None, Decimal(2)]) == 2
    assert charts.added([None]) is None
    assert charts.added([]) == 0


def test_an_axis_of_nothing_has_its_zero_and_one_of_much_a_unit() -> None:
    frame = pd.DataFrame({"start": [date(2026, 11, 1)], "value": [Decimal(0)]})

    def axis(frame: pd.DataFrame) -> Any:
        made = charts.over_time(frame, "value", "Revenue", "day", "JPY", dark=False)
        return made.drawn.to_dict()["encoding"]["y"]

    assert axis(frame)["scale"]["domain"] == [0, 1]
    assert axis(frame)["axis"]["values"] == [0]
    much = axis(frame.assign(value=pd.Series([Decimal(10) ** 10], dtype=object)))
    assert "domain" not in much["scale"]
    assert "? '0' :" in much["axis"]["labelExpr"]
    assert "' bn'" in much["axis"]["labelExpr"]


def test_of_three_centuries_the_years_with_business_are_drawn() -> None:
    starts = [date(year, 1, 1) for year in range(1900, 2201)]
    orders = [1 if start.year in {2024, 2026} else 0 for start in starts]
    frame = pd.DataFrame({"start": starts, "orders": orders})
    assert [start.year for start in charts.busy(frame, ["orders"])["start"]] == [2024, 2025, 2026]
    assert charts.busy(frame.head(30), ["orders"]).equals(frame.head(30))
    assert len(charts.busy(frame.head(100), ["orders"])) == 1


def rings(drawn: Any, code: str) -> list[list[int]]:
    """The outer rings of a country: how far to the right each point is."""
    geometries = drawn["objects"]["countries"]["geometries"]
    [polygons] = [one["arcs"] for one in geometries if one["id"] == code]
    arcs = [[*accumulate(x for x, _ in arc)] for arc in drawn["arcs"]]
    return [
        [x for number in outer for x in arcs[number if number >= 0 else ~number]]
        for outer, *_ in polygons
    ]


def width(ring: list[int]) -> int:
    return max(ring) - min(ring)


def test_no_country_is_drawn_across_the_map() -> None:
    """Russia and Fiji lie on both sides of 180 degrees."""
    plain = world.topology(lambda _: {}, ())
    codes = [one["id"] for one in plain["objects"]["countries"]["geometries"]]
    wide = {code for code in codes for ring in rings(plain, code) if width(ring) > 500}
    assert wide == {"RU"}
    assert width(rings(plain, "RU")[0]) < outlines.WIDTH / 3


def test_a_country_too_small_to_be_seen_is_a_disc() -> None:
    plain = world.topology(lambda _: {}, ())
    frame = pd.DataFrame({"name": ["San Marino", "France"], "value": [Decimal(5), Decimal(1)]})
    [made] = (
        charts.world_map(frame, "Revenue", "GBP", dark=False).drawn.to_dict()["datasets"].values()
    )
    assert width(rings(plain, "SM")[0]) < 10
    assert width(rings(made, "SM")[0]) == 2 * outlines.DISC
    geometries = made["objects"]["countries"]["geometries"]
    assert [one["id"] for one in geometries[-2:]] == ["FR", "SM"]  # over their neighbours
    assert geometries[-2]["arcs"] == next(
        one["arcs"] for one in plain["objects"]["countries"]["geometries"] if one["id"] == "FR"
    )


def test_every_country_of_iso_3166_with_people_is_on_the_map() -> None:
    names = [country.name for country in pycountry.countries]
    lacking = {world.code_of(name) for name in names if world.code_on_map(name) is None}
    assert lacking == {"AQ", "BV", "UM"}
    assert (world.code_on_map("Kosovo"), world.name_of("XK")) == ("XK", "Kosovo")


def luminance(colour: str) -> float:
    """As WCAG 2 reckons it."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


PAPER = {False: "#FFFFFF", True: "#171614"}
"""Streamlit's page, light and dark."""


@pytest.mark.parametrize("dark", [False, True])
def test_colours_stand_out_from_the_page(*, dark: bool) -> None:
    assert round(contrast("#000000", "#FFFFFF"), 1) == 21
    paper = PAPER[dark]
    words = [charts.INK_DARK if dark else charts.INK_LIGHT, charts.deadline_colour(dark=dark)]
    assert [colour for colour in words if contrast(colour, paper) < 4.5] == []
    together = 3  # so many series are the most that a chart here has
    shapes = (charts.DARK if dark else charts.LIGHT)[:together]
    assert [colour for colour in shapes if contrast(colour, paper) < 3] == []
    least, most, nothing = charts.MAP_DARK if dark else charts.MAP_LIGHT
    assert contrast(most, paper) >= 3
    assert contrast(most, nothing) >= 3
    assert contrast(least, nothing) > 1.5


def test_a_chart_of_nothing_but_zeros_has_nothing_to_show() -> None:
    frame = pd.DataFrame({"value": [Decimal(0), Decimal(0)], "orders": [0, 0]})
    assert not charts.happened(frame, ["value", "orders"])
    assert charts.happened(frame.assign(orders=[0, 1]), ["value", "orders"])
    unknown = frame.assign(value=pd.Series([None, Decimal(0)], dtype=object))
    assert charts.happened(unknown, ["value", "orders"])


def test_lines_lead_only_where_there_is_something_to_go_into() -> None:
    frame = pd.DataFrame({"start": [date(2026, 11, 1)], "value": [Decimal(5)]})

    def clicks(*, leads: bool) -> set[str]:
        made = charts.lines(frame, {"value": "Net"}, "day", "GBP", dark=False, leads=leads)
        return {one["name"] for one in made.drawn.to_dict()["params"]}

    assert clicks(leads=True) - clicks(leads=False) == {charts.PERIOD}


def test_a_chart_says_what_it_shows() -> None:
    frame = pd.DataFrame(
        {"start": [date(2026, 11, 1), date(2026, 12, 1)], "value": [Decimal(5), Decimal("7.5")]}
    )
    made = charts.over_time(frame, "value", "Revenue", "month", "EUR", dark=True)
    assert made.says == (
        "Revenue by month from Nov 2026 to Dec 2026: €12.50 in all, the most in Dec 2026 (€7.50)."
    )
    assert charts.over_time(frame.head(0), "value", "Revenue", "day", "EUR", dark=False).says


def test_where_an_axis_is_narrow_every_other_label_is_left_out() -> None:
    frame = pd.DataFrame({"name": ["a"], "value": [Decimal(5)]})
    drawn = charts.ranked(frame, "Revenue", "GBP", dark=False).drawn.to_dict()
    assert drawn["encoding"]["x"]["axis"]["labelOverlap"] == "parity"  # evenly, unlike "greedy"


def test_countries_by_any_of_their_names_are_on_the_map_and_others_are_named() -> None:
    names = ["Türkiye", "Turkey", "Republic of Korea", "United Kingdom", "Atlantis", SCRIPT]
    frame = pd.DataFrame({"name": names, "value": [Decimal(n) for n in range(6, 0, -1)]})
    made = charts.world_map(frame, "Revenue", "GBP", dark=False)
    assert "Türkiye £11.00" in made.says
    told = f"Not on the map: Atlantis £2.00; {SCRIPT} £1.00."
    assert charts.off_the_map(frame, "GBP") == told
    assert made.says.endswith(told)
    assert not charts.off_the_map(frame.head(4), "GBP")
    assert charts.off_the_map(frame.assign(name="Antarctica"), "GBP").startswith("Not on the map")


def test_colours_can_be_told_apart_and_are_seven() -> None:
    okabe_ito = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
    assert set(charts.LIGHT) == set(charts.DARK) == okabe_ito
    assert len(okabe_ito) == charts.MOST


@pytest.mark.parametrize(
    ("value", "currency", "shown"),
    [
        ("0", "GBP", "£0.00"),
        ("-0.001", "GBP", "£0.00"),
        ("-12.5", "EUR", "-€12.50"),
        ("9999.99", "USD", "$9,999.99"),
        ("1234567.5", "CHF", "CHF 1,234,568"),
        ("999999999.9", "GBP", "£1,000,000,000"),
        ("-57794344953.06", "GBP", "-£57,794 m"),
        ("1234000000", "EUR", "€1,234 m"),
    ],
)
def test_money_is_told_in_its_currency(value: str, currency: str, shown: str) -> None:
    assert text.money(Decimal(value), currency) == shown


def test_strange_signs_in_text_are_shown_and_disturb_nothing() -> None:
    assert text.plain("a\nb\u202ec\x1b[31m") == r"a\nb\u202ec\x1b[31m"
    assert text.plain(None) == ""
    assert text.own("$5 and $6") == r"\$5 and \$6"


@pytest.mark.parametrize(
    ("value", "before", "expected"),
    [
        ("112", "100", ("up 12.0 %", "up")),
        ("88", "100", ("down 12.0 %", "down")),
        ("100", "100", ("the same", "off")),
        ("5", "0", ("up from none", "up")),
        ("0", "0", ("the same", "off")),
        ("5", None, (None, "off")),
    ],
)
def test_a_change_has_a_word_and_an_arrow(
    value: str, before: str | None, expected: tuple[str | None, str]
) -> None:
    what = Total("x", Decimal(value), None if before is None else Decimal(before), 1, 0, Waiting())
    assert totals.change(what) == expected


def test_what_a_total_leaves_out_is_told() -> None:
    what = Total("x", Decimal(1), None, 1, 2, Waiting(3, Decimal(40), 1))
    assert totals.left_out(what, "GBP") == [
        "2 rows not converted: there is no rate",
        "Missing: 3 rows in quarantine, worth £40.00 and more",
    ]
    unknown = Total("x", Decimal(1), None, 1, 0, Waiting(1, Decimal(0), 1))
    assert totals.left_out(unknown, "GBP") == ["Missing: 1 row in quarantine, of unknown worth"]


@pytest.mark.parametrize(
    ("waiting", "differs"),
    [
        (Waiting(outdated=2), "the same"),
        (Waiting(outdated=2, difference=Decimal(7)), "£7.00 more"),
        (Waiting(outdated=2, difference=Decimal(-7)), "£7.00 less"),
        (Waiting(outdated=2, undetermined=2), "another, nobody can say by how much"),
        (
            Waiting(outdated=2, difference=Decimal(7), undetermined=1),
            "£7.00 more, and for 1 of them nobody can say by how much",
        ),
    ],
)
def test_what_a_total_has_in_an_older_version_is_told(waiting: Waiting, differs: str) -> None:
    assert totals.left_out(Total("x", Decimal(1), waiting=waiting), "GBP") == [
        "2 rows counted in an older version: with the newer in quarantine it would be " + differs
    ]


def test_the_way_back_has_a_step_for_each_wider_period() -> None:
    choices = Choices(date(2026, 11, 22), date(2024, 3, 1))
    chosen = Filter(date(2026, 11, 5), date(2026, 11, 5))
    steps = [step.label for step in drill.steps(chosen, choices)]
    assert steps == ["All", "2026", "November 2026", "5 Nov 2026"]
    wide = Filter(date(2025, 11, 5), date(2026, 11, 5))
    assert [step.label for step in drill.steps(wide, choices)] == ["All"]
    assert drill.inside(wide, date(2025, 11, 1), "month") == (date(2025, 11, 5), date(2025, 11, 30))
    assert drill.last_day(date(2024, 2, 1), "month") == date(2024, 2, 29)
