"""Which parts of the telemetry a run measures: a preset, and switches that override it.

Owns the switches and their presets. It does not know how any of them is measured, nor what it costs.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from model_health.config.base import ConfigModel, StrictBool, StrictFloat, StrictInt
from model_health.config.layers import ALL_LAYERS, LayerChoice

Preset = Literal["flags", "standard", "full"]


class Sketch(ConfigModel):
    """A seeded random projection of each hidden state; `dim` 0 switches it off.

    Off in every preset: eight dimensions make a report half as large again, and a comparison with a baseline keeps
    sketches of its own.
    """

    dim: Annotated[StrictInt, Field(ge=0, le=256)] = 0
    seed: Annotated[StrictInt, Field(ge=0, lt=2**31)] = 0


class MeasureSwitches(ConfigModel):
    """What capture shall measure, fully explicit: nothing is left to a preset."""

    logits: StrictBool
    """Entropy, margin, top-k and surprisal of each next-token distribution, and its non-finite values."""
    hidden: StrictBool
    """Statistics of every block output, and its non-finite values."""
    attention: StrictBool
    """Entropy and largest weight of each head's newest query row."""
    prompt_telemetry: StrictBool
    """The report's `prompt_analysis`; false switches the four parts below off."""
    prompt_attention_sparse: StrictBool
    basin_scores: StrictBool
    layer_transformations: StrictBool
    prompt_surprisals: StrictBool
    lag_similarity: StrictBool
    """Cosine between final hidden states up to 32 tokens apart, for loops."""
    router: StrictBool = False
    """Entropy and choices of each router of a mixture of experts."""
    sparse_threshold: Annotated[StrictFloat, Field(ge=0.0, lt=1.0)] = 0.01
    sparse_cap: Annotated[StrictInt, Field(ge=1, le=10_000)] = 50
    topk: Annotated[StrictInt, Field(ge=1, le=100)] = 5
    mass_k: Annotated[StrictInt, Field(ge=1, le=1000)] = 10
    sketch: Sketch = Sketch()
    layers: LayerChoice = ALL_LAYERS
    """The layers whose hidden states, attention and routers are looked at, in each stack."""
    every: Annotated[StrictInt, Field(ge=1, le=10_000)] = 1
    """Layers are looked at on the prefill and on every so-manieth decode step; logits and final states on each."""


_FLAGS = MeasureSwitches(
    logits=True,
    hidden=True,
    attention=False,
    prompt_telemetry=False,
    prompt_attention_sparse=False,
    basin_scores=False,
    layer_transformations=False,
    prompt_surprisals=False,
    lag_similarity=True,
)
_STANDARD = _FLAGS.model_copy(
    update={
        "attention": True,
        "prompt_telemetry": True,
        "basin_scores": True,
        "layer_transformations": True,
        "router": True,
    }
)
_FULL = _STANDARD.model_copy(update={"prompt_attention_sparse": True, "prompt_surprisals": True})
PRESETS: dict[Preset, MeasureSwitches] = {"flags": _FLAGS, "standard": _STANDARD, "full": _FULL}

_PROMPT_PARTS = ("prompt_attention_sparse", "basin_scores", "layer_transformations", "prompt_surprisals")


class MeasureConfig(ConfigModel):
    """A preset with overrides: each switch that is left out (null) takes the preset's value.

    `flags` measures what the health flags need: logits, hidden states and loops. `standard` is everything but sparse
    prompt attention and prompt surprisals, which are the costly parts of a long prompt. `full` is everything.
    """

    preset: Preset = "standard"
    logits: StrictBool | None = None
    hidden: StrictBool | None = None
    attention: StrictBool | None = None
    prompt_telemetry: StrictBool | None = None
    prompt_attention_sparse: StrictBool | None = None
    basin_scores: StrictBool | None = None
    layer_transformations: StrictBool | None = None
    prompt_surprisals: StrictBool | None = None
    lag_similarity: StrictBool | None = None
    router: StrictBool | None = None
    sparse_threshold: Annotated[StrictFloat, Field(ge=0.0, lt=1.0)] | None = None
    sparse_cap: Annotated[StrictInt, Field(ge=1, le=10_000)] | None = None
    topk: Annotated[StrictInt, Field(ge=1, le=100)] | None = None
    mass_k: Annotated[StrictInt, Field(ge=1, le=1000)] | None = None
    sketch: Sketch | None = None
    layers: LayerChoice | None = None
    every: Annotated[StrictInt, Field(ge=1, le=10_000)] | None = None

    def resolve(self) -> MeasureSwitches:
        """The explicit switches: preset, then overrides, then `prompt_telemetry: false` over its parts."""
        own = {name: getattr(self, name) for name in MeasureSwitches.model_fields}
        update = {name: value for name, value in own.items() if value is not None}
        switches = PRESETS[self.preset].model_copy(update=update)
        if not switches.prompt_telemetry:
            return switches.model_copy(update=dict.fromkeys(_PROMPT_PARTS, False))
        return switches
