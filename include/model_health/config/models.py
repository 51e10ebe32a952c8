"""One model under watch: where its files are, how it is loaded, which suites it runs and what is measured.

Owns the keys of `configs/models/*.yaml` and the rules between them. It does not know how a model is loaded.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from model_health.config.base import ConfigModel, ShortText, Slug, StrictBool, StrictInt
from model_health.config.measure import MeasureConfig
from model_health.config.sources import ModelSource

Architecture = Literal["auto", "causal", "encoder_decoder"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Quantization = Literal["none", "int8", "int4"]
AttentionBackend = Literal["auto", "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]
Cache = Literal["auto", "dynamic", "static"]
Device = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$")]
Tag = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,30}:[A-Za-z0-9][A-Za-z0-9._/-]{0,60}$")]

MAX_TAGS = 10
"""Tags become metric labels; each distinct value is a time series of its own, so they stay few."""


class ModelConfig(ConfigModel):
    """A model to run canary suites through."""

    name: Slug
    description: ShortText | None = None
    source: ModelSource
    tokenizer: ModelSource | None = Field(default=None, description="Another source for the tokenizer.")
    architecture: Architecture = "auto"
    dtype: Dtype = "auto"
    device: Device = "auto"
    quantization: Quantization = Field(default="none", description="int8 and int4 need CUDA (bitsandbytes).")
    attention_backend: AttentionBackend = "auto"
    trust_remote_code: StrictBool = False
    allow_pickled_weights: StrictBool = Field(
        default=False, description="Read pytorch_model.bin of a local folder that holds no safetensors."
    )
    family: Slug | None = Field(default=None, description="Key into thresholds; default: the model's own type.")
    suites: tuple[Slug, ...] = Field(default=("core",), min_length=1, max_length=20)
    batch_size: Annotated[StrictInt, Field(ge=1, le=1024)] = 16
    threads: Annotated[StrictInt, Field(ge=1, le=1024)] | None = Field(default=None, description="Torch CPU threads.")
    cache: Cache = "auto"
    timeout_seconds: Annotated[StrictInt, Field(ge=1, le=86_400)] = Field(default=1800, description="Of a whole run.")
    enabled: StrictBool = True
    production: StrictBool = Field(default=False, description="True requires pinned revisions.")
    owner: ShortText | None = None
    tags: tuple[Tag, ...] = Field(default=(), max_length=MAX_TAGS, description="`key:value` pairs.")
    measure: MeasureConfig = MeasureConfig()

    @field_validator("suites", "tags")
    @classmethod
    def _no_duplicates(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        keys = [value.split(":")[0] for value in values]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"'{twice[0]}' is given twice")
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> ModelConfig:
        if self.quantization != "none" and self.device == "cpu":
            raise ValueError(f"quantization {self.quantization} needs CUDA, but device is cpu")
        if self.quantization != "none" and self.source.gguf is not None:
            raise ValueError(f"quantization {self.quantization} cannot be applied to a GGUF source")
        if re.match("flash_attention", self.attention_backend):
            if self.device == "cpu":
                raise ValueError(f"attention_backend {self.attention_backend} needs CUDA, but device is cpu")
            if self.dtype == "float32":
                raise ValueError(f"attention_backend {self.attention_backend} needs float16 or bfloat16")
        if self.allow_pickled_weights and self.source.path is None:
            raise ValueError("allow_pickled_weights is for a local folder: source.path")
        if self.production:
            self.check_production("production is true")
        if self.trust_remote_code:
            self.check_pinned("trust_remote_code is true")
        return self

    def check_production(self, why: str) -> None:
        """Raise ValueError unless the files are pinned and none is a pickle; `why` opens the message."""
        self.check_pinned(why)
        if self.allow_pickled_weights:
            raise ValueError(f"{why}, but allow_pickled_weights is true: convert the weights to safetensors")

    def check_pinned(self, why: str) -> None:
        """Raise ValueError unless the weights and the tokenizer are pinned; `why` opens the message."""
        for key, source in (("source", self.source), ("tokenizer", self.tokenizer)):
            if source is not None and not source.pinned:
                raise ValueError(f"{why}, but {key}.revision is not a full commit of 40 hexadecimal digits")

    @property
    def revision(self) -> str | None:
        """The hub revision of the weights, if any."""
        return self.source.revision

    @property
    def wants_cuda(self) -> bool:
        """True if the model asks for CUDA by name (`auto` takes what the machine has)."""
        return self.device.startswith("cuda") or self.quantization != "none"

    def labels(self) -> dict[str, str]:
        """The tags as a mapping, with the owner under `owner` where one is given."""
        labels = dict(tag.split(":", 1) for tag in self.tags)
        return labels if self.owner is None else {**labels, "owner": self.owner}
