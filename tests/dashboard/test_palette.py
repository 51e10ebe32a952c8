"""The colours stand out from both backgrounds, and from each other for every kind of colour vision."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

import numpy as np
import pytest

import palette

THEME = tomllib.loads((Path(__file__).resolve().parents[2] / ".streamlit" / "config.toml").read_text())["theme"]
# What is left of linear RGB without one kind of cone (Machado, Oliveira, Fernandes 2009, severity 1).
VISION = {
    "all three cones": np.eye(3),
    "no red cones": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no green cones": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "no blue cones": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def linear(colour: str) -> np.ndarray:
    """Linear RGB of `#rrggbb`."""
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB, where distances are about as large as they look."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    scaled = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_stands_out_from_the_background(theme: str) -> None:
    background = THEME[theme]["backgroundColor"]
    assert min(contrast(colour, background) for colour in palette.CATEGORIES) >= 3.0
    assert contrast(THEME[theme]["textColor"], background) >= 7.0
    assert contrast(THEME[theme]["linkColor"], background) >= 4.5


@pytest.mark.parametrize("vision", VISION)
def test_any_two_colours_are_told_apart_with_every_kind_of_vision(vision: str) -> None:
    seen = [lab(np.array(VISION[vision]) @ linear(colour)) for colour in palette.CATEGORIES]
    # A difference of 2.3 is just noticeable side by side; thin lines and small marks need several times that.
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)) > 15


def test_every_series_has_a_second_cue_of_its_own() -> None:
    colour, shape, dash = palette.categories(["a", "b", "c"])
    assert colour.domain == shape.domain == dash.domain == ["a", "b", "c"]
    assert len(set(shape.range)) == len({tuple(one) for one in dash.range}) == 3
    assert len(set(palette.SHAPES)) == len({tuple(one) for one in palette.DASHES}) == len(palette.CATEGORIES)


def test_more_series_than_can_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="7 series"):
        palette.categories(list("abcdefg"))
