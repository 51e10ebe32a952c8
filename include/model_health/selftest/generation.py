"""Generates with the subject as a run of canaries does, probes attached; and forced loops, which only that can see.

Under replay the tokens are given, so a model that repeats itself is seen by what it generates, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from model_health.config.suites import Generation
from model_health.config.thresholds import Thresholds
from model_health.metrics.findings import HealthFindings
from model_health.metrics.flags import health_findings
from model_health.runner.batches import make_batches
from model_health.runner.generate import generate_measured
from model_health.runner.loading import input_rows
from model_health.runner.prompts import TokenizedPrompt
from model_health.runner.token_text import TokenText
from model_health.selftest.fault import Fault
from model_health.selftest.subject import Inapplicable, Subject

PERIODS = (1, 2, 8, 30)
LEAST_TOKENS = 16


@dataclass(frozen=True)
class Generated:
    """What one prompt came to."""

    prompt_id: str
    token_ids: tuple[int, ...]
    findings: HealthFindings


def generate(
    subject: Subject, prompts: Sequence[TokenizedPrompt], tokens: int, thresholds: Thresholds
) -> list[Generated]:
    """Generate at most `tokens` greedily for each prompt, and look at them as a run of canaries does.

    Raises:
        GenerationError, CaptureError: the model failed, or a probe met what it cannot reduce.
    """
    loaded, text = subject.loaded, TokenText(subject.loaded.tokenizer)
    asked = [replace(prompt, generation=Generation(max_new_tokens=tokens)) for prompt in prompts]
    found = {}
    for batch in make_batches(asked, loaded, loaded.config.batch_size):
        telemetry = generate_measured(loaded, batch, loaded.config.measure.resolve())
        for prompt, measured in zip(batch.prompts, telemetry.prompts, strict=True):
            ids = tuple(int(token) for token in measured.generated_token_ids)
            findings = health_findings(measured, text.text(list(ids)), thresholds)
            found[prompt.prompt_id] = Generated(prompt.prompt_id, ids, findings)
    return [found[prompt.prompt_id] for prompt in prompts]


@dataclass(frozen=True)
class ForcedLoop(Fault):
    """From the first generated token on, the model runs through the same few tokens again and again."""

    kind: ClassVar[str] = "repetition"
    period: int = 1

    @property
    def name(self) -> str:
        """See `Fault`."""
        return f"loop of period {self.period} forced"

    @property
    def tokens(self) -> int:
        """How many tokens have to be generated to see two rounds of it."""
        return max(LEAST_TOKENS, 2 * self.period + 4)

    @contextmanager
    def injected(self, subject: Subject) -> Iterator[None]:
        """See `Fault`. Which token follows depends on the one before alone, so nothing has to be counted."""
        model = subject.loaded.model
        special = {int(token) for token in subject.loaded.tokenizer.all_special_ids}
        size = min(len(subject.loaded.tokenizer), input_rows(model))
        ordinary = [token for token in range(size) if token not in special]
        if len(ordinary) < self.period:
            raise Inapplicable(f"its vocabulary has {len(ordinary)} ordinary tokens")
        order = torch.randperm(len(ordinary), generator=subject.generator(self.name))[: self.period].tolist()
        round_trip = [ordinary[place] for place in order]
        follows = dict(zip(round_trip, round_trip[1:] + round_trip[:1], strict=True))
        fed = "decoder_input_ids" if subject.loaded.encoder_decoder else "input_ids"

        def force(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            last = kwargs[fed][:, -1].tolist()
            forced = torch.tensor([follows.get(token, round_trip[0]) for token in last], device=output.logits.device)
            logits = output.logits.clone()
            logits[torch.arange(len(last)), -1, forced] = logits.amax() + 10.0
            output.logits = logits
            return output

        handle = model.register_forward_hook(force, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()
