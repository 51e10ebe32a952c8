"""What recording costs, in waits, operations and memory, none of it by the clock; and what the recorder refuses."""

from __future__ import annotations

import gc
from functools import cache
from typing import Any

import pytest
import torch

from model_health.bench.counting import Counts
from model_health.config.measure import PRESETS, MeasureSwitches
from model_health.errors import CaptureError
from model_health.metrics.attention_prompt import _CHUNK_ELEMENTS
from model_health.metrics.recorder import HealthRecorder
from model_health.metrics.recording import record
from model_health.metrics.scratch import Scratch
from support.dispatch_counts import AliveBytes
from support.models import build
from support.recordings import prompts, watch

BLOCK = 16
"""Two lengths that are one whole block of steps apart: their difference is the price of decode steps alone."""


def generate(model: Any, inputs: Any, preset: Any, **settings: Any) -> None:
    settings = {"do_sample": False, **settings}
    with torch.inference_mode():
        if preset is None:
            model.generate(**inputs, **settings)
        else:
            with record(model, PRESETS[preset]):
                model.generate(**inputs, **settings)


@cache
def per_step(
    family: str, preset: str | None, lengths: tuple[int, ...], layers: int = 4, first: int = 2, **settings: Any
) -> tuple[float, float, float]:
    """Kernels, waits and uploads of one of the 16 decode steps from `first` on; a vocabulary that is worth blocking."""
    size = {"num_hidden_layers": layers} if layers != 4 else {}
    model, facts = build(family, vocab_size=32_000, **size)
    inputs = prompts(*lengths, left=not facts.is_encoder_decoder)
    counts = []
    for new in (first, first + BLOCK):
        with Counts() as count:
            generate(model, inputs, preset, max_new_tokens=new, **settings)
        counts.append((count.kernels.total(), count.waits.total(), count.uploads))
    kernels, waits, uploads = ((b - a) / BLOCK for a, b in zip(*counts, strict=True))
    return kernels, waits, uploads


@pytest.mark.parametrize("lengths", [(12, 12), (12, 5)], ids=["whole", "padded"])
@pytest.mark.parametrize("family", ["llama", "mistral", "t5"])
def test_recording_adds_no_wait_for_the_device_to_a_decode_step(
    family: str, lengths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[str] = []
    monkeypatch.setattr("model_health.metrics.hidden._known_without_nan", lambda _: False)  # as on a GPU
    for name in ("cpu", "numpy", "tolist", "item"):
        plain = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, *a, _n=name, _f=plain, **k: (copies.append(_n), _f(self, *a, **k))[1]
        )
    _, waits, uploads = per_step(family, None, lengths)
    before = len(copies)
    _, watched_waits, watched_uploads = per_step.__wrapped__(family, "full", lengths)
    assert watched_waits == waits
    assert watched_uploads == uploads
    during = copies[before:]
    assert len(during) <= 2 * 6, during  # a handful per generation (arguments, random state), none per step


def test_a_static_cache_adds_no_wait_either() -> None:
    settings = {"cache_implementation": "static"}
    plain = per_step("llama", None, (12, 5), **settings)
    watched = per_step("llama", "full", (12, 5), **settings)
    assert watched[1:] == plain[1:]


def test_prompt_telemetry_costs_a_decode_step_nothing() -> None:
    assert per_step("llama", "full", (12, 5)) == per_step("llama", "standard", (12, 5))


# -- memory

LENGTHS = (300, 100, 200, 200, 200, 200, 200, 200)
STATE = len(LENGTHS) * 300 * 64 * 4
"""Bytes of one [B, P, H] state of the padded batch below."""


@cache
def plain_peak(family: str) -> int:
    model, facts = build(family)
    with AliveBytes() as plain:
        generate(model, prompts(*LENGTHS, left=not facts.is_encoder_decoder), None, max_new_tokens=4)
    return plain.peak


@pytest.mark.parametrize("preset", ["flags", "standard", "full"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_recording_a_padded_batch_takes_little_memory_at_its_peak(family: str, preset: str) -> None:
    """Less than one state where the kernel's own weights suffice; else the buffers of one chunk, whatever the size."""
    model, facts = build(family)
    with AliveBytes() as watched:
        generate(model, prompts(*LENGTHS, left=not facts.is_encoder_decoder), preset, max_new_tokens=4)
    rebuilds_all = preset == "full" or (preset == "standard" and facts.is_encoder_decoder)
    allowed = 5 * 4 * _CHUNK_ELEMENTS if rebuilds_all else STATE // 2
    assert watched.peak - plain_peak(family) <= allowed


@pytest.mark.parametrize(
    ("family", "settings"),
    [("llama", {}), ("gpt2", {}), ("t5", {}), ("bloom", {}), ("llama", {"use_cache": False})],
    ids=str,
)
def test_nothing_as_large_as_a_prompts_state_outlives_the_prefill(
    family: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Working memory apart, whose size follows from the size of a block."""
    working: list[Scratch] = []
    make = Scratch.__init__
    monkeypatch.setattr(Scratch, "__init__", lambda self: (make(self), working.append(self))[0])
    model, facts = build(family)
    lengths = (60, 50, 40)
    state = len(lengths) * 60 * 64 * 4
    inputs = prompts(*lengths, left=not facts.is_encoder_decoder)
    seen: list[list[int]] = []
    for preset in (None, "full"):
        with AliveBytes() as alive:
            large: list[int] = []

            def look(*_: Any, alive: AliveBytes = alive, large: list[int] = large) -> None:
                buffers = sum(4 * one.numel() >= state for scratch in working for one in scratch._buffers.values())
                large.append(sum(size >= state for size in alive.sizes()) - buffers)

            handle = model.register_forward_pre_hook(look)
            generate(model, inputs, preset, max_new_tokens=6, **settings)
            handle.remove()
        seen.append(large)
    plain, watched = seen
    assert len(plain) == 6
    assert watched == plain


def test_what_a_recording_keeps_grows_with_steps_and_layers_not_with_the_prompt() -> None:
    model, _ = build("llama")
    kept = []
    for length in (20, 400):
        with AliveBytes() as alive, torch.inference_mode(), record(model, PRESETS["standard"]) as recording:
            model.generate(**prompts(length, length), max_new_tokens=8, do_sample=False)
        gc.collect()
        kept.append(alive.now())
        assert recording.recorder.records.steps == 8
    small, big = kept
    assert big - small < 2 * 380 * 8 * 4  # the sequences and the prompt's mask, nothing else
    assert small < 200_000


# -- order and refusals


def test_a_forward_pass_without_a_generate_call_is_refused() -> None:
    recorder = HealthRecorder(PRESETS["full"])
    with pytest.raises(CaptureError, match="before its generate call"):
        recorder.forward_started(0, torch.zeros(1, 3, dtype=torch.long))


def test_records_before_the_end_are_refused() -> None:
    with pytest.raises(CaptureError, match="not recorded to its end"):
        _ = HealthRecorder(PRESETS["full"]).records


@pytest.mark.parametrize(
    ("changes", "hidden", "attention"),
    [
        ({}, True, True),
        ({"hidden": False}, True, True),
        ({"hidden": False, "layer_transformations": False}, False, True),
        ({"attention": False}, True, True),
        ({"attention": False, "basin_scores": False, "prompt_attention_sparse": False}, True, False),
    ],
)
def test_only_what_a_switch_needs_is_probed(changes: dict[str, bool], hidden: bool, attention: bool) -> None:
    wants = HealthRecorder(PRESETS["full"].model_copy(update=changes)).wants
    assert (wants.hidden, wants.attention) == (hidden, attention)


def test_a_long_context_shortens_the_blocks_and_not_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = build("llama")
    inputs = prompts(30, 20)
    expected, _ = watch(model, inputs, max_new_tokens=20)
    flushes: list[int] = []
    honest = HealthRecorder._flush

    def counted(self: HealthRecorder) -> None:
        flushes.append(self._step)
        honest(self)

    monkeypatch.setattr(HealthRecorder, "_flush", counted)
    monkeypatch.setattr("model_health.metrics.recorder._BLOCK_ELEMENTS", 2 * 4 * 40 * 3)
    batch, _ = watch(model, inputs, max_new_tokens=20)
    assert len(flushes) > 6
    for one, two in zip(batch.prompts, expected.prompts, strict=True):
        for here, there in zip(one.attention, two.attention, strict=True):
            torch.testing.assert_close(torch.tensor(here.entropy_nats), torch.tensor(there.entropy_nats))
        torch.testing.assert_close(
            torch.tensor(one.lag_cosine), torch.tensor(two.lag_cosine), equal_nan=True, atol=1e-5, rtol=0
        )


def test_the_same_prompts_give_the_same_bits_twice() -> None:
    model, _ = build("qwen2")
    switches: MeasureSwitches = PRESETS["full"]
    one, two = (watch(model, prompts(9, 5), switches)[0].prompts[1] for _ in range(2))
    assert one.logits is not None
    assert two.logits is not None
    assert one.hidden is not None
    assert two.hidden is not None
    assert one.logits.entropy_bits.tobytes() == two.logits.entropy_bits.tobytes()
    assert one.hidden.sketch.tobytes() == two.hidden.sketch.tobytes()
    assert one.hidden.sketch.shape[-1] == switches.sketch.dim
