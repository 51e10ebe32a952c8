"""Two runs by their reports: paired up to the first token that differs, never beyond."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from model_health.baseline.report_pairs import LayerDistance, PairedPrompt, RunPair, norm_limit, pair_runs
from model_health.baseline.tolerance import Tolerance
from model_health.report.load import load_report
from model_health.report.trace import Trace
from support.observations import observation, tolerance_of
from support.traces import trace


def report(**changes: Any) -> Trace:
    """A converted trace of three layers: block b of step s has the norm 100 + b, each token a surprisal of 1 bit."""
    tokens = changes.pop("tokens", None)
    content = trace("0.3.0", encoder=False, steps=changes.pop("steps", 4), fingerprint=2)
    if tokens is not None:
        for step, token in zip(content["timeline"], tokens, strict=True):
            step["token"] |= {"token_id": token, "token_text": f" t{token}"}
        content["generated"]["token_ids"] = list(tokens)
    for step, layer, norm in changes.pop("norms", ()):
        content["timeline"][step]["layers"][layer]["hidden_summary"]["l2_norm_mean"] = norm
    for step, surprisal in changes.pop("surprisals", ()):
        content["timeline"][step]["logits_summary"]["surprisal"] = surprisal
    if prompt := changes.pop("prompt", None):
        content["prompt"] |= {"token_ids": prompt, "num_tokens": len(prompt)}
    assert not changes
    return load_report(json.dumps(content).encode())


def pair(old: Trace | None, new: Trace | None) -> RunPair:
    return pair_runs(["a"], lambda prompt: (old, new))


def only(found: RunPair) -> PairedPrompt:
    (prompt,) = found.prompts
    return prompt


def test_a_run_against_itself_has_no_distance_and_no_divergence() -> None:
    found = pair(report(), report())
    assert (only(found).divergence, only(found).surprisal_bits, found.diverged) == (None, 0.0, 0)
    assert [(one.layer, one.mean, one.largest, one.lost) for one in found.layers] == [
        (n, 0.0, 0.0, 0) for n in range(3)
    ]
    assert only(found).steps == 4


def test_pairing_ends_with_the_step_whose_token_differs() -> None:
    old = report(tokens=[20, 21, 22, 23])
    new = report(tokens=[20, 21, 99, 98], norms=[(2, 1, 202.0), (3, 0, 5000.0)])
    found = pair(old, new)
    divergence = only(found).divergence
    assert divergence is not None
    assert (divergence.step, divergence.before) == (2, " t20 t21")
    assert (divergence.old_text, divergence.new_text) == (" t22", " t99")
    assert (only(found).steps, found.diverged) == (3, 1)
    assert found.layers[0].largest == 0.0, "the step after the divergence has no partner"
    assert found.layers[1].largest == pytest.approx(math.log(2.0))
    assert (found.layers[1].prompt_id, found.layers[1].step) == ("a", 2)
    assert found.layers[1].mean == pytest.approx(math.log(2.0) / 3)


def test_an_answer_that_ends_sooner_diverges_where_it_ends() -> None:
    found = pair(report(tokens=[20, 21, 22, 23]), report(steps=2, tokens=[20, 21]))
    divergence = only(found).divergence
    assert divergence is not None
    assert (divergence.step, divergence.old_text, divergence.new_text) == (2, " t22", None)
    assert only(found).steps == 2


def test_the_effect_of_a_prompt_is_over_the_tokens_that_both_chose() -> None:
    found = pair(report(), report(surprisals=[(0, 1.5), (1, 2.5)], tokens=[20, 21, 90, 91]))
    one = only(found)
    assert one.surprisal_bits == pytest.approx(1.0)
    assert one.low is not None
    assert one.high is not None
    assert one.low < 1.0 < one.high
    assert found.effect is not None
    assert (found.effect.clusters, found.effect.mean) == (1, pytest.approx(1.0))


def test_the_first_token_alone_has_an_effect_without_an_interval() -> None:
    one = only(pair(report(), report(surprisals=[(0, 1.5)], tokens=[20, 90, 91, 92])))
    assert (one.surprisal_bits, one.low, one.high) == (pytest.approx(0.5), None, None)


def test_a_norm_that_one_run_does_not_have_is_counted_and_no_number() -> None:
    found = pair(report(norms=[(1, 2, 0.0), (2, 2, 0.0)]), report(norms=[(1, 2, 0.0)]))
    assert found.layers[2] == LayerDistance(2, 0.0, 0.0, "a", 0, 1)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (None, report(), "no report in the first run"),
        (report(), None, "no report in the second run"),
        (report(), report(prompt=[9, 9]), "the prompt has other tokens"),
    ],
)
def test_what_cannot_be_paired_says_why_and_has_no_number(old: Trace | None, new: Trace | None, why: str) -> None:
    found = pair(old, new)
    assert found.prompts == (PairedPrompt("a", why_not=why),)
    assert (found.layers, found.effect) == ((), None)


def test_the_limit_is_ten_times_the_largest_healthy_norm_distance() -> None:
    learnt = tolerance_of(observation(), [{"batch_size": 1}, {"attention_backend": "eager"}])
    assert norm_limit(learnt) == pytest.approx(10.0 * max(floor.families["norm"] for floor in learnt.floors))
    assert norm_limit(Tolerance(dtype="float32")) is None
    assert norm_limit(None) is None
