"""What must hold on any device: checks that the GPU tests run on CUDA, and the others on the CPU with the same code."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from model_health.bench.models import build
from model_health.bench.models import prompt as prompt_of
from model_health.config.measure import PRESETS
from model_health.metrics.recording import record
from model_health.metrics.telemetry import BatchTelemetry

NEW = 20
BOUNDS = {"float32": 1e-3, "bfloat16": 2e-2}
"""Relative to the size of a number: what reducing in another order may change on a GPU."""
ABSENT = {"router", "prompt_surprisals"}
"""What these models do not have: experts, and in an encoder-decoder model a prompt that is predicted."""
_LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx")
_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def watched(model: Any, inputs: dict[str, torch.Tensor], **settings: Any) -> tuple[BatchTelemetry, torch.Tensor]:
    """Generate greedily under `full` capture."""
    settings = {"max_new_tokens": NEW, "do_sample": False, **settings}
    with torch.inference_mode(), record(model, PRESETS["full"]) as recording:
        sequences = model.generate(**inputs, **settings)
    return recording.telemetry(), sequences


def check_parity(name: str, device: str, dtype: str) -> None:
    """Tokens, logits and hidden states are those that transformers itself returns, on this device, in this dtype."""
    model: Any = build(name, device, dtype)
    inputs = prompt_of(model, 3, 17)
    telemetry, sequences = watched(model, inputs)
    with torch.inference_mode():
        out = model.generate(
            **inputs, max_new_tokens=NEW, do_sample=False,
            return_dict_in_generate=True, output_logits=True, output_hidden_states=True,
        )  # fmt: skip
    assert torch.equal(sequences, out.sequences)
    states = out.decoder_hidden_states if model.config.is_encoder_decoder else out.hidden_states
    for row, prompt in enumerate(telemetry.prompts):
        assert {gap.part for gap in prompt.not_measured} <= ABSENT, prompt.not_measured
        assert prompt.logits is not None
        assert prompt.hidden is not None
        logits = torch.stack([step[row] for step in out.logits]).double()
        bits = torch.distributions.Categorical(logits=logits).entropy().cpu().numpy() / np.log(2)
        np.testing.assert_allclose(prompt.logits.entropy_bits, bits, rtol=BOUNDS[dtype])
        for step in range(1, NEW):  # a prefill's statistics are over all of its tokens
            layers = [layer[row, -1].double() for layer in states[step][1:-1]]  # the last one is after the final norm
            norms = [float(layer.norm()) for layer in layers]
            np.testing.assert_allclose(prompt.hidden.l2_norm[step, : len(norms)], norms, rtol=BOUNDS[dtype])


def check_static_cache(device: str) -> None:
    """A static cache, which `generate` would compile on a GPU, runs uncompiled while watched, and gives the same."""
    model: Any = build("llama-tiny", device)
    inputs = prompt_of(model, 2, 17)
    dynamic, tokens = watched(model, inputs)
    static, same = watched(model, inputs, cache_implementation="static")
    assert torch.equal(tokens, same)
    for one, two in zip(dynamic.prompts, static.prompts, strict=True):
        assert {gap.part for gap in (*one.not_measured, *two.not_measured)} <= ABSENT
        assert one.logits is not None
        assert two.logits is not None
        np.testing.assert_allclose(one.logits.entropy_bits, two.logits.entropy_bits, rtol=1e-3)
        for a, b in zip(one.attention, two.attention, strict=True):
            np.testing.assert_allclose(a.entropy_nats, b.entropy_nats, atol=2e-3)


def check_two_models_in_turn(device: str) -> None:
    """Nothing of a model is held once it is let go: neither by the probes nor by what they returned."""
    held = []
    for _ in range(3):
        for name in ("llama-tiny", "gpt2-tiny"):
            model = build(name, device)
            telemetry, _ = watched(model, prompt_of(model, 2, 9))
            assert telemetry.prompts
            del model, telemetry
        gc.collect()
        held.append(alive(device))
    assert held[2] == held[1] <= held[0], f"bytes held after each turn: {held}"


def alive(device: str) -> int:
    """Bytes of all tensors that are alive on the device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()
    kinds = (torch.Tensor, torch.nn.Parameter)  # no fake ones, which hold nothing and refuse to say so
    tensors = [one for one in gc.get_objects() if type(one) in kinds]
    return sum({one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}.values())


def check_child(device: str, folder: Path) -> None:
    """A child measures on the device, and this process is as it was: no context made, no memory used."""
    before = torch.cuda.is_initialized()
    file = folder / "cell.json"
    words = [sys.executable, "-m", "model_health.bench", "cell", "--model", "llama-tiny", "--device", device,
             "--batch", "2", "--prompt", "8", "--new-tokens", "4", "--rounds", "1", "--how", "whole",
             "--memory-rounds", "1", "--json", str(file)]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stderr
    assert f'"device":"{device}"' in file.read_text()
    assert torch.cuda.is_initialized() == before


def profiled(device: str, preset: str | None, new: int) -> Counter[str]:
    """Names of what the profiler saw in one generation: calls of CUDA's runtime on a GPU, operations on a CPU."""
    model: Any = build("llama-tiny", device)
    inputs = prompt_of(model, 2, 17)
    on_gpu = device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    settings: dict[str, Any] = {**inputs, "max_new_tokens": new, "do_sample": False}
    with torch.inference_mode():
        model.generate(**settings)  # the first call sets up libraries
        with profile(activities=activities) as seen:
            if preset is None:
                model.generate(**settings)
            else:
                with record(model, PRESETS[preset]):  # type: ignore[index]
                    model.generate(**settings)
    return Counter(event.name for event in seen.events())


def launches(seen: Counter[str], device: str) -> int:
    """Kernels that were launched; on a CPU, operations that would be."""
    if device.startswith("cuda"):
        return sum(seen[name] for name in _LAUNCHES)
    return sum(count for name, count in seen.items() if name.startswith("aten::"))


def waits(seen: Counter[str], device: str) -> int:
    """How often the host waited for the device; on a CPU, how often it asked for a number."""
    if device.startswith("cuda"):
        return sum(seen[name] for name in _WAITS)
    return seen["aten::_local_scalar_dense"]


def check_steps(device: str, *, most_launches: float) -> None:
    """By the profiler: no wait per token is added, and no more than so many launches."""
    short, long = 2, 66  # one block of 64 steps apart
    counted = {(preset, new): profiled(device, preset, new) for preset in (None, "standard") for new in (short, long)}
    per_step = {
        (what, preset): (count(counted[preset, long], device) - count(counted[preset, short], device)) / (long - short)
        for what, count in (("waits", waits), ("launches", launches))
        for preset in (None, "standard")
    }
    assert per_step["launches", None] > 50
    assert per_step["waits", "standard"] == per_step["waits", None], per_step
    assert per_step["launches", "standard"] - per_step["launches", None] <= most_launches, per_step
