"""What of a suite is replayed for a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_health.errors import ModelSourceError, SuiteError
from model_health.runner.loading import LoadedModel
from model_health.runner.prompts import text_ids, tokenize
from model_health.runner.replay import replay_loaded
from model_health.runner.replay_plan import plan_again, plan_replay
from support.loading import suite
from support.replays import CONTINUATIONS, SUITE, key, tiny


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("plan"))


def test_continuations_golden_texts_and_passages_are_items(loaded: LoadedModel) -> None:
    items = plan_replay(SUITE, loaded, CONTINUATIONS)
    assert [item.item_id for item in items] == [
        "chat:continuation", "chat:golden", "one-token:continuation", "one-token:golden", "long:continuation",
        "rain:passage",
    ]  # fmt: skip
    assert [item.prompt_id for item in items][-2:] == ["long", "passage:rain"]
    prompts = {prompt.prompt_id: prompt for prompt in tokenize(SUITE, loaded)}
    by_id = {item.item_id: item for item in items}
    assert by_id["chat:continuation"].token_ids == tuple(CONTINUATIONS["chat"])
    assert by_id["chat:golden"].token_ids == text_ids(loaded.tokenizer, " you are fine", special=False)
    assert by_id["chat:golden"].context_ids == prompts["chat"].token_ids
    passage = by_id["rain:passage"]
    whole = text_ids(loaded.tokenizer, SUITE.golden_passages[0].text, special=True)
    assert passage.context_ids + passage.token_ids == whole
    assert len(passage.context_ids) == 1
    assert {item.kind for item in items if item.item_id.endswith(("golden", "passage"))} == {"golden"}


def test_a_prompt_of_one_token_is_an_item_like_any_other(loaded: LoadedModel) -> None:
    short = suite({"id": "short", "text": "x"})
    [item] = plan_replay(short, loaded, {"short": (9,)})
    assert (len(item.token_ids), item.first) == (1, len(item.context_ids) - 1)
    [seen] = replay_loaded(loaded, [item], key(loaded, short)).items
    assert (seen.tokens, seen.sketch_rows.tolist()) == (1, [0])


def test_a_prompt_that_generated_nothing_has_no_continuation(loaded: LoadedModel) -> None:
    items = plan_replay(SUITE, loaded, {"chat": (), "long": (3,)})
    assert "chat:continuation" not in {item.item_id for item in items}
    assert "long:continuation" in {item.item_id for item in items}


def test_a_suite_without_anything_to_replay_is_refused(loaded: LoadedModel) -> None:
    with pytest.raises(SuiteError, match="nothing to replay"):
        plan_replay(suite({"text": "hello"}), loaded, {})


def test_a_passage_of_one_token_is_refused_by_name(tmp_path: Path, loaded: LoadedModel) -> None:
    with pytest.raises(SuiteError, match="golden passage 'g': has too few tokens"):
        plan_replay(suite({"text": "a"}, golden_passages=[{"id": "g", "text": "x"}]), _bare(loaded), {"p0": (3,)})


def test_tokens_beyond_the_embedding_are_refused(loaded: LoadedModel) -> None:
    with pytest.raises(ModelSourceError, match="yields token 9999"):
        plan_replay(SUITE, loaded, {"chat": (9999,)})


def test_what_exceeds_the_context_is_refused_by_name(loaded: LoadedModel) -> None:
    with pytest.raises(SuiteError, match=r"long:continuation of suite 'tests': .* exceed the context of 512"):
        plan_replay(SUITE, loaded, {"long": (3,) * 600})


def test_a_baseline_is_replayed_with_its_own_tokens(loaded: LoadedModel, tmp_path: Path) -> None:
    for model in (loaded, tiny(tmp_path, "t5")):
        items = plan_replay(SUITE, model, CONTINUATIONS)
        again = plan_again(replay_loaded(model, items, key(model)))
        for one, other in zip(items, again, strict=True):
            assert (one.context_ids, one.token_ids, one.decoder_start) == (
                other.context_ids,
                other.token_ids,
                other.decoder_start,
            )
            assert other.reference_ids is not None
            assert other.reference_ids.shape == (len(one.token_ids), 20)


def test_an_encoder_reads_the_first_half_of_a_passage(tmp_path: Path) -> None:
    model = tiny(tmp_path, "bart")
    passage = plan_replay(SUITE, model, CONTINUATIONS)[-1]
    assert abs(len(passage.context_ids) - len(passage.token_ids)) <= 1
    assert passage.decoder_start == (model.model.generation_config.decoder_start_token_id,)


def _bare(loaded: LoadedModel) -> LoadedModel:
    """The same model with a tokenizer that adds nothing."""

    class Bare:
        def __init__(self) -> None:
            self.inner = loaded.tokenizer

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

        def __call__(self, text: str, **options: object) -> object:
            return self.inner(text, **{**options, "add_special_tokens": False})

    from dataclasses import replace

    return replace(loaded, tokenizer=Bare())  # type: ignore[arg-type]
