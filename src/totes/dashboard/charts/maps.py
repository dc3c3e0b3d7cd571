"""Countries, darker for more."""

from decimal import Decimal

import altair as alt
import pandas as pd

from totes.dashboard import text, world
from totes.dashboard.charts.colours import MAP_DARK, MAP_LIGHT
from totes.dashboard.charts.drawing import ONE, SHORT_AMOUNT, Chart, finished, on_click
from totes.dashboard.charts.series import MOST, added, folded

NO_SALES = -1.0
"""Plotted for countries where nothing was; a null would leave them out of the map."""

_LEGEND_WIDTH = 60
"""A phone's Pacific has no room for more."""

_ENDS = f"datum.perc > 0.01 && datum.perc < 0.99 ? '' : {SHORT_AMOUNT}"
"""Of the legend's amounts the first and the last: others would run into them."""


def by_country(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each country on the map: two of its names are one country, the largest first."""
    codes = [world.code_of(str(name)) or str(name) for name in frame["name"]]
    if len(set(codes)) == len(codes):
        return frame
    counted = "units" if "units" in frame.columns else "quantity"
    merged = []
    for _, same in frame.groupby(codes, sort=False):
        row = same.iloc[0].to_dict()
        if len(same) > 1:
            for column in ("value", "share"):
                row[column] = added(same[column])
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


def off_the_map(frame: pd.DataFrame, currency: str) -> str:
    """The countries that no map has, with their sums; nothing where there are none."""
    missing = frame[[world.code_on_map(str(name)) is None for name in frame["name"]]]
    seen, others = folded(missing)
    told = [
        f"{text.plain(name)} {text.money(value, currency)}"
        for name, value in zip(seen["name"], seen["value"], strict=True)
    ]
    if len(others):
        told.append(f"all others together {text.money(added(others['value']), currency)}")
    return f"Not on the map: {'; '.join(told)}." if told else ""


def world_map(frame: pd.DataFrame, what: str, currency: str, *, dark: bool) -> Chart:
    """Countries, darker (on a dark page lighter) for more; `name` and `value` tell how much.

    One that is too small to be seen is a disc. A click on one is the selection `ONE`, of its code.
    """
    sums: dict[str, Decimal | None] = {}
    called: dict[str, str] = {}
    for name, value in zip(frame["name"], frame["value"], strict=True):
        code = world.code_on_map(str(name))
        if code is None:
            continue
        sums[code] = added([sums[code], value]) if code in sums else added([value])
        called.setdefault(code, text.plain(name))
    known = {code: value for code, value in sums.items() if value is not None}

    def properties(code: str) -> dict[str, object]:
        return {
            "name": called.get(code, world.name_of(code)),
            "exact": text.money(sums[code], currency, exact=True) if code in sums else "none",
            "plotted": float(known[code]) if code in known else NO_SALES,
        }

    outlines = alt.InlineData(
        values=world.topology(properties, sums),
        format=alt.TopoDataFormat(feature="countries", type="topojson"),
    )
    most = float(max(known.values(), default=Decimal(0))) or 1.0
    low, high, none = MAP_DARK if dark else MAP_LIGHT
    drawn = (
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
                        orient="bottom-left",  # where there is nothing but the Pacific
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
        .add_params(on_click(ONE, "id"))
    )
    drawn = finished(drawn, None, dark=dark)
    largest = sorted(known, key=known.__getitem__, reverse=True)[:MOST]
    told = "; ".join(f"{called[code]} {text.money(sums[code], currency)}" for code in largest)
    says = f"A map of {what.lower()} by country, in {len(sums)} countries. The largest: {told}."
    return Chart(drawn, f"{says} {off_the_map(frame, currency)}".rstrip())
