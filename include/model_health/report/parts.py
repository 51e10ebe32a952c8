"""Field paths for what capture left out: it speaks of `layers.3.attention`, the report of fields, layer and step."""

from __future__ import annotations

from model_health.metrics.telemetry import NotMeasured as Missing
from model_health.report.extension import NotMeasured

SHORT: dict[str, str] = {
    "logits": "timeline.logits_summary",
    "layers": "timeline.layers",
    "hidden": "timeline.layers.hidden_summary",
    "attention": "timeline.layers.attention_summary",
    "cross_attention": "timeline.layers.cross_attention",
    "sketch": "timeline.layers.hidden_summary.sketch",
    "encoder": "encoder_layers",
    "encoder.hidden": "encoder_layers.hidden_summary",
    "encoder.attention": "encoder_layers.attention_summary",
    "prompt": "prompt_analysis",
    "prompt.layers": "prompt_analysis.layers",
    "prompt_attention": "prompt_analysis.layers",
    "encoder_attention": "encoder_layers.attention_summary",
    "sparse_attention": "prompt_analysis.layers.heads",
    "sparse_heads": "prompt_analysis.layers.heads",
    "basin_scores": "prompt_analysis.layers.basin_scores",
    "layer_transformations": "prompt_analysis.layer_transformations",
    "prompt_surprisals": "prompt_analysis.prompt_surprisals",
    "router": "model_health.router",
    "final_hidden": "model_health.final_hidden_l2_norm",
}
ROOTS = ("encoder_layers", "prompt_analysis", "health_flags", "model_health", "summary")


def entry_of(missing: Missing) -> NotMeasured:
    """The report's entry for one of capture's. A part that no field bears is kept as it is: it still informs."""
    words = [word for word in missing.part.split(".") if word]
    numbers = [int(word) for word in words if word.isdecimal()]
    layer = missing.layer if missing.layer is not None else (numbers[0] if numbers else None)
    kept = [word for word in words if not word.isdecimal()]
    part = _full(kept) or missing.part or "report"
    return NotMeasured(part=part, reason=missing.reason or "no reason given", layer=layer, step=missing.step)


def _full(words: list[str]) -> str:
    """The path in full. `layers` before a short name only says that a layer's number followed it."""
    if words[:1] == ["timeline"]:
        words = words[1:]
    elif words[:1] and words[0] in ROOTS:
        return ".".join(words)
    bare = [word for word in words if word != "layers"] or words
    for length in range(len(bare), 0, -1):
        path = SHORT.get(".".join(bare[:length]))
        if path is not None:
            return ".".join([path, *bare[length:]])
    return ".".join(["timeline", *words] if words[:1] in (["layers"], ["logits_summary"]) else words)
