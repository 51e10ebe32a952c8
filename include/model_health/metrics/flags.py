"""Raises the health flags of one prompt from its telemetry and text, by the thresholds of its model.

The seed's six flags keep their rules; the later ones (loops of any period, share of high-entropy steps, empty,
truncated and garbled output) stand beside them. A flag whose evidence was not measured is None with the reason, never
False.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

import numpy as np

from model_health.config.flags import Flag
from model_health.config.layers import LAYER_LEFT_OUT, STEP_LEFT_OUT
from model_health.config.thresholds import Thresholds
from model_health.metrics.findings import HealthFindings
from model_health.metrics.loops import find_loops
from model_health.metrics.non_finite import find_non_finite
from model_health.metrics.telemetry import PromptTelemetry

_BAD_CATEGORIES = frozenset({"Cc", "Cn", "Co", "Cs"})
"""Control, unassigned, private-use and surrogate characters."""


@dataclass
class _Verdicts:
    raised: set[str] = field(default_factory=set)
    undetermined: dict[str, str] = field(default_factory=dict)

    def unknown(self, flag: str, reason: str) -> None:
        self.undetermined[flag] = reason

    def note(self, flag: Flag, value: bool) -> bool:
        if value:
            self.raised.add(flag.value)
        return value


def garbled_fraction(text: str) -> float:
    """Share of characters that are U+FFFD or of a category that text does not hold; 0 for no text.

    The end of a text may cut a multi-byte character: trailing U+FFFD do not count.
    """
    body = text.rstrip("\ufffd")
    if not body:
        return 1.0 if text else 0.0
    bad = sum(c == "\ufffd" or (unicodedata.category(c) in _BAD_CATEGORIES and c not in "\n\r\t") for c in body)
    return bad / len(body)


def _reason(telemetry: PromptTelemetry, part: str) -> str:
    return next((gap.reason for gap in telemetry.not_measured if gap.part == part), f"{part} not measured")


def _collapse(telemetry: PromptTelemetry, limits: Thresholds, verdicts: _Verdicts) -> bool | None:
    """Any head below the entropy limit, in rows that may see at least two keys (a row over one key is always 0)."""
    flag = Flag.ATTENTION_COLLAPSE_DETECTED
    if not telemetry.attention:
        verdicts.unknown(flag, _reason(telemetry, "attention"))
        return None
    rows = [series.entropy_nats[series.visible_keys >= 2] for series in telemetry.attention]
    if any(bool((entropy < limits.collapse_entropy_nats).any()) for entropy in rows):
        return verdicts.note(flag, True)
    if not all(np.isfinite(entropy).all() for entropy in rows):
        verdicts.unknown(flag, "attention weights were not finite")
        return None
    if not any(entropy.size for entropy in rows):
        verdicts.unknown(flag, "no row sees 2 keys")
        return None
    return verdicts.note(flag, False)


def _high_entropy(telemetry: PromptTelemetry, limits: Thresholds, verdicts: _Verdicts) -> int | None:
    name = "high_entropy_steps"
    if telemetry.logits is None:
        verdicts.unknown(name, _reason(telemetry, "logits"))
        return None
    entropy = telemetry.logits.entropy_bits
    finite = np.isfinite(entropy)
    if not finite.any():
        verdicts.unknown(name, "no step had finite logits")
        return None
    count = int((entropy[finite] > limits.high_entropy_bits).sum())
    verdicts.note(Flag.HIGH_ENTROPY, count / int(finite.sum()) > limits.high_entropy_max_fraction)
    return count


def _repetition(telemetry: PromptTelemetry, limits: Thresholds, verdicts: _Verdicts) -> bool | None:
    """The seed's rule: every consecutive cosine of the last steps above its threshold. Fewer steps cannot repeat."""
    flag = Flag.REPETITION_LOOP_DETECTED
    if any(gap.part == "lag_similarity" for gap in telemetry.not_measured):
        verdicts.unknown(flag, _reason(telemetry, "lag_similarity"))
        return None
    if len(telemetry.lag_cosine) < limits.repetition_window:
        return verdicts.note(flag, False)
    recent = telemetry.lag_cosine[-(limits.repetition_window - 1) :, 0]
    if not np.isfinite(recent).all():
        verdicts.unknown(flag, "final hidden states were not finite")
        return None
    return verdicts.note(flag, bool((recent > limits.repetition_cosine).all()))


def _mid_layer(telemetry: PromptTelemetry, limits: Thresholds, verdicts: _Verdicts) -> bool | None:
    """The seed's rule, per step: in the middle third of the layers a non-finite value, or a far too large L2 norm.

    The norm is judged by a multiple of the mean over the early third of the same step. The prefill has a limit of its
    own, as the first token's massive activations rule its mean over the prompt. Layers and steps that were left out
    neither raise it nor clear it: where one of the two thirds was not looked at at all, nothing is known.
    """
    flag = Flag.MID_LAYER_ANOMALY_DETECTED
    if telemetry.hidden is None:
        verdicts.unknown(flag, _reason(telemetry, "hidden"))
        return None
    layers = telemetry.hidden.l2_norm.shape[1]
    if layers < 3:
        verdicts.unknown(flag, f"{layers} layers have no middle third")
        return None
    first, second = layers // 3, 2 * layers // 3
    broken = telemetry.hidden.nan[:, first:second].any() or telemetry.hidden.inf[:, first:second].any()
    skipped = 1 if limits.mid_layer_prefill_l2_ratio is None else 0
    norms = telemetry.hidden.l2_norm.astype(np.float64)
    limit = np.full((len(norms), 1), limits.mid_layer_l2_ratio)
    if not skipped:
        limit[:1] = limits.mid_layer_prefill_l2_ratio
    seen = telemetry.hidden.seen
    steps = np.arange(len(norms)) >= skipped
    chosen = np.ones(layers, bool) if seen is None else np.asarray(seen.any(axis=0))
    if seen is not None:
        steps &= seen.any(1)
    norms, limit = norms[steps], limit[steps]
    own = norms[:, first:second][:, chosen[first:second]]
    early = norms[:, :first][:, chosen[:first]]
    if not broken and seen is not None and not (own.size and early.size):
        verdicts.unknown(flag, LAYER_LEFT_OUT if not (own.shape[1] and early.shape[1]) else STEP_LEFT_OUT)
        return None
    early = early.mean(1, keepdims=True) if early.shape[1] else np.full((len(early), 1), np.inf)
    if broken or (own > limit * early).any():
        return verdicts.note(flag, True)
    if not (np.isfinite(early).all() and np.isfinite(own).all()):
        verdicts.unknown(flag, "norms of the early layers were not finite")  # nothing to compare with is not healthy
        return None
    return verdicts.note(flag, False)


def health_findings(telemetry: PromptTelemetry, output_text: str, limits: Thresholds) -> HealthFindings:
    """Everything the checks conclude about one prompt.

    Args:
        telemetry: of the prompt.
        output_text: the decoded generation without special tokens.
        limits: thresholds of the model.
    """
    verdicts = _Verdicts()
    non_finite = find_non_finite(telemetry)
    seen: dict[str, bool | None] = {}
    for kind, flag in (("nan", Flag.NAN_DETECTED), ("inf", Flag.INF_DETECTED)):
        if any(finding.kind == kind for finding in non_finite):
            seen[flag] = verdicts.note(flag, True)
        elif telemetry.hidden is None or telemetry.logits is None:
            part = "hidden" if telemetry.hidden is None else "logits"
            seen[flag] = None
            verdicts.unknown(flag, _reason(telemetry, part))
        else:
            seen[flag] = False
    lagged = any(gap.part == "lag_similarity" for gap in telemetry.not_measured)
    loops = find_loops(telemetry.generated_token_ids, None if lagged else telemetry.lag_cosine, limits.loops)
    verdicts.note(Flag.LOOP_DETECTED, bool(loops))
    verdicts.note(Flag.EMPTY_OUTPUT, not output_text.strip())
    verdicts.note(Flag.TRUNCATED_OUTPUT, telemetry.stopped_by == "length")
    verdicts.note(Flag.GARBLED_OUTPUT, garbled_fraction(output_text) > limits.garbled_max_fraction)
    return HealthFindings(
        nan_detected=seen[Flag.NAN_DETECTED],
        inf_detected=seen[Flag.INF_DETECTED],
        attention_collapse_detected=_collapse(telemetry, limits, verdicts),
        high_entropy_steps=_high_entropy(telemetry, limits, verdicts),
        repetition_loop_detected=_repetition(telemetry, limits, verdicts),
        mid_layer_anomaly_detected=_mid_layer(telemetry, limits, verdicts),
        loops=loops,
        non_finite=non_finite,
        flags=frozenset(verdicts.raised),
        undetermined=verdicts.undetermined,
    )
