"""Turns many single gaps into few entries of `not_measured`, without saying more than the gaps do.

A model whose weights are NaN leaves thousands of nulls with one reason: all fields of a summary become their parent,
all steps of a layer one entry, all layers of a step one entry, everything one entry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from model_health.report.base import Frozen
from model_health.report.extension import NotMeasured
from model_health.report.nulls import ROUTER_LAYERS, Gap, child_models, measured_fields

Cell = tuple[int | None, int | None]


@dataclass(frozen=True)
class Axes:
    """Sizes of a trace: timeline steps, decoder layer indices, encoder and prompt layers, layers with routers."""

    steps: int
    layers: tuple[int, ...]
    encoder_layers: int = 0
    prompt_layers: int = 0
    router_layers: tuple[int, ...] = ()
    router_encoder_layers: tuple[int, ...] = ()

    def of(self, part: str) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
        """Steps and layers over which a field path repeats; `(None,)` where it does not."""
        once: tuple[int | None, ...] = (None,)
        steps = tuple(range(self.steps))
        if part.startswith("timeline.layers"):
            return steps, self.layers
        if part.startswith("timeline") or part == "model_health.final_hidden_l2_norm":
            return steps, once
        if part.startswith("encoder_layers"):
            return once, tuple(range(self.encoder_layers))
        if part.startswith("prompt_analysis.layers"):
            return once, tuple(range(self.prompt_layers))
        if part.startswith(ROUTER_LAYERS[0]):
            return steps if part.endswith(".entropy_bits") else once, self.router_layers
        if part.startswith(ROUTER_LAYERS[1]):
            return once, self.router_encoder_layers
        if part == "model_health.attention_entropy_bits":
            return once, self.layers
        return once, once


def compact(model: type[Frozen], gaps: Iterable[tuple[Gap, str]], axes: Axes) -> tuple[NotMeasured, ...]:
    """Entries that cover exactly the given gaps.

    Args:
        model: the class at the root of the gaps' paths.
        gaps: each with its reason.
        axes: over what fields repeat.
    """
    groups: dict[tuple[str, str], dict[Cell, None]] = defaultdict(dict)
    for part, reason, cell in _merge_siblings(model, gaps):
        groups[part, reason][cell] = None
    return tuple(
        NotMeasured(part=part, reason=reason, step=step, layer=layer)
        for (part, reason), cells in groups.items()
        for step, layer in _merge_cells(cells, *axes.of(part))
    )


def _merge_siblings(model: type[Frozen], gaps: Iterable[tuple[Gap, str]]) -> list[tuple[str, str, Cell]]:
    """Replace the gaps of all measured fields of one summary by a gap of the summary."""
    families: dict[tuple[str, str, Cell], list[str]] = defaultdict(list)
    for gap, reason in gaps:
        parent, _, name = gap.part.rpartition(".")
        families[parent, reason, (gap.step, gap.layer)].append(name)
    merged: list[tuple[str, str, Cell]] = []
    for (parent, reason, cell), names in families.items():
        everyone = measured_fields(_class_at(model, parent)) if parent else frozenset()
        if len(everyone) > 1 and everyone <= set(names):
            merged.append((parent, reason, cell))
            names = [name for name in names if name not in everyone]
        merged.extend((f"{parent}.{name}" if parent else name, reason, cell) for name in names)
    return merged


def _class_at(model: type[Frozen], path: str) -> type[Frozen]:
    current = model
    for name in path.split("."):
        found = child_models(current, name) if name in current.model_fields else ()
        if not found or not issubclass(found[0], Frozen):
            return Frozen
        current = found[0]
    return current


def _merge_cells(cells: dict[Cell, None], steps: tuple[int | None, ...], layers: tuple[int | None, ...]) -> list[Cell]:
    """All of them, whole layers, whole steps, and what is left over."""
    if all((step, layer) in cells for step in steps for layer in layers):
        return [(None, None)]
    whole_layers = [layer for layer in layers if all((step, layer) in cells for step in steps)]
    whole_steps = [step for step in steps if all((step, layer) in cells for layer in layers)]
    taken_layers, taken_steps = set(whole_layers), set(whole_steps)
    left = [cell for cell in cells if cell[0] not in taken_steps and cell[1] not in taken_layers]
    layer_cells: list[Cell] = [(None, layer) for layer in whole_layers]
    step_cells: list[Cell] = [(step, None) for step in whole_steps]
    return [*layer_cells, *step_cells, *left]
