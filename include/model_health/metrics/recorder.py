"""The observer of a canary run: reduces every event as it comes and keeps only small tensors on the device.

Decode steps are collected and reduced in blocks (see `attention_decode`); nothing is copied to the host and nothing
waits for the device between the prefill and the end of the generation. `assemble` moves everything over at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from model_health.capture.events import (
    AttentionCall,
    AttentionKind,
    AttentionSlot,
    GenerationStart,
    RouterCall,
    RouterPlace,
    StackName,
    Wants,
)
from model_health.capture.head import ApplyHead
from model_health.config.measure import MeasureSwitches
from model_health.errors import CaptureError
from model_health.metrics.attention_decode import DecodeRows
from model_health.metrics.attention_prompt import PromptAttention, PromptAttentionOptions, prompt_attention
from model_health.metrics.clock import StepClock
from model_health.metrics.hidden import hidden_statistics, lag_cosines, non_finite, on, projection
from model_health.metrics.logit_steps import LogitSteps
from model_health.metrics.logits import LogitStatistics
from model_health.metrics.prompt_pass import PromptSurprisal, StackPass, prompt_surprisal
from model_health.metrics.router import RouterRecords
from model_health.metrics.scratch import Scratch
from model_health.metrics.step_buffer import StepBuffer
from model_health.metrics.telemetry import MAX_LAG

_BLOCK_STEPS = 32
_BLOCK_ELEMENTS = 1 << 21
"""A block ends after 32 steps, or when one layer's scores (steps x batch x heads x keys), or the states of all layers
(steps x layers x batch x width), reach 8 MB in float32."""


@dataclass
class HiddenBlock:
    """Reduced block outputs, of the layers and steps that were looked at, in order.

    statistics [N, L, B, 4], bad [N, L, B, 2], sketch [N, L, B, D].
    """

    statistics: torch.Tensor
    bad: torch.Tensor
    sketch: torch.Tensor | None


@dataclass
class Records:
    """Everything recorded, still on the device; `metrics.assemble` turns it into telemetry."""

    start: GenerationStart
    switches: MeasureSwitches
    prompt_pass: StackPass
    logits: list[LogitStatistics] = field(default_factory=list)
    """Blocks of steps, [N, B, ...] each, and the raw logits of the tokens chosen after them, [N, B]."""
    chosen_logits: list[torch.Tensor] = field(default_factory=list)
    hidden: list[HiddenBlock] = field(default_factory=list)
    final: list[HiddenBlock] = field(default_factory=list)
    lags: list[torch.Tensor] = field(default_factory=list)
    rows: DecodeRows = field(default_factory=DecodeRows)
    router: RouterRecords = field(default_factory=RouterRecords)
    prompt_attention: dict[AttentionSlot, PromptAttention] = field(default_factory=dict)
    refused_states: dict[StackName, str] = field(default_factory=dict)
    """Stacks whose block outputs cannot be read, and why."""
    refused_attention: dict[AttentionSlot, str] = field(default_factory=dict)
    prompt_surprisal: PromptSurprisal | None = None
    head_disagreement: torch.Tensor | None = None
    sequences: torch.Tensor | None = None
    given: int = 0
    """Columns of `sequences` that the first forward pass read: a causal model's prompt, or a decoder's start."""
    steps: int = 0


class HealthRecorder:
    """Records one `generate` call with the given switches; an `Observer` of `capture.session.Capture`."""

    def __init__(self, switches: MeasureSwitches) -> None:
        self.switches = switches
        self.wants = Wants(
            hidden=switches.hidden or switches.layer_transformations,
            attention=self._attends(switches),
            prompt_logits=switches.prompt_surprisals,
            router=switches.router,
            layers=switches.layers,
            every=switches.every,
        )
        self.clock = StepClock()
        self._records: Records | None = None
        self._step = -1
        self._appended = 0
        self._recent: torch.Tensor | None = None
        self._projection: torch.Tensor | None = None
        self._scratch = Scratch()
        self._states = StepBuffer("states", self._scratch)
        """Newest block outputs [B, 1, H] of the steps of this block, step by step and layer by layer."""
        self._finals = StepBuffer("finals", self._scratch)
        self._logit_steps = LogitSteps(max(switches.mass_k, switches.topk), self._scratch)
        self._block_steps = _BLOCK_STEPS
        self._waiting = 0

    @staticmethod
    def _attends(switches: MeasureSwitches) -> bool:
        return switches.attention or switches.basin_scores or switches.prompt_attention_sparse

    @property
    def records(self) -> Records:
        """What was recorded.

        Raises:
            CaptureError: `generate` has not been watched to its end.
        """
        if self._records is None or self._records.sequences is None:
            raise CaptureError("the generation was not recorded to its end")
        return self._records

    @property
    def _now(self) -> Records:
        if self._records is None:
            raise CaptureError("a forward pass came before its generate call")
        return self._records

    @property
    def _home(self) -> torch.device:
        """Where the states of a model that lies on several devices are gathered."""
        return self._now.start.prompt_mask.device

    # -- events

    def generation_started(self, start: GenerationStart) -> None:
        """Prepare for the prompts of this call."""
        real = start.prompt_mask
        reading = StackName.ENCODER if start.is_encoder_decoder else StackName.DECODER
        # a transformation compares neighbours: with layers left out there is not the model's own to tell of
        turns = self.switches.layer_transformations and start.chooses_all(reading)
        passing = StackPass(real, bool(real.all()), turns)
        rows = DecodeRows(self._scratch, self.switches.every)
        self._records = Records(start=start, switches=self.switches, prompt_pass=passing, rows=rows)
        self.clock.start(start.prompt_ids.device)

    def forward_started(self, step: int, input_ids: torch.Tensor) -> None:
        """Settle the logit of the token that this step reads: the step before chose it."""
        self._step = step
        start = self._now.start
        if step == 0:
            # a causal model may read tokens of its own behind the prompt, and behind what it generates
            self._appended = 0 if start.is_encoder_decoder else input_ids.shape[1] - start.prompt_ids.shape[1]
            self._now.given = input_ids.shape[1] - self._appended
        newest = input_ids.shape[1] - 1 - self._appended
        self._logit_steps.choose(input_ids[:, newest : newest + 1])

    def hidden_state(self, stack: StackName, layer: int, state: torch.Tensor) -> None:
        """Reduce a block output of the prompt at once; keep the newest token's of a decode step for its block."""
        if self._now.refused_states and stack in self._now.refused_states:
            return
        if self._reads_prompt(stack):
            self._now.prompt_pass.add(state, self._sketcher(state))
        elif self.switches.hidden:
            layers = len(self._now.start.chosen_of(StackName.DECODER))
            newest = state if state.shape[1] == 1 else state[:, -1:]
            if not self._states.filled:
                self._limit(layers * newest.numel())
            self._states.add(newest, self._block_steps * layers, self._home)

    def hidden_refused(self, stack: StackName, reason: str) -> None:
        """Drop what was read of this stack's blocks: which of it is right cannot be known."""
        self._now.refused_states[stack] = reason
        if self._reads_prompt(stack):
            self._now.prompt_pass.drop()
        if stack is StackName.DECODER:
            self._states.clear()
            self._now.hidden.clear()

    def final_state(self, stack: StackName, state: torch.Tensor) -> None:
        """Keep the newest final state."""
        if self._reads_prompt(stack):
            self._now.prompt_pass.release()
        if stack is StackName.DECODER:
            self._finals.add(state[:, -1], self._block_steps, self._home)
            if self._step == 0:
                self._settle_finals()

    def prompt_head(self, apply: ApplyHead) -> None:
        """Read the prompt's surprisals."""
        self._now.prompt_surprisal = prompt_surprisal(apply, self._now.start.prompt_ids)

    def attention(self, call: AttentionCall) -> None:
        """Reduce a prompt's attention at once; collect the row of a decode step."""
        records = self._now
        slot = call.slot
        if self._reads_prompt(slot.stack) and slot.kind is AttentionKind.SELF:
            encoder = slot.stack is StackName.ENCODER
            options = PromptAttentionOptions(
                basin=self.switches.basin_scores,
                sparse_cap=self.switches.sparse_cap if self.switches.prompt_attention_sparse else 0,
            )
            if slot in records.prompt_attention:  # blocks that share their weights: whose numbers would these be?
                records.rows.refuse(slot, "it ran twice over the prompt")
                return
            real = on(call.query.device, records.start.prompt_mask)
            records.prompt_attention[slot] = prompt_attention(call, real, options, encoder=encoder)
        elif self.switches.attention:
            self._limit(call.query.shape[0] * call.query.shape[1] * call.key.shape[2])
            records.rows.add(self._step, call, self._block_steps)

    def attention_refused(self, slot: AttentionSlot, reason: str) -> None:
        """Remember why, should nothing else in the layer be readable attention."""
        self._now.refused_attention[slot] = reason

    def router(self, call: RouterCall) -> None:
        """Reduce a router's pass over the prompt at once; keep the newest token's of a decode step for its block."""
        records, reads = self._now, self._reads_prompt(call.place.stack)
        records.router.add(self._step, call, records.start.prompt_mask, reads_prompt=reads)

    def router_refused(self, place: RouterPlace, reason: str) -> None:
        """Forget what this router said: whose it was cannot be known."""
        self._now.router.refuse(place, reason)

    def logits(self, step: int, logits: torch.Tensor) -> None:
        """Reduce the step's next-token distribution."""
        records = self._now
        if self.switches.logits:
            self._logit_steps.add(logits)
        if step == 0 and records.prompt_surprisal is not None:
            records.head_disagreement = records.prompt_surprisal.disagreement(logits)

    def forward_ended(self, step: int) -> None:
        """Close the step, and reduce the block if it is full."""
        self.clock.tick()
        self._now.steps = step + 1
        self._waiting += 1
        if self._waiting >= self._block_steps:
            self._flush()

    def generation_ended(self, sequences: torch.Tensor, result: Any) -> None:
        """Settle the last token and reduce what waits."""
        records = self._now
        self._logit_steps.choose(sequences[:, -1:])
        self._logit_steps.flush()
        records.logits, records.chosen_logits = self._logit_steps.blocks, self._logit_steps.chosen
        self._flush()
        self.clock.stop()
        records.sequences = sequences
        self._recent = None
        for buffer in (self._states, self._finals, self._logit_steps, self._scratch):
            buffer.release()

    # -- reductions

    def _reads_prompt(self, stack: StackName) -> bool:
        """Whether what a stack computes now is its pass over the prompt: the encoder's, or a causal model's prefill."""
        if self._now.start.is_encoder_decoder:
            return stack is StackName.ENCODER
        return self._step == 0

    def _sketcher(self, state: torch.Tensor) -> torch.Tensor | None:
        sketch = self.switches.sketch
        if sketch.dim and self._projection is None:
            self._projection = projection(state.shape[-1], sketch.dim, sketch.seed, state.device)
        return self._projection

    def _reduce(self, states: torch.Tensor, matrix: torch.Tensor | None) -> HiddenBlock:
        sketch = None if matrix is None else states.float() @ matrix
        statistics = hidden_statistics(states)
        return HiddenBlock(statistics, non_finite(states, statistics), sketch)

    def _limit(self, elements: int) -> None:
        """End blocks before something that has so many elements per step outgrows them."""
        self._block_steps = max(1, min(self._block_steps, _BLOCK_ELEMENTS // max(1, elements)))

    def _flush(self) -> None:
        records = self._now
        self._waiting = 0
        if self._states.filled:
            layers = len(records.start.chosen_of(StackName.DECODER))
            states = self._states.take().squeeze(2).unflatten(0, (-1, layers))
            records.hidden.append(self._reduce(states, self._sketcher(states)))
        self._settle_finals()
        records.rows.flush()
        records.router.flush()

    def _settle_finals(self) -> None:
        records = self._now
        if self._finals.filled:
            finals = self._finals.take()
            records.final.append(self._reduce(finals[:, None], None))
            if self.switches.lag_similarity:
                recent = finals[:0] if self._recent is None else self._recent
                records.lags.append(lag_cosines(recent, finals, MAX_LAG))
                self._recent = torch.cat((recent, finals))[-MAX_LAG:]
