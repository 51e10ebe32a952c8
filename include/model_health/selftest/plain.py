"""What the model's own forward pass gives, looked at without any of our instruments: the judge of "no number changes".

Owns that reading: transformers' own hidden states and logits, their bytes of real tokens hashed. It shares neither
probes, heads nor digests with a replay, so a replay that has gone blind cannot excuse its own misses with it.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from model_health.replay.plan import ReplayItem, batches, pad
from model_health.selftest.subject import Subject


def plain_bits(subject: Subject, items: Sequence[ReplayItem], batch_size: int) -> str:
    """SHA-256 over every hidden state and every logit of items, in the batches that a replay makes of them.

    Args:
        subject: the model as it is now.
        items: what is put through it.
        batch_size: of the replay that found nothing: another one would round otherwise, and prove nothing.
    """
    found = hashlib.sha256()
    model: Any = subject.loaded.model
    with torch.inference_mode():
        for places in batches(items, batch_size):
            arguments, mask = _arguments(subject, [items[place] for place in places])
            output = model(**arguments, output_hidden_states=True, use_cache=False)
            for tensor in _tensors(output.to_tuple()):
                real = tensor if mask is None or mask.shape != tensor.shape[:2] else tensor[mask.bool()]
                found.update(real.contiguous().view(torch.uint8).cpu().numpy().data)
    return found.hexdigest()


def _arguments(subject: Subject, items: Sequence[ReplayItem]) -> tuple[dict[str, Any], torch.Tensor | None]:
    """What the model is called with, and which positions are real; None where all are to be looked at."""
    loaded = subject.loaded
    pad_id = int(loaded.tokenizer.pad_token_id or 0)
    device = next(loaded.model.get_input_embeddings().parameters()).device
    fed = [item.fed for item in items]
    if loaded.encoder_decoder:
        decoder = pad(fed, "right", pad_id, device)
        encoder = pad([item.context_ids for item in items], "right", pad_id, device)
        given = {"input_ids": encoder.ids, "attention_mask": encoder.mask}
        return {**given, "decoder_input_ids": decoder.ids, "decoder_attention_mask": decoder.mask}, None
    decoder = pad(fed, "left", pad_id, device)
    given = {"input_ids": decoder.ids, "attention_mask": decoder.mask}
    if "position_ids" in inspect.signature(type(loaded.model).forward).parameters:
        # as a replay tells them: the first real token is at 0, whatever stands before it
        given["position_ids"] = (decoder.mask.cumsum(1) - 1).clamp_min(0)
    return given, decoder.mask


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)
