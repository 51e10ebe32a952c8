"""Which of a model's layers are looked at: by their numbers, every n-th, or by the name of their module.

Owns the choice and its errors. It knows names and counts of layers, never the modules behind them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from model_health.config.base import ConfigModel, StrictInt
from model_health.errors import ConfigError

KEY = "measure.layers"
LAYER_LEFT_OUT = "layer left out by the configuration"
STEP_LEFT_OUT = "step left out by the configuration"
"""Why a report has no numbers of a layer that was not chosen, and of a decode step between those that were."""


class LayerChoice(ConfigModel):
    """Exactly one of three ways to choose layers. It holds for each stack of an encoder-decoder model by itself."""

    indices: Annotated[tuple[StrictInt, ...], Field(min_length=1)] | None = None
    """Numbers of layers, 0 the first; negative ones count from the end."""
    stride: Annotated[StrictInt, Field(ge=1)] | None = None
    """The first layer and every n-th after it; 1 is all of them."""
    regex: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """Layers in whose module name, such as `model.layers.3`, this is found."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in ("indices", "stride", "regex") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of indices, stride and regex, not {' and '.join(given) or 'none'}")
        if self.regex is not None:
            try:
                re.compile(self.regex)
            except re.error as error:
                raise ValueError(f"regex {self.regex!r} is not a regular expression: {error}") from error
        return self

    @property
    def takes_all(self) -> bool:
        """Whether every layer of any model is chosen."""
        return self.stride == 1

    def pick(self, stacks: Sequence[Sequence[str]], model: str) -> tuple[tuple[int, ...], ...]:
        """The numbers of the chosen layers of each stack, ascending.

        Args:
            stacks: the module names of each stack's layers, in order.
            model: the model's name, for the error.

        Raises:
            ConfigError: a number lies outside a stack, or no layer of any stack is chosen.
        """
        chosen = tuple(self._pick_one(names, model) for names in stacks)
        if not any(chosen):
            example = next((names[0] for names in stacks if names), "")
            raise ConfigError(
                f"{KEY}: {self._said()} chooses no layer",
                subject=model,
                hint=f"the first layer is '{example}'" if example else "the model has no layers",
            )
        return chosen

    def _pick_one(self, names: Sequence[str], model: str) -> tuple[int, ...]:
        count = len(names)
        if self.stride is not None:
            return tuple(range(0, count, self.stride))
        if self.regex is not None:
            pattern = re.compile(self.regex)
            return tuple(index for index, name in enumerate(names) if pattern.search(name))
        assert self.indices is not None
        outside = [index for index in self.indices if not -count <= index < count]
        if outside:
            raise ConfigError(
                f"{KEY}: layer {outside[0]} is out of range, a stack of this model has {count} layers",
                subject=model,
                hint=f"choose from {-count} to {count - 1}",
            )
        return tuple(sorted({index % count for index in self.indices}))

    def _said(self) -> str:
        return f"regex {self.regex!r}" if self.regex is not None else f"indices {list(self.indices or ())}"


ALL_LAYERS = LayerChoice(stride=1)
