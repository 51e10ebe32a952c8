"""Host arrays to report values: non-finite becomes null, float32 becomes the shortest decimal that round-trips.

A float32 written as the double that it equals takes 17 digits and says nothing more: 0.10000000149011612 for 0.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

_POWERS = 10.0 ** np.arange(23)
"""The powers of ten that a double holds exactly."""
_FEWEST, _MOST = 6, 9
"""Significant digits: any decimal of 6 survives float32, any float32 survives a decimal of 9."""


def shortest(values: Floats) -> NDArray[np.float64]:
    """The same numbers as doubles whose shortest decimal is that of the float32. Any shape; NaN and Inf stay."""
    single = np.ascontiguousarray(values, dtype=np.float32)
    flat = single.reshape(-1)
    exact = flat.astype(np.float64)
    size = np.abs(exact)
    # Here digits and powers of ten are exact doubles, so one product or quotient gives the double nearest the decimal.
    # Powers of two have uneven neighbours, where the nearest decimal is not always the shortest: NumPy's text knows.
    plain = (size > 1e-12) & (size < 1e15) & (np.frexp(exact)[0] != np.copysign(0.5, exact))
    found = np.where(plain, 0.0, exact)
    open_ = np.flatnonzero(plain)
    tens = np.floor(np.log10(size[open_])).astype(np.int64)
    for digits in range(_FEWEST, _MOST + 1):
        if not open_.size:
            break
        places = digits - 1 - tens
        scale = _POWERS[np.abs(places)]
        down = places < 0
        value = exact[open_]
        whole = np.rint(np.where(down, value / scale, value * scale))
        decimal = np.where(down, whole * scale, whole / scale)
        fits = decimal.astype(np.float32) == flat[open_]
        found[open_[fits]] = decimal[fits]
        open_, tens = open_[~fits], tens[~fits]
    rest = np.flatnonzero(~plain & np.isfinite(exact) & (size != 0.0))
    odd = np.concatenate((rest, open_))
    if odd.size:
        found[odd] = flat[odd].astype("U").astype(np.float64)
    return found.reshape(single.shape)


def nullable(values: Floats) -> list[Any]:
    """Nested lists of the array's shape, None where a value is not finite."""
    exact = shortest(values)
    finite = np.isfinite(exact)
    if finite.all():
        return list(exact.tolist())
    return blanked(exact, finite)


def blanked(values: NDArray[Any], keep: NDArray[np.bool_]) -> list[Any]:
    """Nested lists of the array's shape, None where `keep` is False."""
    if keep.all():
        return list(values.tolist())
    mixed = values.astype(object)
    mixed[~keep] = None
    return list(mixed.tolist())


def finite_or_none(value: float) -> float | None:
    """A Python float, or None where it is not finite."""
    return float(value) if np.isfinite(value) else None


def first_bad(values: Floats) -> tuple[int, int] | None:
    """How many values of a flat array are not finite, and the place of the first; None where all are finite."""
    bad = np.flatnonzero(~np.isfinite(values))
    return (int(bad.size), int(bad[0])) if bad.size else None


def pick(values: list[Any] | None, *index: int) -> Any:
    """`values[i][j]...`, or None where there are no values."""
    item: Any = values
    for place in index:
        if item is None:
            return None
        item = item[place]
    return item
