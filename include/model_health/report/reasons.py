"""Says why a field of a freshly built report is null, from what capture said and from the non-finite marks."""

from __future__ import annotations

import numpy as np

from model_health.metrics.findings import HealthFindings
from model_health.metrics.telemetry import HiddenSeries, PromptTelemetry
from model_health.report.nulls import Gap, Reasons
from model_health.report.router_build import PART as ROUTER
from model_health.report.router_build import why_router

ATTENTION_PARTS = ("timeline.layers.attention_summary", "timeline.layers.cross_attention")
COUNTS = ("collapsed_head_count", "focused_head_count")


class Explainer:
    """Reasons for the gaps of one prompt's report.

    Args:
        telemetry: what the report was built from.
        findings: whose undetermined flags bring reasons of their own.
        said: capture's own entries, in terms of fields.
    """

    def __init__(self, telemetry: PromptTelemetry, findings: HealthFindings, said: Reasons) -> None:
        self._telemetry = telemetry
        self._findings = findings
        self._said = said
        self._visible = {
            part: {series.layer: series.visible_keys for series in many}
            for part, many in zip(ATTENTION_PARTS, (telemetry.attention, telemetry.cross_attention), strict=True)
        }

    def why(self, gap: Gap) -> str:
        """The reason, in a clause."""
        root, _, rest = gap.part.partition(".")
        if root == "health_flags":
            return self._findings.undetermined.get(rest) or "it could not be determined"
        if gap.part.startswith("timeline.logits_summary"):
            return self._logits(gap)
        if gap.part.startswith(ATTENTION_PARTS):
            return self._attention(gap)
        if gap.part.startswith("timeline.layers"):
            return self._hidden(self._telemetry.hidden, gap)
        if root == "encoder_layers":
            return self._encoder(gap)
        if root == "model_health":
            return self._ours(gap)
        if root == "prompt_analysis":
            return self._said.find(gap) or "prompt telemetry was not captured"
        return "it was not timed"

    def _logits(self, gap: Gap) -> str:
        series = self._telemetry.logits
        if series is None or gap.step is None:
            return "the logits were not captured"
        kinds = [name for name, marks in (("NaN", series.nan), ("Inf", series.inf)) if marks[gap.step]]
        return f"{' and '.join(kinds)} in the logits" if kinds else "the value is not finite"

    def _hidden(self, series: HiddenSeries | None, gap: Gap) -> str:
        if series is None or gap.layer is None:
            return "the hidden states were not captured"
        cell = (gap.step or 0, gap.layer)
        kinds = [name for name, marks in (("NaN", series.nan), ("Inf", series.inf)) if marks[cell]]
        return f"{' and '.join(kinds)} in the layer's output" if kinds else "the value is not finite"

    def _attention(self, gap: Gap) -> str:
        part = next(part for part in ATTENTION_PARTS if gap.part.startswith(part))
        keys = self._visible[part].get(-1 if gap.layer is None else gap.layer)
        if keys is None:
            return self._said.find(Gap(part, gap.step, gap.layer)) or "attention is not measured in this layer"
        if gap.part.endswith(COUNTS) and keys[gap.step or 0] < 2:
            return "the row sees fewer than 2 keys, and cannot collapse"
        return "the attention weights are not finite"

    def _encoder(self, gap: Gap) -> str:
        encoder = self._telemetry.encoder
        if "attention_summary" not in gap.part:
            return self._hidden(encoder.hidden if encoder else None, gap)
        series = {item.layer: item for item in encoder.attention} if encoder else {}
        found = series.get(-1 if gap.layer is None else gap.layer)
        if found is None:
            return "attention is not measured in this layer"
        if gap.part.endswith(COUNTS) and found.visible_keys[0] < 2:
            return "the row sees fewer than 2 keys, and cannot collapse"
        return "the attention weights are not finite"

    def _ours(self, gap: Gap) -> str:
        name = gap.part.removeprefix("model_health.")
        if gap.part.startswith(ROUTER):
            return why_router(self._telemetry, gap, self._said.find)
        if name == "attention_entropy_bits":
            keys = self._visible[ATTENTION_PARTS[0]].get(-1 if gap.layer is None else gap.layer)
            if keys is not None:
                return "no row sees 2 keys" if not np.any(keys >= 2) else "the attention weights are not finite"
            found = self._said.find(Gap(ATTENTION_PARTS[0], None, gap.layer))
            return found or "attention is not measured in this layer"
        if name == "sequence_perplexity":
            return "the surprisal of at least one generated token is missing"
        if name == "final_hidden_l2_norm":
            return "the final hidden state is not finite"
        if name == "timing.time_per_output_token_seconds" and len(self._telemetry.generated_token_ids) < 2:
            return "fewer than two tokens were generated"
        if name.startswith("timing."):
            return "it was not timed"
        if name.startswith("non_finite"):
            return "the hidden states were not captured"
        return "it was not measured"
