"""The candidates of a rehearsal: folders with a copy of a loaded model, saved again, quantised or trained one step.

Owns how each is made and which answers are right for it. The model is changed by the faults of the self-test, which
give it back bit for bit; what is on the disk is an ordinary model folder that knows nothing of this.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from model_health.config.regression import Answer
from model_health.runner.compare import Purpose
from model_health.runner.loading_quiet import quiet_transformers
from model_health.selftest.faults_model import RoundTrip, TrainingStep
from model_health.selftest.subject import Subject

UNTOUCHED: Final = (Answer.IDENTICAL, Answer.EQUIVALENT)
ALTERED: Final = (Answer.CHANGED, Answer.DEGRADED)
SHARDS: Final = 6
"""Files of the copy that is saved in several."""


@dataclass(frozen=True)
class Candidate:
    """One candidate.

    Args:
        name: what it is. right: the answers that are right for it.
        purpose: what it is compared for, as with `--use`.
        write: makes its folder; None: the accepted model itself, as it is configured.
        few: whether it is held against a baseline of few prompts.
    """

    name: str
    right: tuple[Answer, ...]
    write: Callable[[Subject, Path], None] | None
    purpose: Purpose = "promotion"
    few: bool = False


def candidates() -> tuple[Candidate, ...]:
    """All candidates, in the order of the page."""
    return (
        Candidate("the accepted model, loaded again", UNTOUCHED[:1], None, "nightly"),
        Candidate("the same weights as one safetensors file", UNTOUCHED, _saved),
        Candidate("the same weights in several safetensors files", UNTOUCHED, _in_shards),
        Candidate("the same weights pickled (.bin), which nobody opens", (Answer.BROKEN,), _pickled),
        Candidate("int8 round trip", ALTERED, _quantised(8), "quantization"),
        Candidate("int4 round trip", ALTERED, _quantised(4), "quantization"),
        Candidate("one fine-tuning step on unrelated text", ALTERED[:1], _trained),
        Candidate("int4 round trip", (Answer.INCONCLUSIVE,), _quantised(4), "quantization", few=True),
    )


def _write(subject: Subject, folder: Path, within: AbstractContextManager[None], shard: str = "100GB") -> None:
    with within, quiet_transformers():
        subject.loaded.model.save_pretrained(folder, max_shard_size=shard)


def _saved(subject: Subject, folder: Path) -> None:
    _write(subject, folder, nullcontext())


def _in_shards(subject: Subject, folder: Path) -> None:
    size = sum(weight.numel() * weight.element_size() for weight in subject.loaded.model.parameters())
    _write(subject, folder, nullcontext(), f"{max(1, size // SHARDS // 1000)}KB")


def _pickled(subject: Subject, folder: Path) -> None:
    model = subject.loaded.model
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def _quantised(bits: int) -> Callable[[Subject, Path], None]:
    def write(subject: Subject, folder: Path) -> None:
        _write(subject, folder, RoundTrip(bits=8 if bits == 8 else 4).injected(subject))

    return write


def _trained(subject: Subject, folder: Path) -> None:
    _write(subject, folder, TrainingStep().injected(subject))
