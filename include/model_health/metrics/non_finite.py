"""Finds the first NaN and the first infinity of one prompt, by place, step and layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_health.metrics.findings import Kind, NonFiniteFinding, Place
from model_health.metrics.telemetry import AttentionSeries, HiddenSeries, PromptTelemetry


def _first(
    found: list[NonFiniteFinding], where: Place, kind: Kind, marks: NDArray[np.bool_], layer: int | None
) -> None:
    """Note the first True of marks [T] that belong to one layer, or to the logits (None)."""
    hits = np.flatnonzero(marks)
    if len(hits):
        found.append(NonFiniteFinding(where=where, kind=kind, step=int(hits[0]), layer=layer))


def _broken(series: AttentionSeries) -> NDArray[np.bool_]:
    """Steps [T] whose row was looked at and is not finite."""
    broken = np.asarray(~np.isfinite(series.entropy_nats).all(-1))
    return broken if series.seen is None else broken & series.seen


def _hidden(found: list[NonFiniteFinding], where: Place, series: HiddenSeries) -> None:
    kinds: tuple[tuple[Kind, NDArray[np.bool_]], ...] = (("nan", series.nan), ("inf", series.inf))
    for kind, marks in kinds:
        hits = np.argwhere(marks)
        if len(hits):
            step = None if where == "prompt" else int(hits[0][0])
            found.append(NonFiniteFinding(where=where, kind=kind, step=step, layer=int(hits[0][1])))


def find_non_finite(telemetry: PromptTelemetry) -> tuple[NonFiniteFinding, ...]:
    """The first sighting of each kind in logits, hidden states, attention rows and the prompt's own analysis.

    A row of attention weights that holds NaN has an entropy that is not finite; infinities cannot survive its softmax.
    A surprisal of +inf is no sighting: a model that masks a token on purpose gives it a logit of -inf. One of -inf says
    that a logit was +inf (`prompt_pass.PromptSurprisal`).
    """
    found: list[NonFiniteFinding] = []
    if telemetry.hidden is not None:
        _hidden(found, "hidden", telemetry.hidden)
    if telemetry.final_hidden is not None:
        layers = 0 if telemetry.hidden is None else telemetry.hidden.mean.shape[1]
        seen = {finding.kind for finding in found}
        # the final norm counts as the layer after the last block
        if "nan" not in seen:
            _first(found, "hidden", "nan", telemetry.final_hidden.nan[:, 0], layers)
        if "inf" not in seen:
            _first(found, "hidden", "inf", telemetry.final_hidden.inf[:, 0], layers)
    if telemetry.logits is not None:
        _first(found, "logits", "nan", telemetry.logits.nan, None)
        _first(found, "logits", "inf", telemetry.logits.inf, None)
    rows = [
        (int(step), series.layer)
        for series in (*telemetry.attention, *telemetry.cross_attention)
        for step in np.flatnonzero(_broken(series))[:1]
    ]
    if rows:
        step, layer = min(rows)
        found.append(NonFiniteFinding(where="attention", kind="nan", step=step, layer=layer))
    if telemetry.encoder is not None:
        _hidden(found, "prompt", telemetry.encoder.hidden)
    if telemetry.prompt is not None and not any(finding.where == "prompt" for finding in found):
        _prompt(found, telemetry)
    return tuple(found)


def _prompt(found: list[NonFiniteFinding], telemetry: PromptTelemetry) -> None:
    assert telemetry.prompt is not None
    layers = [layer.layer for layer in telemetry.prompt.layers if not np.isfinite(layer.basin_scores).all()]
    if telemetry.hidden is None:  # else the states spoke for themselves: infinite ones make a cosine of NaN
        layers += [int(turn) + 1 for turn in np.flatnonzero(~np.isfinite(telemetry.prompt.layer_transformations))]
    bits = telemetry.prompt.prompt_surprisals_bits
    if layers:
        found.append(NonFiniteFinding(where="prompt", kind="nan", layer=min(layers)))
    elif np.isnan(bits).any():
        found.append(NonFiniteFinding(where="prompt", kind="nan"))
    if np.isneginf(bits).any():
        found.append(NonFiniteFinding(where="prompt", kind="inf"))
