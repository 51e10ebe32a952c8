"""What routers say, the plain way: one forward pass over everything that was generated, `output_router_logits` on.

The reference for router health. Entropies in double precision from the logits that transformers returns itself, row by
row and token by token; loads from the arguments of the modules that hold the experts. Written without the library.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from model_health.metrics.telemetry import BatchTelemetry


@dataclass
class RouterReference:
    """logits [B, S, E] of each router in the order in which they ran; chosen [B, S, k] of each module of experts."""

    logits: list[torch.Tensor]
    encoder_logits: list[torch.Tensor] = field(default_factory=list)
    chosen: list[torch.Tensor] = field(default_factory=list)


def run_reference(model: Any, inputs: dict[str, torch.Tensor], sequences: torch.Tensor) -> RouterReference:
    """Teacher-forced: the prompt and all that was generated but the last token, in one pass."""
    mask = inputs["attention_mask"]
    chosen: dict[nn.Module, torch.Tensor] = {}
    handles = []
    for path, module in model.named_modules():
        if path.rpartition(".")[2] == "experts":

            def spy(module: nn.Module, args: Any, kwargs: Any) -> None:
                found = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor) and x.dtype == torch.int64]
                if found and found[0].dim() == 2:
                    chosen[module] = found[0]

            handles.append(module.register_forward_pre_hook(spy, with_kwargs=True))
    try:
        with torch.inference_mode():
            if model.config.is_encoder_decoder:
                read = sequences[:, :-1]
                out = model(**inputs, decoder_input_ids=read, output_router_logits=True, use_cache=False)
            else:
                read = sequences[:, :-1]
                whole = torch.cat((mask, torch.ones_like(read[:, mask.shape[1] :])), 1)
                positions = (whole.cumsum(-1) - 1).clamp_min(0)
                out = model(
                    input_ids=read,
                    attention_mask=whole,
                    position_ids=positions,
                    output_router_logits=True,
                    use_cache=False,
                )
    finally:
        for handle in handles:
            handle.remove()
    batch, length = read.shape
    if model.config.is_encoder_decoder:
        return RouterReference(
            [_rows(x, batch, length) for x in _logits(out.decoder_router_logits)],
            [_rows(x, batch, mask.shape[1]) for x in _logits(out.encoder_router_logits)],
        )
    picked = [index.reshape(batch, length, -1) for index in chosen.values()]
    return RouterReference([_rows(x, batch, length) for x in _logits(out.router_logits)], [], picked)


def _logits(entries: Any) -> list[torch.Tensor]:
    return [x[0] if isinstance(x, tuple) else x for x in entries or () if x is not None]


def _rows(logits: torch.Tensor, batch: int, length: int) -> torch.Tensor:
    return logits.reshape(batch, length, logits.shape[-1])


def entropy_bits(logits: torch.Tensor, *, probabilities: bool = False) -> np.ndarray:
    """[..., E] -> [...] in double precision."""
    p = logits.double() if probabilities else torch.softmax(logits.double(), -1)
    return (-(p * torch.log2(p.clamp_min(1e-300))).sum(-1)).numpy()


def check_routers(
    telemetry: BatchTelemetry, reference: RouterReference, inputs: dict[str, torch.Tensor], *, atol: float = 2e-4
) -> int:
    """Hold entropies and loads of every prompt against the reference. Returns how many loads could be compared."""
    compared = 0
    both = bool(reference.encoder_logits)
    for row, prompt in enumerate(telemetry.prompts):
        real = inputs["attention_mask"][row].bool()
        start = 0 if both else real.shape[0] - 1
        steps = len(prompt.generated_token_ids)
        places: dict[str, int] = defaultdict(int)
        for series in prompt.routers:
            place, where = places[series.stack], f"{series.stack} layer {series.layer}, row {row}"
            places[series.stack] += 1
            said = (reference.encoder_logits if series.stack == "encoder" else reference.logits)[place]
            sums = said.float().sum(-1)
            bits = entropy_bits(said[row], probabilities=bool((said >= 0).all() and (sums - 1).abs().max() < 1e-4))
            if series.stack == "encoder":
                np.testing.assert_allclose(series.entropy_bits, [bits[real.numpy()].mean()], atol=atol, err_msg=where)
                continue
            later = bits[start + 1 : start + steps]
            first = bits[0] if both else bits[: start + 1][real.numpy()].mean()
            np.testing.assert_allclose(series.entropy_bits, [first, *later], atol=atol, err_msg=where)
            if series.load is not None and len(reference.chosen) == len(reference.logits):
                picks = reference.chosen[place][row]
                seen = torch.cat((picks[: start + 1][real], picks[start + 1 : start + steps]))
                expected = np.bincount(seen.flatten().numpy(), minlength=series.experts)
                assert series.load.tolist() == expected.tolist(), f"load of {where}"
                compared += 1
        counts = {"encoder": len(reference.encoder_logits), "decoder": len(reference.logits)}
        assert {stack: places[stack] for stack in counts} == counts, "routers that were not read"
    return compared


def router_logits_of(
    model: Any, inputs: dict[str, torch.Tensor], settings: dict[str, Any]
) -> dict[str, list[list[torch.Tensor]]]:
    """What transformers records of its routers in each pass of a plain `generate`: pass by pass, router by router."""
    found: dict[str, list[list[torch.Tensor]]] = {"encoder": [], "decoder": []}
    stacks = {"decoder": _body(model.get_decoder())}
    if model.config.is_encoder_decoder:
        stacks["encoder"] = model.get_encoder()
    handles = []

    def ask(module: nn.Module, args: Any, kwargs: Any) -> Any:
        return args, {**kwargs, "output_router_logits": True}

    def listen(name: str) -> Any:
        return lambda module, args, output: found[name].append(_logits(getattr(output, "router_logits", None)))

    for name, stack in stacks.items():
        handles += [
            stack.register_forward_pre_hook(ask, with_kwargs=True),
            stack.register_forward_hook(listen(name)),
        ]
    try:
        with torch.inference_mode():
            model.generate(**inputs, **settings)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _body(stack: Any) -> Any:
    while stack.get_output_embeddings() is not None and stack.base_model is not stack:
        stack = stack.base_model
    return stack


def check_router_entropies(
    telemetry: BatchTelemetry, passes: dict[str, list[list[torch.Tensor]]], inputs: dict[str, torch.Tensor]
) -> None:
    """Hold every entropy of a batch against what was recorded. Routers that share a layer may be in either order."""
    both, (batch, width) = bool(passes["encoder"]), inputs["input_ids"].shape
    for row, prompt in enumerate(telemetry.prompts):
        real = inputs["attention_mask"][row].bool()
        for stack in ("encoder", "decoder"):
            mine = [series for series in prompt.routers if series.stack == stack]
            for step, recorded in enumerate(passes[stack][: len(prompt.generated_token_ids)] if mine else ()):
                reads = stack == "encoder" or (step == 0 and not both)
                expected = []
                for logits in {id(logits): logits for logits in recorded}.values():  # JetMoE records some twice
                    rows = logits.reshape(batch, -1, logits.shape[-1])
                    alike = bool((rows >= 0).all() and (rows.float().sum(-1) - 1).abs().max() < 1e-4)
                    bits = entropy_bits(rows[row], probabilities=alike)
                    expected.append(bits[real.numpy()].mean() if reads and len(bits) == width else bits[-1])
                got = sorted(float(series.entropy_bits[step]) for series in mine)
                known = sorted(float(value) for value in expected)
                assert len(got) == len(known), f"{len(got)} {stack} routers of {len(known)} at step {step}"
                np.testing.assert_allclose(got, known, atol=2e-4, err_msg=f"router entropies of step {step}")
