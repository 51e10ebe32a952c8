"""Makes matrices small enough to draw: each cell stands for a block of layers and steps. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MAX_COLUMNS = 96
MAX_ROWS = 48


@dataclass(frozen=True)
class Grid:
    """A matrix as it is drawn. `values` [R, C]; row r covers `rows[r]` to before `rows[r + 1]`, columns alike.

    `marked` [R, C]: whether any cell of the block was marked.
    """

    values: Floats
    marked: Bools
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def reduced(self) -> bool:
        """Whether a cell stands for more than one value."""
        return len(self.rows) <= self.rows[-1] or len(self.columns) <= self.columns[-1]

    def says(self, worst: str, row: str, column: str) -> str:
        """What a cell stands for; empty where it is one value."""
        if not self.reduced:
            return ""
        high, wide = (max(np.diff(edges), default=1) for edges in (self.rows, self.columns))
        parts = [f"{size} {name}s" for size, name in ((wide, column), (high, row)) if size > 1]
        return f"Reduced for display: a cell is the {worst} of up to {' x '.join(parts)}. Nothing is left out."


def reduce(
    matrix: Floats,
    marks: Bools | None = None,
    *,
    worst: Literal["largest", "smallest"] | str = "largest",
    max_rows: int = MAX_ROWS,
    max_columns: int = MAX_COLUMNS,
) -> Grid:
    """The matrix in at most `max_rows` x `max_columns` blocks, each the largest or smallest of its finite values.

    Args:
        matrix: [R, C]; NaN where there is no value.
        marks: [R, C]; a block is marked where any of its cells is.
        worst: `largest` or `smallest`.
        max_rows: at least 1.
        max_columns: at least 1.
    """
    rows, columns = _edges(matrix.shape[0], max_rows), _edges(matrix.shape[1], max_columns)
    marks = np.zeros(matrix.shape, dtype=bool) if marks is None else marks
    if not matrix.size:
        empty = np.zeros((len(rows) - 1, len(columns) - 1))
        return Grid(empty, empty.astype(bool), rows, columns)
    lowest, how = (-np.inf, np.maximum) if worst == "largest" else (np.inf, np.minimum)
    filled = np.where(np.isfinite(matrix), matrix, lowest)
    blocks = how.reduceat(how.reduceat(filled, rows[:-1], axis=0), columns[:-1], axis=1)
    marked = np.logical_or.reduceat(np.logical_or.reduceat(marks, rows[:-1], axis=0), columns[:-1], axis=1)
    return Grid(np.where(np.isfinite(blocks), blocks, np.nan), marked, rows, columns)


def _edges(length: int, most: int) -> tuple[int, ...]:
    size = max(1, -(-length // most))
    return (*range(0, length, size), length) if length else (0,)
