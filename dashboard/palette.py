"""The colours of the charts, with the second cue that goes with each: a shape, a dash, a mark. Pure.

Chosen so that people with any of the common colour blindnesses tell them apart, and so that each stands out from the
light and from the dark background: nothing here depends on the theme. A test holds both.
"""

from __future__ import annotations

from typing import Final

import altair as alt

BLUE: Final = "#187ff9"
ORANGE: Final = "#c77a00"
GREEN: Final = "#12a66f"
RED: Final = "#cd3339"
PURPLE: Final = "#bc76ca"
GREY: Final = "#6e6d7b"

CATEGORIES: Final = (BLUE, ORANGE, PURPLE, GREEN, RED, GREY)
"""For series without an order. Where colour is the only sign, use no more than the first four."""
SHAPES: Final = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down")
DASHES: Final = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 6])
"""The second cue of points and of lines, in the order of `CATEGORIES`."""

GOOD: Final = GREEN
BAD: Final = RED
WARN: Final = ORANGE
UNKNOWN: Final = PURPLE
QUIET: Final = GREY

NOTE: Final = "#76808c"
"""Small text inside charts, which does not follow the theme."""

SEQUENTIAL: Final = "cividis"
"""For quantities from little to much. Perceptually even, also without colour vision."""
DIVERGING: Final = "blueorange"
"""For quantities around a middle that means something."""
NOT_MEASURED: Final = "#84848466"
"""Cells without a value: grey that no scale above contains, half transparent, and always named in the legend."""


def categories(names: list[str]) -> tuple[alt.Scale, alt.Scale, alt.Scale]:
    """Scales of colour, shape and dash for up to six names, so that each name has one look on every chart."""
    count = len(CATEGORIES)
    if len(names) > count:
        raise ValueError(f"{len(names)} series cannot be told apart: {count} at most")
    colours, shapes, dashes = CATEGORIES[: len(names)], SHAPES[: len(names)], DASHES[: len(names)]
    return (
        alt.Scale(domain=names, range=list(colours)),
        alt.Scale(domain=names, range=list(shapes)),
        alt.Scale(domain=names, range=[list(dash) for dash in dashes]),
    )
