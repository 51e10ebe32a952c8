"""Moves what routers left on the device to the host, and cuts one prompt's series out of a batch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model_health.capture.events import GenerationStart, RouterPlace, StackName
from model_health.metrics.router import DROPPED, UNREAD, RouterRecords, RouterTrack
from model_health.metrics.telemetry import NotMeasured, RouterSeries

PARTS = {StackName.DECODER: "model_health.router.layers", StackName.ENCODER: "model_health.router.encoder_layers"}
NO_CHOICE = "its router does not name the experts that it chose"
SOME_CHOICES = "its router did not name its choices in every pass"

Array = NDArray[Any]
RouterCutter = Callable[[int, int], tuple[RouterSeries, ...]]


def router_gaps(start: GenerationStart, records: RouterRecords) -> list[NotMeasured]:
    """What is not measured of the routers, and why: of the whole model, or of single layers."""
    read = [place for place in start.routers if place in records.tracks]
    silent = "it did not run in this generation"
    refused = [(place, records.refused.get(place, silent)) for place in start.routers if place not in records.tracks]
    if not read:
        reasons = [reason for _, reason in refused] or [gap.reason for gap in start.router_gaps]
        return [NotMeasured("router", reasons[0] if reasons else silent)]
    gaps = [NotMeasured(PARTS[place.stack], reason, place.layer) for place, reason in refused]
    return gaps + [
        NotMeasured(PARTS[gap.stack], gap.reason, gap.layer) for gap in start.router_gaps if gap.stack is not None
    ]


def router_cutter(start: GenerationStart, records: RouterRecords, steps: int) -> RouterCutter:
    """Host arrays of all routers, and a function that cuts a row of so many generated tokens out of them."""
    tracks = [(place, records.tracks[place]) for place in start.routers if place in records.tracks]
    prompt_bits = _moved([track.prompt_entropy for _, track in tracks])
    prompt_counts = _moved([track.prompt_counts for _, track in tracks])
    bits = _moved([torch.cat(track.entropy) if track.entropy else None for _, track in tracks])
    chosen = _moved([torch.cat(track.choices) if track.choices else None for _, track in tracks])
    whole = list(zip(tracks, prompt_bits, prompt_counts, bits, chosen, strict=True))

    def cut(row: int, tokens: int) -> tuple[RouterSeries, ...]:
        return tuple(
            _series(place, track, _row(first, row), _row(counts, row), _row(later, row, 1), _row(picks, row, 1), tokens)
            for (place, track), first, counts, later, picks in whole
        )

    return cut


def _moved(tensors: Sequence[torch.Tensor | None]) -> list[Array | None]:
    """The tensors on the host, in one transfer where they have one shape."""
    known = [tensor for tensor in tensors if tensor is not None]
    if len({(tensor.shape, tensor.dtype) for tensor in known}) == 1:
        arrays = iter(torch.stack(known).cpu().numpy())
    else:
        arrays = iter([tensor.cpu().numpy() for tensor in known])
    return [None if tensor is None else next(arrays) for tensor in tensors]


def _row(array: Array | None, row: int, axis: int = 0) -> Array | None:
    return None if array is None else np.take(array, [row], axis=axis).squeeze(axis)


def _series(
    place: RouterPlace,
    track: RouterTrack,
    first: Array | None,
    counts: Array | None,
    later: Array | None,
    picks: Array | None,
    tokens: int,
) -> RouterSeries:
    """One router's numbers for one prompt: entropies by step, and how often each expert was chosen."""
    length = tokens if place.stack is StackName.DECODER else 1
    entropy, recorded = np.full(length, np.nan, np.float32), np.zeros(length, bool)
    if first is not None:
        entropy[0], recorded[0] = first, True
    inside = np.array([step < length for step in track.steps], dtype=bool)
    at = np.array(track.steps, dtype=np.int64)[inside]
    if later is not None:
        entropy[at], recorded[at] = later[inside], True
    total = np.zeros(track.experts - UNREAD, np.int64)
    no_load = place.no_choice or _silence(track)
    if no_load is None and counts is not None:
        total += counts
    if no_load is None and picks is not None:
        own = picks[inside].astype(np.int64)
        own[~np.isfinite(entropy[at])] = UNREAD
        total += np.bincount(own.ravel() - UNREAD, minlength=len(total))
    unread, dropped, load = int(total[0]), int(total[DROPPED - UNREAD]), total[-UNREAD:]
    return RouterSeries(
        stack="encoder" if place.stack is StackName.ENCODER else "decoder",
        layer=place.layer,
        module=place.path,
        experts=track.experts,
        experts_per_token=track.per_token if no_load is None else None,
        entropy_bits=entropy,
        recorded=recorded,
        load=load if no_load is None else None,
        unread=unread,
        dropped=dropped if no_load is None and place.no_drops is None else None,
        no_load=no_load,
        no_drops=no_load if place.no_drops is None else place.no_drops,
    )


def _silence(track: RouterTrack) -> str | None:
    """Why a router's choices cannot be counted, if so."""
    if not track.chosen_steps and track.prompt_counts is None:
        return NO_CHOICE
    if track.chosen_steps != track.steps or (track.prompt_entropy is None) != (track.prompt_counts is None):
        return SOME_CHOICES
    return None
