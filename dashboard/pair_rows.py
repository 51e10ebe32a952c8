"""What the Compare page says and tabulates about two runs. Pure: records in, words and cells out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compare_rows import Effect, Spot, first_out, visible
from model_health.baseline.report_pairs import PairedPrompt, RunPair
from model_health.store.index.records import RunRecord


def run_label(record: RunRecord) -> str:
    """A run in the list to choose from."""
    return f"{record.started_at:%Y-%m-%d %H:%M} · {record.verdict or record.status.value} · {record.run_id}"


def pair_headline(found: RunPair, limit: float | None) -> tuple[str, bool]:
    """The first line about two runs, and whether it is bad news."""
    spots = layers_of(found, limit)
    paired = [one for one in found.prompts if one.why_not is None]
    if not paired:
        return "Nothing can be compared: no prompt has a report with the same tokens in both runs.", True
    lost = next((f"layer.{one.layer}" for one in found.layers if one.lost), None)
    first = first_out(spots)
    says = f"{found.diverged} of {len(paired)} prompts were answered with other tokens."
    if lost is not None:
        return f"{says} From {lost} on, one of the runs has no finite norm where the other has one.", True
    if first is not None:
        return f"{says} {first} is the first layer whose norms are out of band.", True
    if any(spot.value for spot in spots):
        known = (
            "every layer within the band of harmless changes" if limit is not None else "no band is known for layers"
        )
        return f"{says} Norms moved; {known}.", bool(found.diverged)
    return f"{says} No norm of any layer moved.", bool(found.diverged)


def layers_of(found: RunPair, limit: float | None) -> list[Spot]:
    """The layers' largest distances of norms against what harmless changes reach."""
    return [
        Spot(
            f"layer.{one.layer}",
            one.largest,
            one.largest,
            limit,
            f"{one.lost} steps have a norm in one run alone" if one.lost else None,
        )
        for one in found.layers
    ]


def pair_effects(found: RunPair) -> list[Effect]:
    """The effect on each prompt's common tokens, worst first, after the one over all of them."""
    each = [
        Effect(one.prompt_id, one.surprisal_bits, one.low, one.high, one.steps)
        for one in found.prompts
        if one.surprisal_bits is not None
    ]
    worst = sorted(each, key=lambda one: -one.value)
    if found.effect is None:
        return worst
    mean = found.effect
    single = mean.clusters < 2
    low, high = (None, None) if single else (mean.low, mean.high)
    return [Effect("all prompts", mean.mean, low, high, overall=True), *worst]


def divergence_rows(prompts: Sequence[PairedPrompt], *, texts: bool = True) -> list[dict[str, Any]]:
    """One row per prompt, those that diverge soonest first, then those without a pair, then the equal ones."""

    def order(one: PairedPrompt) -> tuple[int, int]:
        return (1, 0) if one.why_not else (2, 0) if one.divergence is None else (0, one.divergence.step)

    return [_divergence_row(one, texts) for one in sorted(prompts, key=order)]


def _divergence_row(one: PairedPrompt, texts: bool) -> dict[str, Any]:
    found = one.divergence
    row: dict[str, Any] = {
        "Prompt": one.prompt_id,
        "Answer": "∅ not compared" if one.why_not else "✔ the same" if found is None else "✖ differ",
        "First at": None if found is None else found.step,
    }
    if texts:
        ended = "(the answer ends)"
        row |= {
            "After": None if found is None else visible(found.before),
            "First run says": None if found is None else visible(found.old_text) if found.old_text else ended,
            "Second run says": None if found is None else visible(found.new_text) if found.new_text else ended,
        }
    return row | {
        "Flags gained": list(one.appeared),
        "Flags lost": list(one.vanished),
        "Why not": one.why_not,
    }


def differing_facts(old: RunRecord, new: RunRecord) -> list[dict[str, Any]]:
    """What the index knows to differ between two runs: identity, libraries, suite."""
    pairs: dict[str, tuple[Any, Any]] = {
        "Suite version": (old.suite_version, new.suite_version),
        "Suite digest": (old.suite_digest, new.suite_digest),
    }
    ours, theirs = old.identity, new.identity
    names = {
        "Revision": "revision",
        "Weights digest": "weights_digest",
        "Precision": "dtype",
        "Quantisation": "quantization",
        "Attention backend": "attention_backend",
        "Device": "device_class",
    }
    for title, name in names.items():
        pairs[title] = (getattr(ours, name, None), getattr(theirs, name, None))
    libraries = [dict(side.libraries) if side else {} for side in (ours, theirs)]
    for name in sorted({*libraries[0], *libraries[1]}):
        pairs[f"Library {name}"] = (libraries[0].get(name), libraries[1].get(name))
    return [
        {"What": what, "First run": first or "not recorded", "Second run": second or "not recorded"}
        for what, (first, second) in pairs.items()
        if first != second
    ]
