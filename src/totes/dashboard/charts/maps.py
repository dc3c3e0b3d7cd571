"""Maps of the world, coloured by a value."""

from decimal import Decimal

import altair as alt
import pandas as pd

from totes.dashboard import text, world
from totes.dashboard.charts.colours import MAP_DARK, MAP_LIGHT
from totes.dashboard.charts.drawing import MEMBER, SHORT_AMOUNT, Chart, on_click, styled
from totes.dashboard.charts.series import FEW, sum_known

NO_SALES = -1.0
"""Value of countries without sales; Vega does not draw a country with null."""

_LEGEND_WIDTH = 60
"""Pixels; on a phone, a wider one would cover countries."""

_ENDS = f"datum.perc > 0.01 && datum.perc < 0.99 ? '' : {SHORT_AMOUNT}"
"""Labels of the legend: only the first and the last, as others would overlap."""


class _Outlines(alt.InlineData):
    """Data that Altair doesn't check when it is made: that would take most of a map's time."""

    _class_is_valid_at_instantiation = False


def by_country(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per country, the largest value first; names of one country are merged."""
    codes = [world.code_of(str(name)) or str(name) for name in frame["name"]]
    if len(set(codes)) == len(codes):
        return frame
    counted = "units" if "units" in frame.columns else "items"
    merged = []
    for _, same in frame.groupby(codes, sort=False):
        row = same.iloc[0].to_dict()
        if len(same) > 1:
            for column in ("value", "share"):
                row[column] = sum_known(same[column])
            for column in ("orders", counted, "unconverted"):
                row[column] = same[column].sum()
            whole = row[counted] and not row["unconverted"]
            price = row["value"] / int(row[counted]) if whole else None
            row["average_price"] = price and price.quantize(Decimal("0.0001"))
        merged.append(row)
    merged.sort(key=lambda row: (row["value"] is None, -(row["value"] or 0)))
    return pd.DataFrame(merged, columns=frame.columns).astype(
        dict.fromkeys(("value", "share", "average_price"), object)
    )


def unmapped_text(frame: pd.DataFrame, currency: str) -> str:
    """Return a text of the countries that are not on the map, with their values; "" if none."""
    missing = frame[[world.code_on_map(str(name)) is None for name in frame["name"]]]
    top, others = missing.iloc[:FEW], missing.iloc[FEW:]
    parts = [
        f"{text.plain(name)} {text.money(value, currency)}"
        for name, value in zip(top["name"], top["value"], strict=True)
    ]
    if len(others):
        parts.append(f"Others: {text.money(sum_known(others['value']), currency)}")
    return f"Without a place on the map: {'; '.join(parts)}." if parts else ""


def world_map(frame: pd.DataFrame, what: str, currency: str, *, dark: bool) -> Chart:
    """Return a map of the frame's `value` by `name`, darker (on a dark page lighter) for more.

    A very small country with a value is a disc. A click on a country sets the selection `MEMBER` to
    its code.
    """
    sums: dict[str, Decimal | None] = {}
    names: dict[str, str] = {}
    for name, value in zip(frame["name"], frame["value"], strict=True):
        code = world.code_on_map(str(name))
        if code is None:
            continue
        sums[code] = sum_known([sums[code], value]) if code in sums else sum_known([value])
        names.setdefault(code, text.plain(name))
    present = {code: value for code, value in sums.items() if value is not None}

    def properties(code: str) -> dict[str, object]:
        return {
            "name": names.get(code, world.name_of(code)),
            "exact": text.money(sums[code], currency, exact=True) if code in sums else "none",
            "plotted": float(present[code]) if code in present else NO_SALES,
        }

    outlines = _Outlines(
        values=world.topology(properties, sums),
        format=alt.TopoDataFormat(feature="countries", type="topojson"),
    )
    most = float(max(present.values(), default=Decimal(0))) or 1.0
    low, high, none = MAP_DARK if dark else MAP_LIGHT
    chart = (
        alt.Chart(outlines)
        .mark_geoshape(stroke="#3A4149" if dark else "white", strokeWidth=0.5, cursor="pointer")
        .encode(
            color=alt.condition(
                f"datum.properties.plotted != {NO_SALES}",
                alt.Color(
                    "properties.plotted:Q",
                    scale=alt.Scale(range=[low, high], domain=[0, most], clamp=True, nice=2),
                    legend=alt.Legend(
                        title=f"{what}, {currency}",
                        orient="bottom-left",  # over the Pacific
                        offset=0,
                        gradientLength=_LEGEND_WIDTH,
                        gradientThickness=8,
                        tickCount=2,
                        labelExpr=_ENDS,
                        titleFontSize=11,
                        labelFontSize=11,
                        direction="horizontal",
                    ),
                ),
                alt.value(none),
            ),
            tooltip=[
                alt.Tooltip("properties.name:N", title="Country"),
                alt.Tooltip("properties.exact:N", title=what),
            ],
        )
        .project(type="identity")
        .add_params(on_click(MEMBER, "id"))
    )
    chart = styled(chart, None, dark=dark)
    largest = sorted(present, key=present.__getitem__, reverse=True)[:FEW]
    amounts = "; ".join(f"{names[code]} {text.money(sums[code], currency)}" for code in largest)
    description = f"Map of {what.lower()} in {len(sums)} countries. The largest: {amounts}."
    return Chart(chart, f"{description} {unmapped_text(frame, currency)}".rstrip())
