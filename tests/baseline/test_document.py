"""What a baseline says of its healthy runs."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from model_health.baseline.artefact import pack, read_document
from model_health.baseline.document import HealthyRun, Provenance
from support.manifests import make_manifest, make_prompt_entry
from support.replays import facts, made_up, made_up_item


def test_a_healthy_run_keeps_flags_and_latencies_by_prompt() -> None:
    entries = (make_prompt_entry(flags=("b", "a")), make_prompt_entry(prompt_id="two", entropy_bits_mean=None))
    run = HealthyRun.of(make_manifest(prompts=entries), "memory://manifest.json", "sha256:1")
    assert run.flags == {"facts-01": ("a", "b"), "two": ()}
    assert run.entropy_bits_mean == {"facts-01": 2.0, "two": None}
    assert run.time_to_first_token_seconds == {"facts-01": 0.2, "two": 0.2}


def test_rates_count_generations_and_latencies_skip_what_was_not_measured() -> None:
    packed = pack(made_up(), facts())
    document = read_document(packed.document, packed.baseline_id, "here")
    assert document.flag_counts("loop_detected") == (1, 2)
    assert document.flag_counts("nan_detected") == (0, 2)
    assert document.latencies("time_to_first_token_seconds") == [0.5]
    assert document.latencies("time_per_output_token_seconds") == [0.25, 0.125]


def test_one_replay_cannot_say_whether_bits_repeat() -> None:
    with pytest.raises(ValidationError, match="more than one replay"):
        pack(made_up(), facts(replays=1, reproducible=True))
    assert pack(made_up(), facts(replays=1, reproducible=None))


def test_an_item_is_there_once() -> None:
    with pytest.raises(ValidationError, match="given twice"):
        pack(made_up(made_up_item(), made_up_item()), facts())


@pytest.mark.parametrize("empty", [{"by": " "}, {"reason": ""}])
def test_somebody_must_say_why(empty: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Provenance.model_validate({"by": "me", "reason": "because", **empty})
