"""All colours: colour-blind readers can distinguish them, in the light and in the dark theme."""

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"

ORANGE, SKY, YELLOW = "#E69F00", "#56B4E9", "#F0E442"

LIGHT = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, YELLOW)

DARK = (SKY, ORANGE, GREEN, PURPLE, YELLOW, VERMILLION, BLUE)
"""Okabe and Ito's colours without black, ordered by contrast with the page."""

INK_LIGHT, INK_DARK = "#4A4E57", "#D5D8DE"
"""Colour of text in a chart, for the light and the dark theme."""

FAINT_LIGHT, FAINT_DARK = "#E9ECEF", "#2A2F37"
"""Colour of an area without a value."""

EDGE_LIGHT, EDGE_DARK = "#6B7280", "#9AA0A6"
"""Colour of lines between boxes."""

MAP_LIGHT = ("#8FC1E3", BLUE, FAINT_LIGHT)

MAP_DARK = ("#2C6A94", "#9AD3F5", FAINT_DARK)
"""Colours of a map for the smallest value, the largest value, and no value."""


def accent(*, dark: bool) -> str:
    """Return the colour of a chart with one series, and of buttons and links."""
    return (DARK if dark else LIGHT)[0]


def deadline_colour(*, dark: bool) -> str:
    """Return the colour of the line that marks the deadline."""
    return ORANGE if dark else "#B34F00"
