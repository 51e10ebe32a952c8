"""Builds the report's router fields from the telemetry's arrays, and says why a field of them is null."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from model_health.config.layers import STEP_LEFT_OUT
from model_health.metrics.telemetry import PromptTelemetry, RouterSeries
from model_health.report.nulls import Gap
from model_health.report.router import MAX_LISTED_LOADS, RouterHealth, RouterLayer
from model_health.report.series import nullable

PART = "model_health.router"
STACKS = {"decoder": f"{PART}.layers", "encoder": f"{PART}.encoder_layers"}
DROPS = ("dropped_assignments", "dropped_assignments_fraction")
NOT_FINITE = "the router's logits are not finite"


def build_router(telemetry: PromptTelemetry) -> RouterHealth | None:
    """The routers of a prompt, or None where none was read."""
    if not telemetry.routers:
        return None
    listed = sum(series.experts for series in telemetry.routers) <= MAX_LISTED_LOADS
    layers = {
        stack: tuple(_layer(series, listed=listed) for series in telemetry.routers if series.stack == stack)
        for stack in STACKS
    }
    whole = (*layers["decoder"], *layers["encoder"])
    idle = [(layer.idle_experts, layer.experts) for layer in whole if layer.idle_experts is not None]
    drops = [
        (layer.dropped_assignments, layer.assignments)
        for layer in whole
        if layer.dropped_assignments is not None and layer.assignments is not None
    ]
    return RouterHealth(
        layers=layers["decoder"],
        encoder_layers=layers["encoder"],
        idle_experts_fraction=_share(sum(count for count, _ in idle), sum(experts for _, experts in idle)),
        dropped_assignments_fraction=_share(sum(d for d, _ in drops), sum(d + kept for d, kept in drops)),
        non_finite_steps=max(layer.non_finite_steps for layer in whole),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _layer(series: RouterSeries, *, listed: bool) -> RouterLayer:
    entropy, recorded = series.entropy_bits, series.recorded
    return RouterLayer(
        layer_index=series.layer,
        module=series.module,
        experts=series.experts,
        experts_per_token=series.experts_per_token,
        entropy_bits=tuple(nullable(entropy)),
        entropy_bits_mean=_mean(series),
        load=tuple(series.load.tolist()) if series.load is not None and listed else None,
        non_finite_steps=int((recorded & ~np.isfinite(entropy)).sum()),
        **_loads(series),
    )


def _mean(series: RouterSeries) -> float | None:
    """Over the recorded decode steps, or the pass over the prompt where there are none; None if one is not finite."""
    later = series.entropy_bits[1:][series.recorded[1:]]
    values = later if later.size else series.entropy_bits[series.recorded]
    if not values.size or not np.isfinite(values).all():
        return None
    return round(float(values.mean(dtype=np.float64)), 7)


def _loads(series: RouterSeries) -> dict[str, int | float | None]:
    """Summaries of the load; nothing of a load without assignments."""
    if series.load is None:
        return {}
    total = int(series.load.sum())
    found: dict[str, int | float | None] = {"assignments": total, "dropped_assignments": series.dropped}
    if total:
        mean = total / series.experts
        found |= {
            "max_load_share": float(series.load.max()) / total,
            "load_cv": float(series.load.std()) / mean,
            "idle_experts": int((series.load == 0).sum()),
            "busiest_expert": int(series.load.argmax()),
        }
    return found


def why_router(telemetry: PromptTelemetry, gap: Gap, said: Callable[[Gap], str | None]) -> str:
    """The reason for a null below `model_health.router`."""
    part, _, name = gap.part.rpartition(".")
    own = [s for s in telemetry.routers if part == PART or (STACKS[s.stack] == part and s.layer == gap.layer)]
    if gap.part == PART or not own:
        return said(gap) or ("no router was read" if telemetry.routers else "the model has no router")
    if name == "entropy_bits":
        step = gap.step or 0
        if any(series.recorded[step] for series in own):
            return NOT_FINITE
        return STEP_LEFT_OUT if step % telemetry.every else "this step was not looked at"
    if name == "entropy_bits_mean":
        looked = any(series.recorded.any() for series in own)
        return NOT_FINITE if looked else "no step was looked at"
    if name in DROPS:
        reason = next((series.no_drops for series in own if series.no_drops is not None), None)
        if reason is not None:
            return reason
    reason = next((series.no_load for series in own if series.no_load is not None), None)
    if reason is not None:
        return reason
    if name == "load" and sum(series.experts for series in telemetry.routers) > MAX_LISTED_LOADS:
        return f"single loads are listed for up to {MAX_LISTED_LOADS} experts in all layers"
    return NOT_FINITE if any(series.unread for series in own) else "no expert was assigned a token"
