"""The report's fields for the routers of a mixture of experts: entropies, and what the experts were given.

Owns the models; `report.router_build` fills them.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from model_health.report.base import MEASURED, Frozen, Number, StepSeries

MAX_LISTED_LOADS: Final = 16_384
"""Loads (layers x experts) up to which a report lists every expert's; beyond, their summaries remain."""

Count = Annotated[int | None, MEASURED]


class RouterLayer(Frozen):
    """One router of one layer, over all real tokens that it read: those of the prompt and of the decode steps.

    `module` is its path within the layer. `entropy_bits` is the entropy of softmax(logits) over all `experts`, before
    the top `experts_per_token` are picked: per step of the timeline, the prefill's being the mean over the prompt's
    tokens (one value in an encoder); `entropy_bits_mean` is the mean over decode steps, or the prefill's where there is
    no other. Routers that score experts with a sigmoid never form that distribution: there it tells how far apart the
    scores lie, log2(experts) where they are all alike.

    `assignments` counts choices of an expert for a token. `max_load_share` is the busiest expert's share of them,
    `load_cv` the standard deviation of the loads over their mean (0 is even), `idle_experts` how many got none; with
    few assignments some experts are idle by chance. `load` lists assignments per expert. `dropped_assignments` had no
    room in their expert. Choices made of logits that are not finite count nowhere; `non_finite_steps` are steps with
    such.
    """

    layer_index: int = Field(ge=0, lt=10_000)
    module: str
    experts: int = Field(ge=1)
    experts_per_token: Count = None
    entropy_bits: StepSeries = ()
    entropy_bits_mean: Number = None
    assignments: Count = None
    max_load_share: Number = None
    load_cv: Number = None
    idle_experts: Count = None
    busiest_expert: Count = None
    load: Annotated[tuple[int, ...] | None, MEASURED] = None
    dropped_assignments: Count = None
    non_finite_steps: int = 0


class RouterHealth(Frozen):
    """All routers of a model, layer by layer; `encoder_layers` is empty for a causal model.

    `idle_experts_fraction` is of all experts of all routers, `dropped_assignments_fraction` of all assignments, dropped
    ones included; `non_finite_steps` is the worst router's.
    """

    layers: tuple[RouterLayer, ...] = ()
    encoder_layers: tuple[RouterLayer, ...] = ()
    idle_experts_fraction: Number = None
    dropped_assignments_fraction: Number = None
    non_finite_steps: int = 0
