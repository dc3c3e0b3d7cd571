"""Charts: colours that everybody can tell apart, exact values in tooltips, and what they say.

Each chart comes with a sentence that says the same for whoever doesn't see it. Amounts are plotted
as floats, where a pixel is coarser than any rounding; tooltips show the exact Decimal. Times on an
axis are words made here, so that no browser's time zone moves them.
"""

from totes.dashboard.charts.bars import over_time, ranked, side_by_side
from totes.dashboard.charts.colours import (
    BLUE,
    DARK,
    INK_DARK,
    INK_LIGHT,
    LIGHT,
    MAP_DARK,
    MAP_LIGHT,
    SKY,
    accent,
    deadline_colour,
)
from totes.dashboard.charts.curves import lines
from totes.dashboard.charts.delays import lag
from totes.dashboard.charts.drawing import ONE, PERIOD, Chart, period_label
from totes.dashboard.charts.maps import by_country, off_the_map, world_map
from totes.dashboard.charts.series import MOST, added, as_date, busy, happened

__all__ = [
    "BLUE",
    "DARK",
    "INK_DARK",
    "INK_LIGHT",
    "LIGHT",
    "MAP_DARK",
    "MAP_LIGHT",
    "MOST",
    "ONE",
    "PERIOD",
    "SKY",
    "Chart",
    "accent",
    "added",
    "as_date",
    "busy",
    "by_country",
    "deadline_colour",
    "happened",
    "lag",
    "lines",
    "off_the_map",
    "over_time",
    "period_label",
    "ranked",
    "side_by_side",
    "world_map",
]
