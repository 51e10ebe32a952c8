"""The flip report: what changed, side by side, and text that cannot become markup."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_health.baseline.flips import FlipReport, flip_report
from model_health.baseline.flips_markdown import LONGEST, escape, flips_markdown, shown
from support.observations import observation, with_item

BASE = observation(prompts=4)


def decode(ids: Sequence[int]) -> str:
    return "".join(f"<{token}|" for token in ids)


def flipped(seed: int = 3) -> FlipReport:
    return flip_report(BASE, observation(prompts=4, noise=0.5, noise_seed=seed), decode, shown=2)


def test_it_counts_and_shows_every_flip() -> None:
    new = observation(prompts=4, noise=0.5, noise_seed=3)
    report = flip_report(BASE, new, decode, shown=100)
    expected = sum(int((a.argmax_ids != b.argmax_ids).sum()) for a, b in zip(BASE.items, new.items, strict=True))
    assert report.flipped == expected > 0
    assert sum(len(item.flips) for item in report.changed) == expected
    assert [item.flipped for item in report.changed] == sorted((i.flipped for i in report.changed), reverse=True)
    for item in report.changed:
        old, other = BASE.by_id[item.item_id], new.by_id[item.item_id]
        for flip in item.flips:
            assert (flip.old_token, flip.new_token) == (old.argmax_ids[flip.row], other.argmax_ids[flip.row])
            text = [*old.context_ids, *old.token_ids[: flip.row]]
            assert flip.before == decode(text[-12:])


def test_at_most_so_many_flips_of_an_item_are_spelled_out_and_the_page_says_so() -> None:
    report = flipped()
    most = report.changed[0]
    assert len(most.flips) == 2 < most.flipped
    assert f"{most.flipped - 2} more are left out" in flips_markdown(report)


def test_without_flips_the_page_does_not_claim_health() -> None:
    report = flip_report(BASE, observation(prompts=4, temperature=0.7), decode)
    assert (report.flipped, report.changed) == (0, ())
    assert "excludes neither a change nor harm" in flips_markdown(report)


def test_it_is_json() -> None:
    content = json.loads(json.dumps(flipped().to_json(), allow_nan=False))
    assert content["changed"][0]["flips"][0].keys() >= {"before", "old_text", "new_text", "swing"}


def test_an_encoder_decoders_text_starts_with_what_its_decoder_began_with() -> None:
    started = with_item(BASE, 0, decoder_start=np.array([33], dtype=np.int32))
    other = with_item(started, 0, argmax_ids=(BASE.items[0].argmax_ids + 1).astype(np.int32))
    flips = flip_report(started, other, decode).changed[0].flips
    assert flips[0].before == decode([33])
    assert flips[1].before == decode([33, int(BASE.items[0].token_ids[0])])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" a", "␣a"),
        ("a\n", "a⏎"),
        ("", "(empty)"),
        ("a|b", r"a\|b"),
        ("<script>", r"&lt;script\>"),
        ("\u200b\x00", r"&lt;U\+200B\>&lt;U\+0000\>"),
        ("[x](http:", r"\[x\]\(http\:"),
    ],
)
def test_a_cell_shows_what_is_there(text: str, expected: str) -> None:
    assert shown(text) == expected


@given(st.text(max_size=300))
@settings(max_examples=100, deadline=None)
def test_no_text_leaves_its_cell(text: str) -> None:
    cell = shown(text)
    assert cell.splitlines() == [cell]
    bare = cell.replace("\\\\", "")
    assert all(bare[place - 1] == "\\" for place, sign in enumerate(bare) if sign in "|`[]*_>")
    assert "<" not in cell


def test_a_long_text_keeps_the_end_that_leads_to_the_flip() -> None:
    text = "a" * 500 + "end"
    assert shown(text, tail=True).endswith("end")
    assert shown(text, tail=True).startswith("…")
    assert len(shown(text)) == LONGEST + 1


def test_names_are_escaped_as_well() -> None:
    assert escape("a_b\n# c") == r"a\_b \# c"
    assert flips_markdown(flipped(), title="x | y").startswith("# x \\| y\n")
