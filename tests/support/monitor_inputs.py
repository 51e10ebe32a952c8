"""What monitors are rendered from: the shipped rules, or rules as awkward as the configuration allows."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_health.config.gates import GatesConfig
from model_health.config.monitors import MonitorsConfig
from model_health.config.settings import load_settings
from model_health.monitors.target import RenderInput, load_input

ROOT = Path(__file__).resolve().parents[2]

RULE = {"tier": "critical", "owner": "model-health", "runbook": "non-finite", "reason": "Because."}

AWKWARD: dict[str, dict[str, Any]] = {
    "below": {"metric": "top1_top2_margin_min", "aggregate": "min", "direction": "below", "warn": 0.2, "fail": 0.1},
    "below-mean": {
        "metric": "top1_top2_margin_mean",
        "aggregate": "mean",
        "direction": "below",
        "fail": 0.25,
        "for_runs": 2,
        "of_last": 4,
        "min_measured": 0.5,
    },
    "same-level": {"metric": "entropy_bits_max", "warn": 3.0, "fail": 3.0},
    "warn-only": {"metric": "surprisal_bits_max", "warn": 7.5, "for_runs": 3, "of_last": 5},
    "negative": {"metric": "layer_transformation_mean", "warn": -0.5, "fail": -0.25, "for_runs": 2, "of_last": 2},
    "at-once": {
        "flags": ["nan_detected"],
        "fail": 0,
        "for_runs": 2,
        "of_last": 3,
        "page_immediately": True,
        "warn": 0,
    },
    "any-of": {"flags": ["inf_detected", "garbled_output"], "fail": 2, "for_runs": 1, "of_last": 3},
    "whole-run": {"metric": "peak_memory_bytes", "fail": 8e9, "models": "qwen-[23].5*", "suites": "co?e"},
    "run-count": {"metric": "prompts_unhealthy", "warn": 1, "fail": 3, "for_runs": 4, "of_last": 6, "models": "m-[!x]"},
    "refused": {"condition": "report_invalid", "fail": 0, "for_runs": 2, "of_last": 3},
    "unseen": {"condition": "could_not_measure", "warn": 0, "fail": 0, "for_runs": 1, "of_last": 1},
    "dead": {"condition": "no_report", "fail": 9000, "models": "a-*"},
    "uncompared": {"condition": "no_comparison", "warn": 50000, "models": "a-*"},
    "untested": {"condition": "no_self_test", "warn": 90000, "fail": 90000},
    "asleep": {"condition": "no_check", "fail": 5000},
    "drifts": {"condition": "baseline_drift", "warn": 0.75, "fail": 1.5, "suites": "core"},
    "stuck": {"condition": "outbox_stuck", "warn": 60},
    "texts": {
        "metric": "sequence_perplexity",
        "fail": 9.0,
        "owner": 'A "team" {{ of }} 50 %',
        "reason": 'It\'s {{ .bad }} \\ "quoted": @someone # said\nso.',
    },
}
"""Every form of rule that the shipped file does not have."""


@functools.cache
def shipped() -> RenderInput:
    """The repository's own configuration, whatever the environment says."""
    return load_input(load_settings({}, cwd=ROOT))


def made(rules: dict[str, dict[str, Any]] | None = None, **changed: Any) -> RenderInput:
    """A render input.

    Args:
        rules: of the gates, over `RULE`; the awkward ones if None.
        changed: `gates`, `monitors` (keys of their files) and fields of `RenderInput`.
    """
    gates = {"rules": {name: {**RULE, **rule} for name, rule in (AWKWARD if rules is None else rules).items()}}
    return replace(
        RenderInput(
            gates=GatesConfig.model_validate({**gates, **changed.pop("gates", {})}),
            monitors=MonitorsConfig.model_validate(changed.pop("monitors", {})),
            pairs=(("a-1", "core"), ("a-2.5", "core"), ("a-2.5", "smoke"), ("b", "core")),
        ),
        **changed,
    )
