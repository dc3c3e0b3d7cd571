"""Charts with colours for colour-blind readers, exact values in tooltips, and text alternatives.

Amounts are plotted as floats; tooltips show the exact Decimal. Dates on an axis are texts, so that
they do not depend on the browser's time zone.
"""

from totes.dashboard.charts.bars import over_time, ranked, side_by_side
from totes.dashboard.charts.colours import (
    DARK,
    EDGE_DARK,
    EDGE_LIGHT,
    FAINT_DARK,
    FAINT_LIGHT,
    INK_DARK,
    INK_LIGHT,
    LIGHT,
    MAP_DARK,
    MAP_LIGHT,
    accent,
    deadline_colour,
)
from totes.dashboard.charts.curves import lines
from totes.dashboard.charts.delays import lag
from totes.dashboard.charts.drawing import MEMBER, PERIOD, Chart, period_label, show
from totes.dashboard.charts.explored import Column, exact, explored
from totes.dashboard.charts.maps import by_country, unmapped_text, world_map
from totes.dashboard.charts.series import (
    BEFORE,
    FEW,
    MANY,
    as_date,
    enough,
    has_data,
    sum_known,
    trim_empty_periods,
    with_previous,
)

__all__ = [
    "BEFORE",
    "DARK",
    "EDGE_DARK",
    "EDGE_LIGHT",
    "FAINT_DARK",
    "FAINT_LIGHT",
    "FEW",
    "INK_DARK",
    "INK_LIGHT",
    "LIGHT",
    "MANY",
    "MAP_DARK",
    "MAP_LIGHT",
    "MEMBER",
    "PERIOD",
    "Chart",
    "Column",
    "accent",
    "as_date",
    "by_country",
    "deadline_colour",
    "enough",
    "exact",
    "explored",
    "has_data",
    "lag",
    "lines",
    "over_time",
    "period_label",
    "ranked",
    "show",
    "side_by_side",
    "sum_known",
    "trim_empty_periods",
    "unmapped_text",
    "with_previous",
    "world_map",
]
