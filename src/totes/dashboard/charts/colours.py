"""Colours that everybody can tell apart, on a light page and on a dark one."""

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"

ORANGE, SKY, YELLOW = "#E69F00", "#56B4E9", "#F0E442"

LIGHT = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, YELLOW)

DARK = (SKY, ORANGE, GREEN, PURPLE, YELLOW, VERMILLION, BLUE)
"""Okabe and Ito's colours without black, those with the most contrast first."""

INK_LIGHT, INK_DARK = "#4A4E57", "#D5D8DE"
"""Words in a chart, on a light page and on a dark one."""

MAP_LIGHT = ("#8FC1E3", BLUE, "#E9ECEF")

MAP_DARK = ("#2C6A94", "#9AD3F5", "#2A2F37")
"""A map's colours for the least, for the most, and for nothing."""


def accent(*, dark: bool) -> str:
    """The colour of a chart that needs only one."""
    return (DARK if dark else LIGHT)[0]


def deadline_colour(*, dark: bool) -> str:
    """Colour of the line that marks the deadline, with enough contrast."""
    return ORANGE if dark else "#B34F00"
