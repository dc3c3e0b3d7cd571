"""Formatting of downloads, tables, charts, maps and texts of the dashboard."""

import csv as csv_module
import io
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pycountry
import pytest
from sample_business import SCRIPT

import outlines
from totes.dashboard import charts, text, world
from totes.dashboard.components import drill, tables
from totes.dashboard.filters import Choices, Filter
from totes.dashboard.navigation.view import View


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

    monkeypatch.setattr("totes.dashboard.components.tables.st.download_button", button)
    monkeypatch.setattr("totes.dashboard.components.tables.st.html", lambda _: None)
    monkeypatch.setattr("totes.dashboard.components.tables.in_url", lambda *_, **__: {})
    headings = {"name": "Design", "value": "Revenue, GBP", "day": "Day"}
    tables.table(frame, headings, key="x", file_name="x", alt="x")
    rows = list(csv_module.reader(io.StringIO(given["CSV"].decode("utf-8-sig"), newline="")))
    assert rows[0] == ["Design", "Revenue, GBP", "Day"]  # as on the screen
    assert rows[1:3] == [
        [SCRIPT, "0.10", "2026-01-01"],
        ['quoted "x", é\n', "-12345678901234.56", "1999-12-31"],
    ]
    assert rows[3][0] == "'=1+1"  # a spreadsheet does not execute it
    path = tmp_path / "file.parquet"
    path.write_bytes(given["Parquet"])
    read = duckdb.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
    assert [tuple(row) for row in read] == list(frame.itertuples(index=False, name=None))


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT])
def test_missing_values_have_no_text(missing: object) -> None:
    assert text.is_missing(missing)
    assert text.plain(missing) == ""
    assert text.money(missing, "GBP") == "not converted"  # type: ignore[arg-type]
    shown = tables.readable(pd.Series(["a", missing], dtype=object))
    assert list(shown) == ["a", None]


def test_a_column_is_wide_enough_for_texts_after_its_first_rows() -> None:
    def width_of(values: list[str | None]) -> int | None:
        config = tables.column(pd.Series(values, dtype=object, name="name"), "Name")
        width: int | None = config["width"]
        return width

    long = "agreed_delivery_location_id"
    assert width_of([long, *["id"] * 20]) is None  # the browser measures it
    assert width_of([*["id"] * 20, None, long]) == 27 * 6 + 20
    assert width_of([*["id"] * 20, long * 9]) == tables.MAX_PIXELS
    assert width_of([long * 4, *["id"] * 20, long * 9]) is None  # it has the maximum already
    assert width_of([]) is None


def test_headings_of_numbers_are_aligned_like_their_cells() -> None:
    def label_of(*values: object) -> str:
        return str(tables.column(pd.Series(values, dtype=object, name="x"), "Heading")["label"])

    assert label_of(Decimal(1), None) == f"{tables.RIGHT}Heading"
    assert label_of("a") == label_of(date(2026, 1, 1)) == "Heading"
    counts = tables.column(pd.Series([1, 2], name="orders"), "Orders")
    assert counts["label"] == f"{tables.RIGHT}Orders"


def test_the_table_of_a_statement_has_all_decimals() -> None:
    values = pd.Series([Decimal("1.005"), None, Decimal("2.50")], dtype=object, name="x")
    for all_decimals, form in ((True, "%.3f"), (False, "accounting")):
        config = tables.column(values, "X", all_decimals=all_decimals)
        assert config["type_config"]["format"] == form
    small = pd.DataFrame({"x": values})
    assert ">1.005<" in tables.html_table(small, {"x": "X"}, "", all_decimals=True)
    assert ">1.00<" in tables.html_table(small, {"x": "X"}, "")
    amounts = tables.column(values[2:], "X", all_decimals=True)
    assert amounts["type_config"]["format"] == "accounting"


def test_identifiers_have_no_thousands_separators() -> None:
    def format_of(name: str) -> str:
        config = tables.column(pd.Series([1234], name=name), "Paid, id and number")
        return str(config["type_config"]["format"])

    names = ["payment_id", "id", "key", "batch", "rows", "paid", "valid", "units"]
    assert [name for name in names if format_of(name) == "%d"] == names[:4]


def test_a_list_of_bars_has_a_text_for_the_others() -> None:
    values = [Decimal(n) for n in (*range(10, 2, -1), 4000, 9)]
    frame = pd.DataFrame({"name": list("abcdefghij"), "value": values, "orders": [1] * 10})
    made = charts.ranked(frame, "Revenue", "GBP", dark=False, most=7)
    assert made.alt_text == (
        "Revenue, largest first: a £10.00; b £9.00; c £8.00; d £7.00; e £6.00; f £5.00; "
        "g £4.00; Others (3): £4,012.00."
    )
    drawn = made.spec.to_dict()
    [bars] = drawn["datasets"].values()
    assert [bar["name"] for bar in bars] == list("abcdefg")
    assert max(bar["plotted"] for bar in bars) == 10  # not that of the others
    assert made.note == "Others (3): £4,012.00"
    assert not charts.ranked(frame.head(7), "x", "GBP", dark=False).note


def test_there_are_so_many_bars_that_the_others_are_not_the_largest() -> None:
    def enough(*values: int) -> int:
        return charts.enough(pd.DataFrame({"value": [Decimal(value) for value in values]}))

    assert enough(100, *[10] * 16) == 7  # the others are 100
    assert enough(100, *[10] * 19) == 10
    assert enough(*[10] * 200) == 15


def test_incomplete_periods_are_dashed_and_named() -> None:
    starts = [date(2026, month, 1) for month in (8, 9, 10, 11)]
    frame = pd.DataFrame({"start": starts, "value": [Decimal(5)] * 4})
    note = "Dashed: incomplete (Aug 2026, Nov 2026)."
    incomplete = [True, False, False, True]
    lines = charts.lines(frame, {"value": "Net"}, "month", "GBP", dark=False, incomplete=incomplete)
    bars = charts.over_time(
        frame, "value", "Net", "month", "GBP", dark=False, incomplete=incomplete
    )
    for made in (lines, bars):
        assert made.alt_text.endswith(note)
        assert made.note == note
    [drawn] = bars.spec.to_dict()["datasets"].values()
    assert [bar["incomplete"] for bar in drawn] == incomplete
    assert drawn[3]["whole"] == "Nov 2026 (incomplete)"
    points = next(rows for rows in lines.spec.to_dict()["datasets"].values() if "run" in rows[0])
    assert [(point["run"], point["label"][:3]) for point in points] == [
        *(("first", month) for month in ("Aug", "Sep")),
        *(("complete", month) for month in ("Sep", "Oct")),
        *(("last", month) for month in ("Oct", "Nov")),
    ]
    whole = charts.lines(frame, {"value": "Net"}, "month", "GBP", dark=False)
    assert "incomplete" not in whole.alt_text
    assert not whole.note


def test_a_period_that_is_not_over_or_is_cut_off_is_incomplete() -> None:
    choices = Choices(today=date(2026, 11, 22), first_day=date(2024, 3, 1))
    starts = pd.DataFrame({"start": [date(2026, month, 1) for month in (9, 10, 11)]})

    def incomplete(since: date, until: date) -> list[bool]:
        page = View(None, Filter(since, until), choices, dark=False)  # type: ignore[arg-type]
        return drill.are_incomplete(page, starts, "month")

    assert incomplete(date(2026, 9, 1), date(2026, 11, 22)) == [False, False, True]
    assert incomplete(date(2026, 9, 1), date(2026, 11, 30)) == [False, False, True]
    assert incomplete(date(2026, 9, 2), date(2026, 11, 22)) == [True, False, True]
    days = pd.DataFrame({"start": [date(2026, 11, 21), date(2026, 11, 22)]})
    page = View(None, Filter(*days["start"]), choices, dark=False)  # type: ignore[arg-type]
    assert drill.are_incomplete(page, days, "day") == [False, True]


def test_two_names_of_a_country_are_merged() -> None:
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


def test_an_amount_without_a_rate_is_not_zero() -> None:
    frame = pd.DataFrame(
        {
            "start": [date(2026, 11, 1), date(2026, 11, 2)],
            "name": ["a", "b"],
            "value": [Decimal(5), None],
            "unconverted": [0, 3],
        }
    )
    made = charts.over_time(frame, "value", "Revenue", "day", "GBP", dark=False)
    assert made.alt_text.endswith(
        "total £5.00, maximum £5.00 in 1 Nov 2026. Not converted: 3 rows."
    )
    [bars] = made.spec.to_dict()["datasets"].values()
    assert [(bar["plotted"], bar["exact"]) for bar in bars] == [
        (5.0, "£5.00"),
        (None, "not converted"),
    ]
    nothing = charts.over_time(frame.tail(1), "value", "Revenue", "day", "GBP", dark=False)
    assert "2 Nov 2026: not converted. Not converted: 3 rows." in nothing.alt_text
    assert "b not converted." in charts.ranked(frame, "Revenue", "GBP", dark=False).alt_text
    assert charts.sum_known([None, Decimal(2)]) == 2
    assert charts.sum_known([None]) is None
    assert charts.sum_known([]) == 0


def test_an_axis_without_amounts_shows_only_zero_and_a_large_one_shows_units() -> None:
    frame = pd.DataFrame({"start": [date(2026, 11, 1)], "value": [Decimal(0)]})

    def axis(frame: pd.DataFrame) -> Any:
        made = charts.over_time(frame, "value", "Revenue", "day", "JPY", dark=False)
        return made.spec.to_dict()["encoding"]["y"]

    assert axis(frame)["scale"]["domain"] == [0, 1]
    assert axis(frame)["axis"]["values"] == [0]
    much = axis(frame.assign(value=pd.Series([Decimal(10) ** 10], dtype=object)))
    assert "domain" not in much["scale"]
    assert "? '0' :" in much["axis"]["labelExpr"]
    assert "'bn'" in much["axis"]["labelExpr"]


def test_years_without_orders_at_the_ends_are_not_drawn() -> None:
    starts = [date(year, 1, 1) for year in range(1900, 2201)]
    orders = [1 if start.year in {2024, 2026} else 0 for start in starts]
    frame = pd.DataFrame({"start": starts, "orders": orders})
    assert [start.year for start in charts.trim_empty_periods(frame, ["orders"])["start"]] == [
        2024,
        2025,
        2026,
    ]
    assert charts.trim_empty_periods(frame.head(30), ["orders"]).equals(frame.head(30))
    assert len(charts.trim_empty_periods(frame.head(100), ["orders"])) == 1


def rings(drawn: Any, code: str) -> list[list[int]]:
    """Return the outer rings of a country, as x coordinates."""
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
    """Russia and Fiji are on both sides of 180 degrees."""
    plain = world.topology(lambda _: {}, ())
    codes = [one["id"] for one in plain["objects"]["countries"]["geometries"]]
    wide = {code for code in codes for ring in rings(plain, code) if width(ring) > 500}
    assert wide == {"RU"}
    assert width(rings(plain, "RU")[0]) < outlines.WIDTH / 3


def test_a_very_small_country_with_sales_is_a_disc() -> None:
    plain = world.topology(lambda _: {}, ())
    frame = pd.DataFrame({"name": ["San Marino", "France"], "value": [Decimal(5), Decimal(1)]})
    [made] = (
        charts.world_map(frame, "Revenue", "GBP", dark=False).spec.to_dict()["datasets"].values()
    )
    assert width(rings(plain, "SM")[0]) < 10
    assert width(rings(made, "SM")[0]) == 2 * outlines.DISC
    geometries = made["objects"]["countries"]["geometries"]
    assert [one["id"] for one in geometries[-2:]] == ["FR", "SM"]  # drawn over their neighbours
    assert geometries[-2]["arcs"] == next(
        one["arcs"] for one in plain["objects"]["countries"]["geometries"] if one["id"] == "FR"
    )


def test_every_country_of_iso_3166_with_people_is_on_the_map() -> None:
    names = [country.name for country in pycountry.countries]
    lacking = {world.code_of(name) for name in names if world.code_on_map(name) is None}
    assert lacking == {"AQ", "BV", "UM"}
    assert (world.code_on_map("Kosovo"), world.name_of("XK")) == ("XK", "Kosovo")


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


PAPER = {False: "#FFFFFF", True: "#171614"}
"""Streamlit's page, light and dark."""


@pytest.mark.parametrize("dark", [False, True])
def test_colours_have_enough_contrast_with_the_page(*, dark: bool) -> None:
    assert round(contrast("#000000", "#FFFFFF"), 1) == 21
    paper = PAPER[dark]
    words = [charts.INK_DARK if dark else charts.INK_LIGHT, charts.deadline_colour(dark=dark)]
    assert [colour for colour in words if contrast(colour, paper) < 4.5] == []
    most_series = 3
    shapes = (charts.DARK if dark else charts.LIGHT)[:most_series]
    assert [colour for colour in shapes if contrast(colour, paper) < 3] == []
    least, most, nothing = charts.MAP_DARK if dark else charts.MAP_LIGHT
    assert contrast(most, paper) >= 3
    assert contrast(most, nothing) >= 3
    assert contrast(least, nothing) > 1.5


def test_a_chart_of_zeros_has_no_data_but_one_of_unknown_values_has() -> None:
    frame = pd.DataFrame({"value": [Decimal(0), Decimal(0)], "orders": [0, 0]})
    assert not charts.has_data(frame, ["value", "orders"])
    assert charts.has_data(frame.assign(orders=[0, 1]), ["value", "orders"])
    unknown = frame.assign(value=pd.Series([None, Decimal(0)], dtype=object))
    assert charts.has_data(unknown, ["value", "orders"])


def test_lines_are_clickable_only_if_they_can_be_drilled_into() -> None:
    frame = pd.DataFrame({"start": [date(2026, 11, 1)], "value": [Decimal(5)]})

    def clicks(*, clickable: bool) -> set[str]:
        made = charts.lines(frame, {"value": "Net"}, "day", "GBP", dark=False, clickable=clickable)
        return {one["name"] for one in made.spec.to_dict()["params"]}

    assert clicks(clickable=True) - clicks(clickable=False) == {charts.PERIOD}


def test_a_chart_has_a_text_alternative() -> None:
    frame = pd.DataFrame(
        {"start": [date(2026, 11, 1), date(2026, 12, 1)], "value": [Decimal(5), Decimal("7.5")]}
    )
    made = charts.over_time(frame, "value", "Revenue", "month", "EUR", dark=True)
    assert made.alt_text == (
        "Revenue by month from Nov 2026 to Dec 2026: total €12.50, maximum €7.50 in Dec 2026."
    )
    assert charts.over_time(frame.head(0), "value", "Revenue", "day", "EUR", dark=False).alt_text


def test_a_narrow_axis_hides_every_other_label() -> None:
    frame = pd.DataFrame({"name": ["a"], "value": [Decimal(5)]})
    drawn = charts.ranked(frame, "Revenue", "GBP", dark=False).spec.to_dict()
    assert drawn["encoding"]["x"]["axis"]["labelOverlap"] == "parity"  # evenly, unlike "greedy"


def test_countries_are_on_the_map_by_any_name_and_unknown_ones_in_a_text() -> None:
    names = ["Türkiye", "Turkey", "Republic of Korea", "United Kingdom", "Atlantis", SCRIPT]
    frame = pd.DataFrame({"name": names, "value": [Decimal(n) for n in range(6, 0, -1)]})
    made = charts.world_map(frame, "Revenue", "GBP", dark=False)
    assert "Türkiye £11.00" in made.alt_text
    unmapped = f"Without a place on the map: Atlantis £2.00; {SCRIPT} £1.00."
    assert charts.unmapped_text(frame, "GBP") == unmapped
    assert made.alt_text.endswith(unmapped)
    assert not charts.unmapped_text(frame.head(4), "GBP")
    assert charts.unmapped_text(frame.assign(name="Antarctica"), "GBP").startswith(
        "Without a place on the map"
    )


def test_there_are_seven_distinguishable_colours() -> None:
    okabe_ito = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
    assert set(charts.LIGHT) == set(charts.DARK) == okabe_ito
    assert len(okabe_ito) == 7


@pytest.mark.parametrize(
    ("value", "currency", "shown"),
    [
        ("0", "GBP", "£0.00"),
        ("-0.001", "GBP", "£0.00"),
        ("-12.5", "EUR", "-€12.50"),
        ("9999.99", "USD", "$9,999.99"),
        ("1234567.5", "CHF", "CHF 1,234,568"),
        ("999999999.9", "GBP", "£1,000,000,000"),
        ("-57794344953.06", "GBP", "-£57.794bn"),
        ("1234000000", "EUR", "€1.234bn"),
    ],
)
def test_money_has_a_symbol_and_a_suitable_unit(value: str, currency: str, shown: str) -> None:
    assert text.money(Decimal(value), currency) == shown


def test_control_characters_are_escaped() -> None:
    assert text.plain("a\nb\u202ec\x1b[31m") == r"a\nb\u202ec\x1b[31m"
    assert text.plain(None) == ""
    assert text.markdown("$5 and $6") == r"\$5 and \$6"


def test_breadcrumbs_have_a_step_for_each_wider_period() -> None:
    choices = Choices(date(2026, 11, 22), date(2024, 3, 1))
    criteria = Filter(date(2026, 11, 5), date(2026, 11, 5))
    steps = [step.label for step in drill.steps(criteria, choices)]
    assert steps == ["All", "2026", "November 2026", "5 Nov 2026"]
    wide = Filter(date(2025, 11, 5), date(2026, 11, 5))
    assert [step.label for step in drill.steps(wide, choices)] == ["All"]
    assert drill.period_of_bar(wide, date(2025, 11, 1), "month") == (
        date(2025, 11, 5),
        date(2025, 11, 30),
    )
    assert drill.last_day(date(2024, 2, 1), "month") == date(2024, 2, 29)


def test_a_small_table_is_html_without_markup_of_its_values() -> None:
    frame = pd.DataFrame(
        {
            "name": [SCRIPT, None, "**a**"],
            "value": [Decimal("-1234.5"), None, Decimal(0)],
            "rate": [Decimal("0.123456789"), None, Decimal(1)],
            "orders": [1234, 0, 1],
            "batch": [1234, 0, 1],
            "paid": [True, False, True],
        }
    )
    headings = {name: f"<b>{name}" for name in frame.columns}
    html = tables.html_table(frame, headings, "<i>what it shows")
    assert set(re.findall(r"<(\w+)", html)) == {
        *("div", "table", "caption", "thead", "tbody", "tr", "th", "td"),
    }
    cells = re.findall(r'<td class="(\w+)">(.*?)</td>', html)
    assert cells[:6] == [
        ("words", escape(SCRIPT)),
        ("number", "-1,234.50"),
        ("number", "0.123457"),
        ("number", "1,234"),
        ("number", "1234"),
        ("words", "yes"),
    ]
    assert cells[6:9] == [("words", "-"), ("number", "-"), ("number", "-")]
